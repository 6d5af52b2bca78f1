"""The page's files, read once at import and served from memory; the references, made once when they are asked for."""

import gzip
import hashlib
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from processors.gateway import reference
from processors.gateway.reference_page import docs_page
from schemas import codec

__all__ = ["ASSETS", "REFERENCES", "Asset", "references"]

REFERENCES: Final = ("/docs", "/asyncapi.json", "/openapi.json", "/schemas.json")
"""Paths of the references."""

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}


class Asset(NamedTuple):
    """One file of the page."""

    body: bytes
    # The body by gzip.
    packed: bytes
    content_type: str
    # Digest of the body, as an ETag without quotes.
    etag: str


def _asset(body: bytes, suffix: str) -> Asset:
    return Asset(body, gzip.compress(body, mtime=0), _TYPES[suffix], hashlib.sha256(body).hexdigest()[:32])


_PAGE: Final = Path(__file__).parent / "page"

ASSETS: Final = {
    path.relative_to(_PAGE).as_posix(): _asset(path.read_bytes(), path.suffix)
    for path in sorted(_PAGE.rglob("*"))
    if path.suffix in _TYPES
}
"""The files by their path within the page's folder."""


@cache
def references() -> dict[str, Asset]:
    """The references by path. The first time it reads the sources and takes some 40 ms: not for the event loop."""
    asyncapi, openapi = reference.asyncapi(), reference.openapi()
    documents = (codec.encode(document) for document in (asyncapi, openapi, reference.json_schemas()))
    page = _asset(docs_page(asyncapi, openapi).encode(), ".html")
    return dict(zip(REFERENCES, (page, *(_asset(body, ".json") for body in documents)), strict=True))
