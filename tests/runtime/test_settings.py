from ipaddress import ip_network
from pathlib import Path

import pytest

from processors.runtime.doctor import settings_table
from processors.runtime.errors import SettingsError
from processors.runtime.settings import SETTINGS, Settings, hide_password, load_settings, node_id

ROOT = Path(__file__).resolve().parents[2]
ORIGINS = "must be origins such as https://ops.example.org, with commas between them"
NETWORKS = "must be addresses or networks such as 10.0.0.0/8, with commas between them"


def _documented() -> list[list[str]]:
    lines = (ROOT / "docs" / "settings.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    return [[row[0].strip("`"), row[1].strip("`"), row[2]] for row in rows if len(row) == 3]


def test_every_setting_is_documented_with_its_default_and_meaning() -> None:
    known = [[setting.name, setting.default or "unset", setting.meaning] for setting in SETTINGS]
    assert _documented() == known


def test_every_setting_has_a_field() -> None:
    names = {setting.name.lower() for setting in SETTINGS}
    assert names == set(Settings.__dataclass_fields__) - {"origins"}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ARK_HTTP_PORT", "x", "must be a number between 1 and 65535"),
        ("ARK_HTTP_PORT", "0", "must be a number between 1 and 65535"),
        ("ARK_HTTP_PORT", "65536", "must be a number between 1 and 65535"),
        ("ARK_HTTP_PORT", "-1", "must be a number between 1 and 65535"),
        ("ARK_HTTP_PORT", "\uff18\uff11", "must be a number between 1 and 65535"),
        ("ARK_PARTITIONS", "0", "must be a number between 1 and 1024"),
        ("ARK_BASE_PATH", "/no/such/folder", "is not a directory: /no/such/folder"),
        ("ARK_RETENTION", "1", "must be a duration such as 90s, 5m or 1h, at most 366d"),
        ("ARK_RETENTION", "0s", "must be a duration such as 90s, 5m or 1h, at most 366d"),
        ("ARK_RETENTION", "367d", "must be a duration such as 90s, 5m or 1h, at most 366d"),
        ("REDIS_URL", "redis://a/0?foo=x", "has an option that is not known: foo"),
        ("REDIS_URL", "redis://a?protocol=9", "has a value that protocol cannot take"),
        ("REDIS_URL", "rediss://a?db=x", "has a value that db cannot take"),
        ("REDIS_URL", "rediss://a?ssl_cert_reqs=never", "has a value that ssl_cert_reqs cannot take"),
        ("ARK_BUS_URL", "redis+cluster://a,b?protocol=x", "has a value that protocol cannot take"),
        ("REDIS_URL", "redis://a?ssl_ca_certs=ca.pem", "must begin with rediss:// to have ssl_ca_certs"),
        ("REDIS_URL", "redis://a/b", "must name a database by its number, such as redis://host:6379/0"),
        ("ARK_SIMULATE", "yes", "must be one of auto, fallback, always, never"),
        ("ARK_LOG_FORMAT", "xml", "must be one of text, json"),
        ("REDIS_URL", "http://a", "must begin with redis://, rediss:// or unix://"),
        ("REDIS_URL", "redis://", "names no host"),
        ("REDIS_URL", "redis://a:b/0", "has a port that is not a number between 1 and 65535"),
        ("REDIS_URL", "redis://[::1", "is not an address"),
        ("ARK_FEDERATION_URL", "redis://a", "must begin with http:// or https://, and have no spaces"),
        ("ARK_FEDERATION_URL", "http://a b", "must begin with http:// or https://, and have no spaces"),
        ("ARK_FEDERATION_URL", "http://u:p@", "names no host"),
        ("ARK_FEDERATION_URL", "http://a..b", "names no host"),
        ("ARK_FEDERATION_URL", "http://a:0", "has a port that is not a number between 1 and 65535"),
        ("ARK_FEDERATION_URL", "http://a?b", "must end with its host or path, /discover comes after it"),
        ("ARK_FEDERATION_URL", "http://a/" + "b" * 239, "must have at most 240 characters of host and path"),
        ("ARK_FEDERATION_URL", "http://a%3Ab:c@d", "must have no colon in the user's name"),
        ("ARK_NODE_ID", "a\nb", "must have 1 to 256 printable characters"),
        ("ARK_HTTP_HOST", "0.0.0.0", "must be a loopback address, unless ARK_TOKENS_FILE is set"),
        ("ARK_ALLOWED_ORIGINS", "https://a,*", ORIGINS),
        ("ARK_ALLOWED_ORIGINS", "null", ORIGINS),
        ("ARK_ALLOWED_ORIGINS", "https://a/", ORIGINS),
        ("ARK_ALLOWED_ORIGINS", "https://u@a", ORIGINS),
        ("ARK_ALLOWED_ORIGINS", "ws://a", ORIGINS),
        ("ARK_ALLOWED_ORIGINS", "https://a,", ORIGINS),
        ("ARK_ALLOWED_ORIGINS", "https://a:x", "has a port that is not a number between 1 and 65535"),
        ("ARK_TRUSTED_PROXIES", "proxy", NETWORKS),
        ("ARK_TRUSTED_PROXIES", "10.0.0.1/8", NETWORKS),
        ("ARK_LEGACY_OPEN", "yes", "must be one of 0, 1"),
        ("ARK_MAX_CLIENTS", "0", "must be a number between 1 and 100000"),
        ("ARK_MAX_CLIENTS_PER_ADDRESS", "-1", "must be a number between 1 and 100000"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name_and_bound(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        load_settings({name: value})
    assert (str(error.value), error.value.setting) == (f"{name} {message}", name)


@pytest.mark.parametrize("name", ["REDIS_URL", "ARK_FEDERATION_URL"])
@pytest.mark.parametrize("url", ["ftp://user:secret@host", "http://user:secret@host\u2100", "http://user:secret@[zz]"])
def test_a_refused_address_is_not_repeated_with_its_password(name: str, url: str) -> None:
    with pytest.raises(SettingsError) as error:
        load_settings({name: url})
    assert "secret" not in str(error.value)


def test_with_tokens_any_address_may_be_listened_on() -> None:
    assert load_settings({"ARK_HTTP_HOST": "0.0.0.0", "ARK_TOKENS_FILE": "tokens"}).ark_http_host == "0.0.0.0"


def test_origins_are_compared_as_browsers_write_them() -> None:
    origins = load_settings({"ARK_ALLOWED_ORIGINS": "https://Ops.example.org, http://[::1]:3000"}).ark_allowed_origins
    assert origins == ("https://ops.example.org", "http://[::1]:3000")


def test_proxies_are_addresses_and_networks() -> None:
    proxies = load_settings({"ARK_TRUSTED_PROXIES": "127.0.0.1, fd00::/8"}).ark_trusted_proxies
    assert proxies == (ip_network("127.0.0.1/32"), ip_network("fd00::/8"))


def test_an_empty_variable_counts_as_unset() -> None:
    settings = load_settings({"ARK_HTTP_PORT": "", "ARK_BUS_URL": ""})
    assert (settings.ark_http_port, settings.ark_bus_url) == (8101, None)


def test_origins_tell_environment_from_default() -> None:
    origins = load_settings({"ARK_HTTP_PORT": "8200", "ARK_SIMULATE": ""}).origins
    assert (origins["ARK_HTTP_PORT"], origins["ARK_SIMULATE"]) == ("environment", "default")


@pytest.mark.parametrize(("text", "ms"), [("500ms", 500), ("90s", 90_000), ("5m", 300_000), ("2d", 172_800_000)])
def test_a_duration_is_read_in_its_unit(text: str, ms: int) -> None:
    assert load_settings({"ARK_RETENTION": text}).ark_retention == ms


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:secret@host:1/2", "redis://host:1/2"),
        ("redis://:se@cret@host/0", "redis://host/0"),
        ("rediss://host/0?password=secret", "rediss://host/0"),
        ("redis+cluster://u:secret@a:1,[::1]:3", "redis+cluster://a:1,[::1]:3"),
    ],
)
def test_an_address_is_shown_without_credentials(url: str, shown: str) -> None:
    assert hide_password(url) == shown


def test_the_address_of_a_socket_is_shown_without_its_password() -> None:
    assert "secret" not in hide_password("unix:///run/redis.sock?password=secret")


def test_the_table_of_settings_hides_passwords() -> None:
    environment = {"REDIS_URL": "redis://u:secret@host/0", "ARK_FEDERATION_URL": "https://u:secret@host/ark"}
    rows = settings_table(load_settings(environment), environment)
    assert ("REDIS_URL", "redis://host/0", "environment") in rows
    assert ("ARK_FEDERATION_URL", "https://host/ark", "environment") in rows


def test_the_table_of_settings_shows_what_is_unset() -> None:
    assert ("ARK_BUS_URL", "unset", "default") in settings_table(load_settings({}), {})


def test_a_node_id_is_made_once(tmp_path: Path) -> None:
    settings = load_settings({"ARK_STATE_DIR": str(tmp_path / "new")})
    assert node_id(settings) == node_id(settings)


def test_a_given_node_id_is_used(tmp_path: Path) -> None:
    assert node_id(load_settings({"ARK_STATE_DIR": str(tmp_path), "ARK_NODE_ID": "me"})) == "me"
