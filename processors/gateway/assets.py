"""The page's files, read once at import and served from memory."""

import hashlib
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["ASSETS", "Asset"]

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Asset(NamedTuple):
    """One file of the page."""

    body: bytes
    content_type: str
    # Digest of the body, as an ETag without quotes.
    etag: str


def _read(path: Path) -> Asset:
    body = path.read_bytes()
    return Asset(body, _TYPES[path.suffix], hashlib.sha256(body).hexdigest()[:32])


ASSETS: Final = {path.name: _read(path) for path in (Path(__file__).parent / "page").iterdir() if path.suffix in _TYPES}
"""The files by name."""
