import re
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any, get_args

import pytest

from processors.gateway.assets import ASSETS, references
from processors.gateway.paths import PATHS
from processors.gateway.reference import CHANNELS
from schemas.frames import CLOSE_CODES, ERRORS, Frame, Message

PAGE = references()["/docs"].body.decode()


class Reader(HTMLParser):
    """What the page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, name: str) -> list[str]:
        return [value for each, value in self.attributes if each == name]


@pytest.mark.parametrize("row", [*CLOSE_CODES.values(), *ERRORS.values()], ids=lambda each: each.name)
def test_every_code_stands_on_the_page_with_what_a_client_should_do(row: Any) -> None:
    text = Reader(PAGE).text
    assert row.name in text
    assert row.client_should.replace("`", "") in text


def test_every_path_channel_and_message_stands_on_the_page() -> None:
    text = Reader(PAGE).text
    names = [path.path for path in PATHS] + [each.name for each in CHANNELS]
    names += [kind.__struct_config__.tag for kind in (*get_args(Message), *get_args(Frame))]
    assert [name for name in names if name not in text] == []


def test_the_page_has_neither_script_nor_style_of_its_own() -> None:
    page = Reader(PAGE)
    assert not {"style", "iframe", "form"} & {*page.tags}
    assert (page.tags.count("script"), page.all("src")) == (1, ["/static/core/early.js"])
    assert [name for name, _ in page.attributes if name == "style" or name.startswith("on")] == []


def test_every_link_of_the_page_leads_somewhere() -> None:
    page = Reader(PAGE)
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    targets = {f"#{each}" for each in ids} | {f"/static/{name}" for name in ASSETS} | {path.path for path in PATHS}
    assert [link for link in page.all("href") if link not in targets] == []


def test_the_page_can_be_read_without_seeing_it() -> None:
    page = Reader(PAGE)
    assert page.tags.count("h1") == page.tags.count("main") == page.tags.count("nav") == 1
    assert {"lang", "scope", "aria-label"} <= {name for name, _ in page.attributes}
    assert set(page.all("aria-labelledby")) <= set(page.all("id"))
    headings = [int(tag[1]) for tag in page.tags if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in pairwise(headings))


def test_names_are_escaped_on_the_page() -> None:
    assert "peer:&lt;id&gt;" in PAGE
