"""The tables of ARK's databases, as ARK makes them; read at import from `tables/`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

__all__ = ["ARK", "IDS", "REASONING", "SCHEMAS"]

REASONING: Final = "reasoning_logs.db"
ARK: Final = "ark.db"

_FOLDER: Final = Path(__file__).parent / "tables"

SCHEMAS: Final[Mapping[str, str]] = {
    name: (_FOLDER / name).with_suffix(".sql").read_text(encoding="utf-8") for name in (REASONING, ARK)
}
"""The statements that make the tables and indexes of a database file that are missing, by its name."""

IDS: Final[Mapping[str, str]] = {
    "reasoning_sessions": "session_id",
    "reasoning_stages": "session_id",
    "code_index": "file_id",
    "code_patterns": "pattern_id",
    "sandbox_executions": "execution_id",
}
"""The column with the text that tells a row's thing from others, by table."""
