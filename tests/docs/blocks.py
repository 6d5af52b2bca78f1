"""The fenced blocks of the documents, and which of them are to be run."""

import re
import textwrap
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["PAGES", "ROOT", "Block", "blocks_of", "shell_script"]

ROOT: Final = Path(__file__).resolve().parents[2]
# The changelog tells of commands that are gone.
PAGES: Final = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")} - {ROOT / "CHANGELOG.md"})
"""Every document, in the order of their paths."""

_FENCE: Final = re.compile(r" *(```+) *(.*?) *")
_RUN_BY: Final = re.compile(r"<!-- run by (\S+) -->")
_NOT_RUN: Final = re.compile(r"(?:#|//) not run here: .+")
_COMMENT: Final = re.compile(r"(?:^|\s+)#[^'\"]*$")
_UNTIL: Final = re.compile(r"\s+#[^'\"]*\buntil Ctrl-C\b[^'\"]*$")


class Block(NamedTuple):
    """What stands between two fences."""

    page: Path
    line: int
    """Of its first line in the document, from 1."""
    language: str
    """Its info string: what it is written in."""
    text: str
    run_by: tuple[str, ...]
    """The tests that the comments before it name."""

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_marked(self) -> bool:
        """Whether it says why it is not run, or by which other test it is."""
        return bool(self.run_by or _NOT_RUN.match(self.text))

    @property
    def commands(self) -> list[str]:
        """The lines of a shell block that are commands, without comments; one that goes on in the next line is one."""
        joined = self.text.replace("\\\n", " ").splitlines()
        return [command for line in joined if (command := _COMMENT.sub("", line).strip())]


def blocks_of(page: Path) -> Iterator[Block]:
    """The fenced blocks of a document. Raises AssertionError: if a fence has no end."""
    lines = page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        if fence := _FENCE.fullmatch(lines[number]):
            end = next((n for n in range(number + 1, len(lines)) if lines[n].strip() == fence[1]), None)
            assert end is not None, f"{page.name}:{number + 1}: a fence without an end"
            before = map(_RUN_BY.fullmatch, map(str.strip, reversed(lines[:number])))
            run_by = tuple(found[1] for found in takewhile(bool, before) if found)
            text = textwrap.dedent("\n".join(lines[number + 1 : end])) + "\n"
            yield Block(page, number + 2, fence[2], text, run_by)
            number = end
        number += 1


def shell_script(blocks: list[Block]) -> str:
    """One script of the shell blocks of a document, in which each command stands in the line of its document.

    A command whose comment says "until Ctrl-C" becomes `until_ctrl_c '<command>'`.
    """
    lines: list[str] = []
    for block in blocks:
        lines += [""] * (block.line - 1 - len(lines))
        pending: list[str] = []
        for line in block.text.splitlines():
            pending.append(line)
            if line.endswith("\\"):
                continue
            if _UNTIL.search(line):
                command = _UNTIL.sub("", "\n".join(pending)).replace("'", "'\\''")
                lines += [""] * (len(pending) - 1) + [f"until_ctrl_c '{command}'".replace("\\\n", " ")]
            else:
                lines += pending
            pending = []
    return "\n".join(lines) + "\n"
