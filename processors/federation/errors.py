"""Errors of the federation service.

Refused    a request is answered with an error
"""

from typing import Final

__all__ = ["RETRY_AFTER_S", "Refused"]

RETRY_AFTER_S: Final = {429: 5, 503: 5}
"""Refusals after which the same client may try again, and when, seconds."""


class Refused(Exception):
    """A request is answered with an error. `status` is HTTP's; the text is a short clause for the client."""

    def __init__(self, status: int, clause: str) -> None:
        super().__init__(clause)
        self.status = status
