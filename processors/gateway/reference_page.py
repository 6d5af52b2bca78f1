"""The generated references as one page for people, without a script."""

import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final

import msgspec

__all__ = ["docs_page"]

Json = Mapping[str, Any]

_HEAD: Final = """<!doctype html>
<html lang="en" data-theme="dark">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>What the gateway of ARK Pulse serves</title>
<link rel="icon" href="/static/icon.svg" type="image/svg+xml">
<script src="/static/core/early.js"></script>
<link rel="stylesheet" href="/static/styles/base.css">
<link rel="stylesheet" href="/static/styles/shell.css">
<link rel="stylesheet" href="/static/styles/docs.css">
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header>
<h1><a href="/">ARK <span>Pulse</span></a></h1>
<a href="/asyncapi.json">AsyncAPI</a> <a href="/openapi.json">OpenAPI</a> <a href="/schemas.json">JSON Schema</a>
</header>
"""

_BOUNDS: Final = (("from", "minimum"), ("to", "maximum"), ("by default", "default"))
_WORD: Final = re.compile(r"`([^`]+)`")


def docs_page(asyncapi: Json, openapi: Json) -> str:
    """The page of both documents."""
    messages = asyncapi["components"]["messages"]
    schemas = asyncapi["components"]["schemas"] | openapi["components"]["schemas"]
    sections = {
        "Channels": _channels(asyncapi["channels"]["ws"]),
        "What a client says on /ws": _said(asyncapi, "ws.receive", messages, schemas),
        "What the gateway says on /ws and /sse": _said(asyncapi, "ws.send", messages, schemas),
        "Errors": _table(("code", "the client should"), _advice(asyncapi["x-errors"])),
        "Close codes": _table(("code", "the client should"), _advice(asyncapi["x-close-codes"])),
        "Drop-in paths": "".join(_drop_in(asyncapi, name, messages) for name in ("ws_federation", "ws_memory")),
        "HTTP paths": _paths(openapi),
        "Types": "".join(_type(name, schema) for name, schema in schemas.items() if name.lower() not in messages),
    }
    links = "".join(f'<li><a href="#{_anchor(title)}">{escape(title)}</a></li>' for title in sections)
    body = "".join(
        f'<section id="{_anchor(title)}" aria-labelledby="{_anchor(title)}-title">'
        f'<h2 id="{_anchor(title)}-title">{escape(title)}</h2>\n{text}</section>\n'
        for title, text in sections.items()
    )
    return (
        f'{_HEAD}<nav aria-label="Contents"><ul>{links}</ul></nav>\n'
        f'<main id="content" tabindex="-1">\n{body}</main>\n</body>\n</html>\n'
    )


def _anchor(title: str) -> str:
    """Never that of a type: those begin with a capital."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _prose(text: str) -> str:
    return _WORD.sub(r"<code>\1</code>", escape(text))


def _code(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return f"<code>{escape(text)}</code>"


def _table(heads: tuple[str, str], rows: Iterable[tuple[str, str]]) -> str:
    head = "".join(f'<th scope="col">{each}</th>' for each in heads)
    body = "".join(f'<tr><th scope="row">{name}</th><td>{text}</td></tr>\n' for name, text in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>\n"


def _advice(table: Iterable[Json]) -> Iterable[tuple[str, str]]:
    for row in table:
        number = f"{row['code']} " if "code" in row else ""
        yield f"{number}{_code(row['name'])}", _prose(row["client_should"])


def _channels(channel: Json) -> str:
    protocols = " and ".join(map(_code, channel["x-subprotocols"]))
    rows = [
        (f"{_code(each['name'])}<small>{_kind(each['data'])}</small>", _prose(each["about"]))
        for each in channel["x-channels"]
    ]
    return f"<p>Subprotocols: {protocols}; without one it is the first.</p>\n{_table(('channel', 'what'), rows)}"


def _said(asyncapi: Json, operation: str, messages: Json, schemas: Json) -> str:
    names = [each["$ref"].rsplit("/", 1)[1] for each in asyncapi["operations"][operation]["messages"]]
    parts = []
    for name in names:
        kind = messages[name]["payload"]["$ref"].rsplit("/", 1)[1]
        example = msgspec.json.encode(messages[name]["examples"][0]["payload"]).decode()
        parts.append(f"{_type(kind, schemas[kind])}<pre><code>{escape(example)}</code></pre>\n")
    return "".join(parts)


def _type(name: str, schema: Json) -> str:
    required = schema.get("required", ())
    rows = [
        (_named(field, each, required=field in required), _prose(each.get("description", "")))
        for field, each in schema["properties"].items()
    ]
    return f'<h3 id="{name}">{name}</h3><p>{_prose(schema["description"])}</p>\n{_table(("field", "meaning"), rows)}'


def _named(name: str, schema: Json, *, required: bool, where: str = "") -> str:
    """A field or a parameter. Where null stands for what is not known, the field is absent: it is not told."""
    kind = _kind(schema)
    if "default" in schema and schema["default"] is None:
        kind = kind.removesuffix(" or null")
    return f"{_code(name)}<small>{where}{kind}{'' if required else ', optional'}</small>"


def _kind(schema: Any) -> str:
    """A JSON Schema in words."""
    match schema:
        case {"$ref": ref}:
            text = _link(ref.rsplit("/", 1)[1])
        case {"anyOf": choices}:
            text = " or ".join(map(_kind, choices))
        case {"enum": values}:
            text = " or ".join(map(_code, values))
        case {"type": "array", "items": dict(items)}:
            text = f"list of {_kind(items)}"
        case {"type": "object", "additionalProperties": dict(values)}:
            text = f"object of {_kind(values)}"
        case {"type": kind}:
            text = str(kind) + "".join(f", {word} {schema[key]}" for word, key in _BOUNDS if key in schema)
        case _:
            text = "anything"
    return text


def _link(kind: str) -> str:
    return f'<a href="#{kind}">{kind}</a>'


def _drop_in(asyncapi: Json, channel: str, messages: Json) -> str:
    about = asyncapi["channels"][channel]
    rows = []
    for message in map(messages.__getitem__, about["messages"]):
        kinds = re.findall(r"#/components/schemas/(\w+)", msgspec.json.encode(message["payload"]).decode())
        rows.append((_code(message["name"]), " ".join([_prose(message["summary"]), *map(_link, kinds)])))
    return f"<h3>{_code(about['address'])}</h3>\n{_table(('message', 'what'), rows)}"


def _paths(openapi: Json) -> str:
    shared = openapi["components"]["responses"]
    rows = [(_code(name), _prose(each["description"])) for name, each in shared.items()]
    return _table(("where it is named", "when"), rows) + "".join(
        _path(path, method, operation)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    )


def _path(path: str, method: str, item: Json) -> str:
    parameters = [
        (
            _named(each["name"], each["schema"], required=each["required"], where=f"{each['in']}, "),
            _prose(each["description"]),
        )
        for each in item.get("parameters", ())
    ]
    answers = [(status, _answer(each)) for status, each in item["responses"].items()]
    return (
        f"<h3>{method.upper()} {_code(path)}</h3><p>{_prose(item['summary'])}</p>\n"
        + (_table(("parameter", "meaning"), parameters) if parameters else "")
        + _table(("answer", "when"), answers)
    )


def _answer(answer: Json) -> str:
    if "$ref" in answer:
        return _code(answer["$ref"].rsplit("/", 1)[1])
    kinds = [_kind(each["schema"]) for each in answer.get("content", {}).values() if "$ref" in each["schema"]]
    return " ".join([_prose(answer["description"]), *kinds])
