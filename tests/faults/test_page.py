"""The short form of what `make soak` does with the page."""

import shutil

import pytest

from tests.faults.page import run_page


@pytest.mark.browser
@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_page_that_is_gone_through_again_and_again_holds_no_more_than_before() -> None:
    report = run_page(0, view_s=0.3, peers=200)
    assert max(report.nodes[1:]) <= 1.2 * report.nodes[1]
    assert report.heaps[-1] <= 1.5 * report.heaps[1]
