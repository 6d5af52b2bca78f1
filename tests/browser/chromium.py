"""The browser that the tests drive, where it is installed."""

import shutil

import pytest

__all__ = ["ARGUMENTS", "CHROMIUM", "MARKS"]

CHROMIUM = shutil.which("chromium")

MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]
"""Of each module that needs it."""

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
