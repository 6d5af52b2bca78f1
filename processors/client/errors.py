"""Errors of the client.

PulseError
└── Refused   the gateway does not serve this client before something is mended
Lost          a connection cannot be gone on with; never leaves the client
"""

from processors.runtime.errors import PulseError

__all__ = ["Lost", "Refused"]


class Refused(PulseError):
    """The gateway does not serve this client before something is mended: trying again would not help.

    `code` is the close code, the status of the handshake, or the code of an `error`.
    """

    def __init__(self, code: int | str, advice: str) -> None:
        super().__init__(f"the gateway refuses: {code}: {advice}")
        self.code = code


class Lost(Exception):
    """A connection cannot be gone on with. `code` is the close code, None if it was not closed by the gateway."""

    def __init__(self, reason: str, code: int | None = None) -> None:
        super().__init__(reason)
        self.code = code
