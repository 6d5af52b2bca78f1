"""Files of our own: written whole or not at all."""

import os
import tempfile
from pathlib import Path

__all__ = ["write_private"]


def write_private(path: Path, text: str) -> None:
    """Write a file that only its user may read: all of it or nothing, whenever we are killed. Blocks.

    Raises OSError: if it cannot be written.
    """
    # mkstemp gives mode 0600 from the first moment on; a chmod afterwards would leave a gap.
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
