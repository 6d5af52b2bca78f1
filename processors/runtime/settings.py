"""Settings: read once from the environment into a typed object, and passed in.

Each setting is one line of `SETTINGS`; docs/settings.md is held against it by a test.
"""

import contextlib
import os
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from processors.runtime.errors import BusDown, SettingsError
from processors.runtime.topology import read_topology
from schemas.streams import MAX_PARTITIONS

__all__ = [
    "LOOPBACK",
    "SETTINGS",
    "Network",
    "Setting",
    "Settings",
    "bus_url",
    "bus_url_file",
    "duration_ms",
    "hide_password",
    "load_settings",
    "node_id",
]

_DURATION: Final = re.compile(r"([0-9]{1,15})(ms|s|m|h|d)")
_UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_MAX_DURATION_MS: Final = 366 * _UNITS_MS["d"]
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
"""Hosts that only this machine reaches."""

Network: TypeAlias = IPv4Network | IPv6Network
"""An address or a range of them."""

_URL_OPTIONS: Final = {
    "db": "[0-9]{1,9}",
    "protocol": "[23]",
    "ssl_ca_certs": ".+",
    "ssl_cert_reqs": "none|optional|required",
    "ssl_certfile": ".+",
    "ssl_check_hostname": "(?i:true|false|yes|no|1|0)",
    "ssl_keyfile": ".+",
}
_MAX_NODE_ID: Final = 256
_MAX_SERVICE: Final = 240


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError:
        # Its own words may repeat the password.
        raise ValueError("is not an address") from None


def _url(text: str) -> str:
    parts = _split(text)
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise ValueError("must begin with redis://, rediss:// or unix://")
    if parts.scheme != "unix" and not parts.hostname:
        raise ValueError("names no host")
    if parts.scheme != "unix" and not re.fullmatch(r"/?[0-9]{0,9}", parts.path):
        raise ValueError("must name a database by its number, such as redis://host:6379/0")
    for name, values in parse_qs(parts.query, keep_blank_values=True).items():
        if name not in _URL_OPTIONS:
            raise ValueError(f"has an option that is not known: {name[:40]}")
        if name.startswith("ssl_") and parts.scheme != "rediss":
            raise ValueError(f"must begin with rediss:// to have {name}")
        if not all(re.fullmatch(_URL_OPTIONS[name], value) for value in values):
            raise ValueError(f"has a value that {name} cannot take")
    _check_port(parts)
    return text


def _check_port(parts: SplitResult) -> None:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError("has a port that is not a number between 1 and 65535")


def _service_url(text: str) -> str:
    parts = _split(text)
    if not text.isprintable() or " " in text or parts.scheme not in {"http", "https"}:
        raise ValueError("must begin with http:// or https://, and have no spaces")
    try:
        host = (parts.hostname or "").encode("idna")
    except UnicodeError:
        host = b""
    if not host:
        raise ValueError("names no host")
    if parts.query or parts.fragment:
        raise ValueError("must end with its host or path, /discover comes after it")
    if len(parts.netloc.rpartition("@")[2]) + len(parts.path) > _MAX_SERVICE:
        raise ValueError(f"must have at most {_MAX_SERVICE} characters of host and path")
    if ":" in unquote(parts.username or ""):
        raise ValueError("must have no colon in the user's name")
    _check_port(parts)
    return text


def _http_url(text: str) -> str:
    parts = _split(text)
    if not text.isprintable() or " " in text or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an address such as http://localhost:4318/v1/traces")
    _check_port(parts)
    return text


def _share(text: str) -> float:
    if not re.fullmatch(r"0|1|1\.0*|0?\.[0-9]{1,9}", text):
        raise ValueError("must be a number between 0 and 1, such as 0.01")
    return float(text)


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 9 and least <= int(text) <= most):
            raise ValueError(f"must be a number between {least} and {most}")
        return int(text)

    return parse


def duration_ms(text: str) -> int:
    """Milliseconds of a duration such as `90s`. Raises ValueError: if it is none."""
    found = _DURATION.fullmatch(text)
    if found is None or not 0 < (length_ms := int(found[1]) * _UNITS_MS[found[2]]) <= _MAX_DURATION_MS:
        raise ValueError("must be a duration such as 90s, 5m or 1h, at most 366d")
    return length_ms


def _directory(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise ValueError(f"is not a directory: {text}")
    return path


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return text

    return parse


def _name(text: str) -> str:
    if not text or len(text) > _MAX_NODE_ID or not text.isprintable():
        raise ValueError(f"must have 1 to {_MAX_NODE_ID} printable characters")
    return text


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(part.strip().lower() for part in text.split(","))
    for origin in origins:
        parts = _split(origin)
        whole = f"{parts.scheme}://{parts.netloc}" == origin and origin.isascii() and "@" not in origin
        if not whole or not parts.hostname or parts.scheme not in {"http", "https"}:
            raise ValueError("must be origins such as https://ops.example.org, with commas between them")
        _check_port(parts)
    return origins


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ip_network(part.strip()) for part in text.split(","))
    except ValueError as error:
        raise ValueError("must be addresses or networks such as 10.0.0.0/8, with commas between them") from error


def _flag(text: str) -> bool:
    return _choice("0", "1")(text) == "1"


def _bus_address(text: str) -> str:
    if "+" not in text.partition("://")[0]:
        return _url(text)
    _url(read_topology(text).url)
    return text


class Setting(NamedTuple):
    """One setting: its environment variable, default (None: unset), parser, and meaning."""

    name: str
    default: str | None
    parse: Callable[[str], object]
    meaning: str


SETTINGS: Final = (
    Setting("REDIS_URL", "redis://localhost:6379/0", _url, "a source: where ARK's `peer:*` and `sync_events` live"),
    Setting("ARK_BUS_URL", None, _bus_address, "where the streams live; unset: the embedded server in ARK_STATE_DIR"),
    Setting(
        "ARK_BASE_PATH", ".", _directory, "holds `data/reasoning_logs.db` and `data/ark.db`, which are only ever read"
    ),
    Setting("ARK_STATE_DIR", ".ark", Path, "the embedded server's append-only file, the node id"),
    Setting("ARK_NODE_ID", None, _name, "this node; unset: made once, kept in ARK_STATE_DIR"),
    Setting("ARK_HTTP_HOST", "127.0.0.1", _name, "address the gateway listens on; without tokens only loopback"),
    Setting("ARK_HTTP_PORT", "8101", _whole(1, 65_535), "port the gateway listens on"),
    Setting("ARK_TOKENS_FILE", None, Path, "access tokens, by their hash; unset: none is asked for"),
    Setting("ARK_ALLOWED_ORIGINS", None, _origins, "other origins whose pages may connect; unset: none"),
    Setting("ARK_LEGACY_OPEN", "0", _flag, "1: `/ws/federation` and `/ws/memory` ask for no token"),
    Setting("ARK_TRUSTED_PROXIES", None, _networks, "proxies whose forwarded headers are believed; unset: none"),
    Setting("ARK_MAX_CLIENTS", "10000", _whole(1, 100_000), "most WebSocket and SSE connections of a gateway"),
    Setting("ARK_MAX_CLIENTS_PER_ADDRESS", "200", _whole(1, 100_000), "most of one address that is not loopback"),
    Setting("FEDERATION_HOST", "127.0.0.1", _name, "address the federation service listens on; manifests are signed"),
    Setting("FEDERATION_PORT", "9001", _whole(1, 65_535), "port the federation service listens on"),
    Setting("ARK_FEDERATION_URL", None, _service_url, "another federation service, whose peers are shown too"),
    Setting("ARK_TRUSTED_KEYS_FILE", None, Path, "keys that may claim the tiers `core` and `trusted`; unset: none may"),
    Setting("ARK_PARTITIONS", "16", _whole(1, MAX_PARTITIONS), "live partitions, fixed for the life of a bus"),
    Setting("ARK_RETENTION", "1h", duration_ms, "how long streams keep what was committed"),
    Setting(
        "ARK_SIMULATE",
        "auto",
        _choice("auto", "fallback", "always", "never"),
        "`auto`: a half that has never been live here; `fallback`: also one down for 30 s; `always`; `never`",
    ),
    Setting("ARK_SIMULATE_SEED", "1", _whole(0, 999_999_999), "seed of the simulation"),
    Setting("ARK_METRICS_HOST", "127.0.0.1", _name, "address that metrics are served on; nobody is asked for a token"),
    Setting("ARK_METRICS_PORT", None, _whole(1, 65_000), "port of a process's metrics; unset: the gateway's alone"),
    Setting("ARK_TRACES_URL", None, _http_url, "where traces are sent, by OTLP over HTTP; unset: nothing is traced"),
    Setting("ARK_TRACES_SHARE", "0.01", _share, "share of the source batches that is traced, 0 to 1"),
    Setting("ARK_LOG_LEVEL", "info", _choice("debug", "info", "warning", "error"), "least severity that is logged"),
    Setting("ARK_LOG_FORMAT", "text", _choice("text", "json"), "`text` for people, `json` for machines"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one process, parsed. `origins` says of each whether it is `environment` or `default`."""

    redis_url: str
    ark_bus_url: str | None
    ark_base_path: Path
    ark_state_dir: Path
    ark_node_id: str | None
    ark_http_host: str
    ark_http_port: int
    ark_tokens_file: Path | None
    ark_allowed_origins: tuple[str, ...] | None
    ark_legacy_open: bool
    ark_trusted_proxies: tuple[Network, ...] | None
    ark_max_clients: int
    ark_max_clients_per_address: int
    federation_host: str
    federation_port: int
    ark_federation_url: str | None
    ark_trusted_keys_file: Path | None
    ark_partitions: int
    # Milliseconds.
    ark_retention: int
    ark_simulate: str
    ark_simulate_seed: int
    ark_metrics_host: str
    ark_metrics_port: int | None
    ark_traces_url: str | None
    ark_traces_share: float
    ark_log_level: str
    ark_log_format: str
    origins: Mapping[str, str]


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from `environment` (the process's own if None). An empty variable counts as unset.

    Raises SettingsError: if a value cannot be used; its text names the setting and the bound.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    for setting in SETTINGS:
        text = environment.get(setting.name) or setting.default
        origins[setting.name] = "environment" if environment.get(setting.name) else "default"
        try:
            values[setting.name.lower()] = None if text is None else setting.parse(text)
        except ValueError as error:
            raise SettingsError(setting.name, str(error)) from error
    settings = Settings(**values, origins=origins)  # type: ignore[arg-type]  # parsed by the table above
    if settings.ark_http_host not in LOOPBACK and settings.ark_tokens_file is None:
        raise SettingsError("ARK_HTTP_HOST", "must be a loopback address, unless ARK_TOKENS_FILE is set")
    return settings


def hide_password(url: str) -> str:
    """`url` without its user name, password and query, fit for logs."""
    return re.sub(r"(?<=://)[^/?#]*@|[?#].*", "", url, flags=re.DOTALL)


def node_id(settings: Settings) -> str:
    """This node's id: ARK_NODE_ID, else the one kept in ARK_STATE_DIR, made at the first call.

    Raises SettingsError: if ARK_STATE_DIR cannot be written.
    """
    if settings.ark_node_id is not None:
        return settings.ark_node_id
    path = settings.ark_state_dir / "node-id"
    try:
        settings.ark_state_dir.mkdir(parents=True, exist_ok=True)
        # Several processes start at once: the exclusive creation lets one of them win, the others read its id.
        with contextlib.suppress(FileExistsError), path.open("x", encoding="utf-8") as file:
            file.write(f"node-{uuid.uuid4().hex[:12]}")
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError("ARK_STATE_DIR", f"cannot be written: {error.strerror}") from error


def bus_url_file(state_dir: Path) -> Path:
    """Where `ark-pulse up` notes the address of the embedded server, readable by its user only."""
    return state_dir / "bus.url"


def bus_url(settings: Settings) -> str:
    """Address of the bus: ARK_BUS_URL, else that of the embedded server.

    Raises BusDown: if neither is there. Raises SettingsError: if the note cannot be read.
    """
    if settings.ark_bus_url is not None:
        return settings.ark_bus_url
    try:
        return bus_url_file(settings.ark_state_dir).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise BusDown(
            f"no bus: ARK_BUS_URL is unset and no embedded server runs in {settings.ark_state_dir}; "
            "start one with `ark-pulse up`"
        ) from None
    except OSError as error:
        raise SettingsError("ARK_STATE_DIR", f"cannot be read: {error.strerror}") from error
