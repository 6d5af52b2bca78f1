"""Standard output that may lose its reader."""

import os
import sys

__all__ = ["print_line"]


def print_line(line: str) -> bool:
    """Print `line` at once. Returns False when nobody reads standard output any more: there is no use in going on."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        # Python writes what is left of its buffer at its end, and would fail with a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True
