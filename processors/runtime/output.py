"""Standard output: it may lose its reader, and a terminal obeys what is written to it."""

import os
import sys
from collections.abc import Iterable

__all__ = ["print_line", "print_lines", "visible"]


def print_line(line: str) -> bool:
    """Print `line` at once. Returns False when nobody reads standard output any more: there is no use in going on."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        # Python writes what is left of its buffer at its end, and would fail with a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


def print_lines(lines: Iterable[str]) -> None:
    """Print `lines`, without anything that a terminal would obey, until nobody reads them any more."""
    for line in lines:
        if not print_line(visible(line)):
            return


def visible(text: str) -> str:
    """`text` without anything that a terminal would obey: control characters are escaped."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
