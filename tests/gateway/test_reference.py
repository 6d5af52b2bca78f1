import re
from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from processors.gateway.assets import REFERENCES, references
from processors.gateway.paths import PATHS
from processors.gateway.reference import CHANNELS, EXAMPLES
from schemas import codec
from schemas.frames import CLOSE_CODES, ERRORS, PEER_PREFIX, RECORDS, STATES, Frame, Message, Snapshot
from schemas.positions import decode_position
from tests.gateway.support import log, memory_summary, node, row, source, summary, sync

ASYNCAPI, OPENAPI, SCHEMAS = (msgspec.json.decode(references()[path].body) for path in REFERENCES[1:])
DOCUMENTS = pytest.mark.parametrize("document", [ASYNCAPI, OPENAPI, SCHEMAS], ids=REFERENCES[1:])
MESSAGES = ASYNCAPI["components"]["messages"]
OPERATIONS = [(path, item) for path, methods in OPENAPI["paths"].items() for item in methods.values()]


def parts(document: Any) -> Iterator[dict[str, Any]]:
    """Every object in a document."""
    if isinstance(document, dict):
        yield document
    for each in document.values() if isinstance(document, dict) else document if isinstance(document, list) else ():
        yield from parts(each)


def found(document: Any, ref: str) -> Any:
    assert ref.startswith("#/"), f"{ref} leads out of the document"
    for step in ref[2:].split("/"):
        document = document[step.replace("~1", "/")]
    return document


def check(value: Any, schema: dict[str, Any], document: dict[str, Any]) -> None:
    """Raises ValidationError: if a value, as it stands in JSON, is not as a schema of a document says."""
    around = {name: document[name] for name in ("components", "$defs") if name in document}
    Draft202012Validator(around | {"allOf": [schema]}).validate(value)


def on_the_wire(value: Any) -> Any:
    return msgspec.json.decode(codec.encode(value))


@DOCUMENTS
def test_every_reference_in_a_document_leads_somewhere_in_it(document: dict[str, Any]) -> None:
    refs = [part["$ref"] for part in parts(document) if isinstance(part.get("$ref"), str)]
    assert [ref for ref in refs if found(document, ref) is None] == []


@DOCUMENTS
def test_every_schema_is_one(document: dict[str, Any]) -> None:
    schemas = document["$defs"] if "$defs" in document else document["components"]["schemas"]
    assert schemas
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)


def test_every_operation_of_asyncapi_has_messages_of_an_existing_channel() -> None:
    assert ASYNCAPI["asyncapi"] == "3.0.0"
    assert {each["action"] for each in ASYNCAPI["operations"].values()} == {"send", "receive"}
    for operation in ASYNCAPI["operations"].values():
        own = found(ASYNCAPI, operation["channel"]["$ref"])["messages"]
        assert {each["$ref"].rsplit("/", 1)[1] for each in operation["messages"]} <= set(own)


def test_every_message_of_asyncapi_has_a_payload_and_is_used() -> None:
    used = {name for channel in ASYNCAPI["channels"].values() for name in channel["messages"]}
    assert used == set(MESSAGES)
    assert [name for name, message in MESSAGES.items() if not message["payload"]] == []


def test_asyncapi_uses_nothing_of_json_schema_that_draft_07_reads_otherwise() -> None:
    assert [part for part in parts(ASYNCAPI) if "prefixItems" in part or "$defs" in part] == []


def test_every_channel_of_the_protocol_is_described() -> None:
    assert {each.name.removesuffix("<id>") for each in CHANNELS} == {*STATES, *RECORDS, PEER_PREFIX}


def test_the_tables_of_errors_and_close_codes_are_in_asyncapi() -> None:
    assert [each["name"] for each in ASYNCAPI["x-errors"]] == list(ERRORS)
    assert [each["code"] for each in ASYNCAPI["x-close-codes"]] == [each.code for each in CLOSE_CODES.values()]


def test_every_message_has_an_example() -> None:
    assert {type(each) for each in EXAMPLES} == {*get_args(Message), *get_args(Frame)}


@pytest.mark.parametrize("side", [Message, Frame], ids=["client", "gateway"])
def test_examples_are_read_by_the_real_decoders(side: Any) -> None:
    decoder = msgspec.json.Decoder(side)
    for kind in get_args(side):
        for example in MESSAGES[kind.__struct_config__.tag]["examples"]:
            assert decoder.decode(codec.encode(example["payload"])) in EXAMPLES


def test_positions_in_examples_are_positions() -> None:
    for example in EXAMPLES:
        if isinstance(pos := getattr(example, "pos", None), str):
            decode_position(pos)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("encoding", [msgspec.json, msgspec.msgpack], ids=["json", "msgpack"])
def test_every_frame_is_as_its_schema_says_in_both_encodings(encoding: Any, example: Message | Frame) -> None:
    value = encoding.decode(encoding.encode(example))
    name = type(example).__name__
    check(value, {"$ref": f"#/$defs/{name}"}, SCHEMAS)
    assert value.keys() <= SCHEMAS["$defs"][name]["properties"].keys()


@pytest.mark.parametrize(
    ("channel", "data"),
    [
        ("federation", summary(total_peers=3, network_health=66.5)),
        ("memory", memory_summary(logs=(log(),), nodes={"node-1": node()}, nodes_total=1)),
        ("peers", {"a": row("a", latency_ms=1.5)}),
        (f"{PEER_PREFIX}<id>", None),
        ("sources", {"node-1/peers": on_the_wire(source()) | {"heard_at": 1, "silent": False}}),
        ("sync", [sync()]),
        ("logs", [log()]),
    ],
)
def test_the_data_of_each_channel_is_as_its_schema_says(channel: str, data: Any) -> None:
    [info] = [each for each in ASYNCAPI["channels"]["ws"]["x-channels"] if each["name"] == channel]
    check(on_the_wire(data), info["data"], ASYNCAPI)


@pytest.mark.parametrize(
    "value",
    [
        {"type": "snapshot", "channel": "sync", "ts": 1},
        {"type": "delta", "channel": "sync", "ts": 1, "data": []},
        {"type": "snapshot", "channel": "sync", "ts": "1", "data": []},
        {"type": "snapshot", "channel": "sync", "ts": 1, "data": [], "source": "invented"},
    ],
    ids=["a field is missing", "another type", "a text for a number", "an unknown word"],
)
def test_a_frame_that_is_none_is_refused_by_the_schema(value: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        check(value, {"$ref": f"#/$defs/{Snapshot.__name__}"}, SCHEMAS)


def test_every_operation_of_openapi_has_answers_and_a_name_of_its_own() -> None:
    assert OPENAPI["openapi"].startswith("3.1.")
    names = [item["operationId"] for _, item in OPERATIONS]
    assert len(names) == len(set(names)) == len(PATHS)
    for status, answer in [each for _, item in OPERATIONS for each in item["responses"].items()]:
        assert re.fullmatch("[1-5][0-9]{2}", status)
        assert (found(OPENAPI, answer["$ref"]) if "$ref" in answer else answer)["description"]


def test_every_name_in_a_path_is_a_parameter() -> None:
    for path, item in OPERATIONS:
        named = {each["name"] for each in item.get("parameters", ()) if each["in"] == "path" and each["required"]}
        assert set(re.findall(r"{(\w+)}", path)) == named


def test_every_security_scheme_exists() -> None:
    schemes = OPENAPI["components"]["securitySchemes"]
    assert {name for _, item in OPERATIONS for each in item["security"] for name in each} == {*schemes}
