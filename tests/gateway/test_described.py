import pytest
from jsonschema import Draft202012Validator

from processors.gateway.described import WIRE_TYPES, describe
from schemas.answers import SourceReport
from schemas.frames import Subscribe
from schemas.metrics import SyncRecord

SCHEMAS = describe(WIRE_TYPES, "#/$defs/{name}")[1]


@pytest.mark.parametrize("kind", WIRE_TYPES, ids=lambda each: each.__name__)
def test_every_wire_type_has_a_schema_that_says_what_it_is(kind: type) -> None:
    schema = SCHEMAS[kind.__name__]
    Draft202012Validator.check_schema(schema)
    assert schema["description"]
    assert "\n" not in schema["description"]


def test_a_field_says_what_the_comment_above_it_says() -> None:
    properties = SCHEMAS[Subscribe.__name__]["properties"]
    assert properties["rate"]["description"] == (
        "Frames a second and channel, 0 to 100; the first change comes at once. 0: every change."
    )
    assert "description" not in SCHEMAS["Unsubscribe"]["properties"]["channels"]


def test_a_field_that_is_called_otherwise_on_the_wire_is_described_by_that_name() -> None:
    assert {"from", "to"} <= SCHEMAS[SyncRecord.__name__]["properties"].keys()


def test_a_field_that_is_inherited_says_what_it_says_there() -> None:
    properties = SCHEMAS[SourceReport.__name__]["properties"]
    assert properties["since"]["description"] == "Since when it is in this state."
    assert properties["silent"]["description"].startswith("Whether that is 15 s ago")


def test_what_is_none_here_is_null_on_the_wire() -> None:
    assert SCHEMAS[SyncRecord.__name__]["properties"]["ok"]["description"] == "null: under way."


def test_references_are_as_the_document_wants_them() -> None:
    [schema], components = describe([list[SyncRecord]], "#/there/{name}")
    assert schema == {"type": "array", "items": {"$ref": "#/there/SyncRecord"}}
    assert list(components) == ["SyncRecord"]
