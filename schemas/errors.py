"""Errors of the schemas package.

SchemaError
├── MalformedEntry    a stream entry whose fields or body cannot be read; it goes to the dead letters
├── NewerVersion      a stream entry of a schema version this code does not know; it is parked
└── BadPosition       a position text that was not made by `positions.encode_position`
"""

__all__ = ["BadPosition", "MalformedEntry", "NewerVersion", "SchemaError"]


class SchemaError(ValueError):
    """Something that arrived does not have the shape that was agreed on."""


class MalformedEntry(SchemaError):
    """A stream entry, or one event of it, cannot be read. `reason` is a short clause for the dead letters."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NewerVersion(SchemaError):
    """An entry was written by a newer release. `version` is what its field `v` says."""

    def __init__(self, version: int) -> None:
        super().__init__(f"schema version {version} is newer than this release understands")
        self.version = version


class BadPosition(SchemaError):
    """A position text is not one of ours."""
