"""The HTTP paths of the gateway: what each takes and answers. The references are made of this table."""

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from processors.gateway.queries import MAX_LETTERS, MAX_MINUTES, MAX_POINTS, MAX_REASON, MAX_SOURCE
from schemas.answers import Health, History, LettersAnswer, PeersAnswer, PipelineAnswer, SilencesAnswer, SourcesAnswer
from schemas.frames import DEFAULT_RATE, MAX_CHANNELS, MAX_RATE, MAX_SPEED
from schemas.metrics import FederationSummary, MemorySummary, Silence

__all__ = ["PATHS", "Parameter", "Path"]


class Parameter(NamedTuple):
    """What a request may say beside its path."""

    name: str
    # A JSON Schema.
    schema: Mapping[str, Any]
    about: str
    where: Literal["query", "path", "header"] = "query"
    required: bool = False


class Path(NamedTuple):
    """One path."""

    path: str
    about: str
    # Body of the answer: a wire type, a JSON Schema, the media type of what is no JSON, or None: there is none.
    body: type | Mapping[str, Any] | str | None
    parameters: tuple[Parameter, ...] = ()
    # Answers beside the good one, and why they are given; those that all paths have are not named.
    others: Mapping[int, str] = {}
    method: Literal["get", "post", "delete"] = "get"
    # What a request has as its body, a JSON Schema.
    takes: Mapping[str, Any] | None = None
    # Status of the good answer.
    status: int = 200
    # Whether no token is asked for; whether it must be an operator's.
    is_open: bool = False
    for_operators: bool = False
    # Whether the answer has an ETag, and a request that shows it in If-None-Match is answered with 304.
    has_tag: bool = False


_TEXT: Final = {"type": "string"}
_MS: Final = {"type": "integer", "minimum": 0}
_NAMES: Final = {"type": "string", "pattern": "^[^,]+(,[^,]+)*$"}
_SOURCE: Final = {"type": "string", "pattern": "^.+/[^/]+$", "maxLength": MAX_SOURCE}
_HTML: Final = "text/html; charset=utf-8"
_JSON: Final = {"type": "object"}

_NOTHING_YET: Final = {503: "nothing is known yet"}
_BAD_QUERY: Final = {400: "a parameter cannot be used; `error` names it and its bound"}
_NO_SOCKET: Final = {400: "it is no WebSocket handshake, or none of its subprotocols is ours"}
_BAD_BODY: Final = {
    400: "the body is none of ours",
    408: "the body did not come in time",
    413: "the body is too large",
}
_NO_BUS: Final = {503: "the bus does not answer"}
_FULL: Final = {429: "the address has as many connections as it may have", 503: "there are as many clients as may be"}


def _fields(**schemas: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Schema of an object that has all of `schemas`."""
    return {"type": "object", "properties": schemas, "required": [*schemas]}


PATHS: Final = (
    Path("/", "the page, with both halves", _HTML, is_open=True, has_tag=True),
    Path(
        "/static/{name}",
        "a file of the page",
        "*/*",
        (Parameter("name", _TEXT, "the file's name, with its folder", "path", required=True),),
        {404: "there is no such file"},
        is_open=True,
        has_tag=True,
    ),
    Path("/docs", "what the gateway serves, to be read by people", _HTML, is_open=True, has_tag=True),
    Path("/asyncapi.json", "AsyncAPI 3 of the WebSocket paths and of `/sse`", _JSON, is_open=True, has_tag=True),
    Path("/openapi.json", "OpenAPI 3.1 of the HTTP paths", _JSON, is_open=True, has_tag=True),
    Path("/schemas.json", "JSON Schema of every message and answer", _JSON, is_open=True, has_tag=True),
    Path("/status", "one line, of both halves", _HTML),
    Path("/ws", "protocol v1 as a WebSocket, see `/asyncapi.json`", None, (), _NO_SOCKET | _FULL, status=101),
    Path("/ws/federation", "drop-in, of the mesh, see `/asyncapi.json`", None, (), _NO_SOCKET | _FULL, status=101),
    Path("/ws/memory", "drop-in, of the memory engines, likewise", None, (), _NO_SOCKET | _FULL, status=101),
    Path(
        "/sse",
        "the frames of protocol v1 as server-sent events: `event` is the frame's type, `data` its JSON",
        "text/event-stream",
        (
            Parameter("channels", _NAMES, f"at most {MAX_CHANNELS}, with commas between them", required=True),
            Parameter(
                "rate",
                {"type": "number", "minimum": 0, "maximum": MAX_RATE, "default": DEFAULT_RATE},
                "frames a second and channel; 0: every change",
            ),
            Parameter("fields", _NAMES, "those that are wanted, with commas between them; all if absent"),
            Parameter("at", _MS, "plays the past from this moment, ms since the epoch"),
            Parameter("speed", {"type": "number", "minimum": 0, "maximum": MAX_SPEED, "default": 1}, "of the past"),
            Parameter("Last-Event-ID", _TEXT, "`id` of the newest event: all channels go on from there", "header"),
        ),
        _BAD_QUERY | _FULL,
    ),
    Path("/api/v1/federation", "the summary of the mesh", FederationSummary, (), _NOTHING_YET, has_tag=True),
    Path("/api/v1/memory", "the summary of the memory engines", MemorySummary, (), _NOTHING_YET, has_tag=True),
    Path(
        "/api/v1/peers",
        "the roster, by id",
        PeersAnswer,
        (
            Parameter("limit", {"type": "integer", "minimum": 1, "maximum": 10_000, "default": 1_000}, "most peers"),
            Parameter("status", {"enum": ["online", "syncing", "offline"]}, "only peers of this status"),
        ),
        _BAD_QUERY | _NOTHING_YET,
        has_tag=True,
    ),
    Path("/api/v1/sources", "what each collector says of its source", SourcesAnswer, has_tag=True),
    Path("/api/v1/pipeline", "who works what, and what waits; read once a second", PipelineAnswer, (), _NO_BUS),
    Path(
        "/api/v1/history",
        "how a summary was at moments of the past, as far as its stream reaches",
        History,
        (
            Parameter("channel", {"enum": ["federation", "memory"]}, "the half", required=True),
            Parameter("from", _MS, "first moment, ms since the epoch; ten minutes before the last if absent"),
            Parameter("to", _MS, "last moment; now if absent"),
            Parameter("points", {"type": "integer", "minimum": 1, "maximum": MAX_POINTS, "default": 60}, "moments"),
        ),
        _BAD_QUERY | _NO_BUS,
    ),
    Path(
        "/api/v1/dead",
        "the newest dead letters, the newest first",
        LettersAnswer,
        (Parameter("count", {"type": "integer", "minimum": 1, "maximum": MAX_LETTERS, "default": 20}, "most letters"),),
        _BAD_QUERY | _NO_BUS,
    ),
    Path(
        "/api/v1/dead/{id}/replay",
        "gives the input of a letter a second chance, once, and takes the letter off",
        _fields(replayed=_TEXT),
        (Parameter("id", _TEXT, "the letter's id, `<ms>-<n>`", "path", required=True),),
        {
            400: "the id is none",
            404: "there is no such letter",
            409: "the letter stays, `error` tells why; or another replay is at work",
            504: "it took too long; it may have been replayed",
        }
        | _NO_BUS,
        method="post",
        for_operators=True,
    ),
    Path("/api/v1/silences", "the sources that are silenced", SilencesAnswer),
    Path(
        "/api/v1/silences",
        "silences a source: that it is not live is no alarm meanwhile",
        Silence,
        others=_BAD_BODY | _NO_BUS | {409: "as many sources as may be are silenced"},
        method="post",
        takes={
            "type": "object",
            "properties": {
                "source": _SOURCE,
                "minutes": {"type": "integer", "minimum": 1, "maximum": MAX_MINUTES},
                "reason": {"type": "string", "maxLength": MAX_REASON, "default": ""},
            },
            "required": ["source", "minutes"],
        },
        for_operators=True,
    ),
    Path(
        "/api/v1/silences",
        "ends the silence of a source",
        None,
        (Parameter("source", _SOURCE, "`<node>/<collector>`", required=True),),
        _NO_BUS | {404: "it is not silenced"},
        method="delete",
        status=204,
        for_operators=True,
    ),
    Path("/api/health", "how the gateway does", Health),
    Path("/metrics", "the same and more for a Prometheus, of the process that answers", "text/plain; version=0.0.4"),
    Path(
        "/login",
        "gives the token to a cookie, so that a page need not keep it",
        None,
        others=_BAD_BODY
        | {401: "the token is not valid", 429: "too many tokens were wrong; `Retry-After` tells when to try again"},
        method="post",
        takes=_fields(token=_TEXT),
        status=204,
        is_open=True,
    ),
    Path("/logout", "has the cookie forgotten", None, method="post", status=204, is_open=True),
    Path("/healthz", "whether the process runs", _fields(status={"const": "ok"}), is_open=True),
    Path(
        "/readyz",
        "whether a summary of a half is held",
        _fields(status={"const": "ready"}),
        others={503: "not yet; `reason` tells why"},
        is_open=True,
    ),
)
"""All of them."""
