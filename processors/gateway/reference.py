"""The generated references: AsyncAPI 3, OpenAPI 3.1, JSON Schema, all of the wire types and the table of paths."""

from typing import Any, Final, NamedTuple, get_args

import msgspec

from processors.gateway.described import WIRE_TYPES, describe, meaning
from processors.gateway.paths import PATHS, Parameter, Path
from schemas import frames
from schemas.answers import SourceReport
from schemas.frames import CLOSE_CODES, ERRORS, JSON_PROTOCOL, MSGPACK_PROTOCOL, PEER_PREFIX, VERSION, Frame, Message
from schemas.legacy import LegacyError, LegacyMemory, LegacyPong, LegacyState, LegacySync
from schemas.metrics import FederationSummary, MemoryRecord, MemorySummary, PeerRow, SyncRecord

__all__ = ["CHANNELS", "EXAMPLES", "ChannelInfo", "asyncapi", "json_schemas", "openapi"]

Json = dict[str, Any]

_REFS: Final = "#/components/schemas/{name}"
_INNER: Final = ("epoch", "n", "partials")
_POS: Final = "k6JlMc8AAAGLz-VoAJIAAQ"
_TS: Final = 1_700_000_000_000
_SYNC: Final = {"ts": _TS, "from": "a", "to": "b", "action": "memory_sync", "bytes": 2048, "source": "live", "ok": True}


class ChannelInfo(NamedTuple):
    """What a client may subscribe to."""

    name: str
    about: str
    # Of the whole state, or of a list of records; with `fields` each has only those.
    data: Any


CHANNELS: Final = (
    ChannelInfo("federation", "state: the summary of the mesh, without `epoch`, `n`, `partials`", FederationSummary),
    ChannelInfo("memory", "state: the summary of the memory engines, likewise", MemorySummary),
    ChannelInfo("peers", "state: the roster, by peer id", dict[str, PeerRow]),
    ChannelInfo(f"{PEER_PREFIX}<id>", "state: one row of the roster; null while there is none", PeerRow | None),
    ChannelInfo("sources", "state: what each collector says, by `<node>/<collector>`", dict[str, SourceReport]),
    ChannelInfo("sync", "records: sync events as they come", list[SyncRecord]),
    ChannelInfo("logs", "records: reasoning sessions as they come", list[MemoryRecord]),
)
"""All of them."""

EXAMPLES: Final[tuple[Message | Frame, ...]] = (
    frames.Subscribe(channels=("federation", "sync"), since={"sync": _POS}, rate=2.0, id=1),
    frames.Unsubscribe(channels=("sync",)),
    frames.Refresh(channels=("federation",)),
    frames.Ping(id=2),
    frames.Auth(token="the token"),  # noqa: S106  - an example
    frames.Welcome(ts=_TS, role="viewer", gateway="f3b1c2"),
    frames.Snapshot(channel="federation", pos=_POS, ts=_TS, source="live", as_of=_TS, data={"total_peers": 3}),
    frames.Delta(channel="federation", pos=_POS, ts=_TS, source="live", as_of=_TS, data={"total_peers": 4}),
    frames.Event(channel="sync", pos=_POS, ts=_TS, data=[_SYNC]),
    frames.Reset(channel="sync", reason="gone"),
    frames.Skipped(channel="federation", count=7),
    frames.Error(code="unknown_channel", message="no channel is called sinc", channel="sinc", id=1),
    frames.Pong(ts=_TS, id=2),
)
"""One of each message."""

_OPS: Final = get_args(Message)
_FRAMES: Final = get_args(Frame)
# A stream of events has neither a greeting nor anybody to answer.
_STREAMED: Final = (frames.Snapshot, frames.Delta, frames.Event, frames.Reset, frames.Skipped)
_LEGACY: Final = (LegacyState, LegacySync, LegacyMemory, LegacyPong, LegacyError)
# Types of the frames that are the state of the mesh and nothing else.
_MESH: Final = ("federation_update", "peer_update", "health_update")
_ASKED: Final = {"enum": ["ping", "refresh"]}


def json_schemas() -> Json:
    """`/schemas.json`: every wire type under `$defs`."""
    definitions = describe(WIRE_TYPES, "#/$defs/{name}")[1]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ARK Pulse: wire types",
        "$defs": definitions,
    }


def asyncapi() -> Json:
    """`/asyncapi.json`: the WebSocket paths and `/sse`, as the gateway sends and receives."""
    data, schemas = _shown_schemas()
    sockets = _sockets()
    channels = {name: _channel(path, sent + heard) for name, (path, sent, heard) in sockets.items()}
    channels["ws"] |= {
        "x-subprotocols": [JSON_PROTOCOL, MSGPACK_PROTOCOL],
        "x-channels": [
            {"name": each.name, "about": each.about, "data": schema}
            for each, schema in zip(CHANNELS, data, strict=True)
        ],
    }
    sent = {f"{name}.send": _operation(name, "send", each) for name, (_, each, _) in sockets.items()}
    heard = {f"{name}.receive": _operation(name, "receive", each) for name, (_, _, each) in sockets.items() if each}
    return {
        "asyncapi": "3.0.0",
        "info": _info("what the gateway sends, and what it understands"),
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": sent | heard,
        "components": {"messages": _messages(), "schemas": schemas},
        "x-errors": [row._asdict() for row in ERRORS.values()],
        "x-close-codes": [row._asdict() for row in CLOSE_CODES.values()],
    }


def openapi() -> Json:
    """`/openapi.json`: every path of the gateway."""
    kinds = [path.body for path in PATHS if isinstance(path.body, type)]
    schemas = describe(kinds, _REFS)[1]
    schemas["Problem"] = {
        "type": "object",
        "description": "What was wrong, in a short clause.",
        "properties": {"error": {"type": "string"}},
    }
    return {
        "openapi": "3.1.0",
        "info": _info("values as the aggregators committed them, over HTTP"),
        "paths": {
            name: {each.method: _path_item(each) for each in PATHS if each.path == name}
            for name in dict.fromkeys(path.path for path in PATHS)
        },
        "components": {
            "schemas": schemas,
            "responses": {
                "Unchanged": {"description": "the version in If-None-Match is the newest"},
                "Unauthorized": _problem("a token is needed, or the one that was shown is not valid"),
                "Forbidden": _problem("a page of another origin asks, or the host is not one of ours"),
                "ForOperators": _problem("as Forbidden, or the token is a viewer's"),
            },
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "ark_token"},
            },
        },
    }


def _shown_schemas() -> tuple[list[Json], dict[str, Json]]:
    """The schema of the data of each channel, and of all that the sockets carry by name.

    Of a summary clients do not get what says where it stands among the commits, and only the fields that they chose.
    """
    data, schemas = describe([*(each.data for each in CHANNELS), *_OPS, *_FRAMES, *_LEGACY], _REFS)
    for kind in (FederationSummary, MemorySummary):
        schema = schemas[kind.__name__]
        schema["properties"] = {name: each for name, each in schema["properties"].items() if name not in _INNER}
        del schema["required"]
    return data[: len(CHANNELS)], schemas


def _sockets() -> dict[str, tuple[str, list[str], list[str]]]:
    """Path, names of the messages that are sent, and of those that are received."""
    ops, sent, streamed = (list(map(_tag, kinds)) for kinds in (_OPS, _FRAMES, _STREAMED))
    answers = ["legacy_pong", "legacy_error"]
    return {
        "ws": ("/ws", sent, ops),
        "sse": ("/sse", streamed, []),
        "ws_federation": ("/ws/federation", [*_MESH, "sync_event", *answers], ["legacy_ask"]),
        "ws_memory": ("/ws/memory", ["memory_update", *answers], ["legacy_ask"]),
    }


def _messages() -> Json:
    return {
        **{_tag(kind): _message(kind) for kind in (*_OPS, *_FRAMES)},
        **{kind: _legacy_message(kind) for kind in _MESH},
        "sync_event": _legacy_message("sync_event", event=_ref(LegacySync)),
        "memory_update": _message(LegacyMemory),
        "legacy_pong": _message(LegacyPong),
        "legacy_error": _message(LegacyError),
        "legacy_ask": _legacy_ask(),
    }


def _info(about: str) -> Json:
    return {"title": "ARK Pulse", "version": str(VERSION), "description": f"ARK Pulse: {about}."}


def _ref(kind: type) -> Json:
    return {"$ref": _REFS.format(name=kind.__name__)}


def _tag(kind: Any) -> str:
    return str(kind.__struct_config__.tag)


def _message(kind: type) -> Json:
    built = (msgspec.to_builtins(each) for each in EXAMPLES if type(each) is kind)
    examples = [{"payload": {name: value for name, value in each.items() if value is not None}} for each in built]
    message: Json = {"name": _tag(kind), "summary": meaning(kind), "payload": _ref(kind)}
    return message | ({"examples": examples} if examples else {})


def _legacy_message(kind: str, **more: Json) -> Json:
    head = {"type": {"const": kind}, **more}
    payload = {"allOf": [_ref(LegacyState), {"type": "object", "properties": head, "required": [*head]}]}
    return {"name": kind, "summary": meaning(LegacyState), "payload": payload}


def _legacy_ask() -> Json:
    worded = {"type": "object", "properties": {"type": _ASKED}, "required": ["type"]}
    summary = "A plain word, or a JSON object that has it as its `type`."
    return {"name": "legacy_ask", "summary": summary, "payload": {"anyOf": [_ASKED, worded]}}


def _channel(path: str, messages: list[str]) -> Json:
    about = next(each.about for each in PATHS if each.path == path)
    names = {name: {"$ref": f"#/components/messages/{name}"} for name in messages}
    return {"address": path, "summary": about, "messages": names}


def _operation(channel: str, side: str, messages: list[str]) -> Json:
    refs = [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages]
    return {"action": side, "channel": {"$ref": f"#/channels/{channel}"}, "messages": refs}


def _path_item(path: Path) -> Json:
    """The operation of a path: the good answer, those that many paths have in common, and its own."""
    answers = {path.status: _good(path), 403: _shared("ForOperators" if path.for_operators else "Forbidden")}
    if path.has_tag:
        answers[304] = _shared("Unchanged")
    if not path.is_open:
        answers[401] = _shared("Unauthorized")
    answers |= {status: _problem(about) for status, about in path.others.items()}
    item: Json = {
        "summary": path.about,
        "operationId": _operation_id(path),
        "responses": {str(status): answers[status] for status in sorted(answers)},
        # Without a file of tokens nobody is asked for one.
        "security": [{}] if path.is_open else [{}, {"token": []}, {"cookie": []}],
    }
    if path.parameters:
        item["parameters"] = [_parameter(each) for each in path.parameters]
    if path.takes is not None:
        item["requestBody"] = {"required": True, "content": {"application/json": {"schema": path.takes}}}
    return item


def _good(path: Path) -> Json:
    content: Json
    match path.body:
        case None:
            about, content = "no body", {}
        case str(media):
            about, content = media, {media: {"schema": {"type": "string"}}}
        case type() as kind:
            about, content = meaning(kind), {"application/json": {"schema": _ref(kind)}}
        case schema:
            about, content = "JSON", {"application/json": {"schema": dict(schema)}}
    answer: Json = {"description": about} | ({"content": content} if content else {})
    return answer | ({"headers": {"ETag": {"schema": {"type": "string"}}}} if path.has_tag else {})


def _operation_id(path: Path) -> str:
    name = path.path.strip("/").translate(str.maketrans("/.", "__", "{}")) or "page"
    return name if path.method == "get" else f"{path.method}_{name}"


def _shared(name: str) -> Json:
    return {"$ref": f"#/components/responses/{name}"}


def _problem(about: str) -> Json:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": about, "content": content}


def _parameter(parameter: Parameter) -> Json:
    return {
        "name": parameter.name,
        "in": parameter.where,
        "description": parameter.about,
        "required": parameter.required,
        "schema": parameter.schema,
    }
