"""What the page keeps of the last minutes, held in a page without anything else."""

from typing import Any, Final

import pytest
from playwright.async_api import Page

from tests.browser.chromium import MARKS

pytestmark = MARKS

SERIES: Final = """async (updates) => {
  const { History } = await import("/static/core/history.js");
  const history = new History("memory", 60000, 60);
  for (const update of updates) history.add(update);
  return history.series("rate");
}"""


def update(ts: int, rate: float | None = None, *, stale: bool = False) -> dict[str, Any]:
    """What the client tells: a summary of its moment, or without a rate an empty state."""
    value = {} if rate is None else {"ts": ts, "rate": rate, "source": "live"}
    return {"value": value, "ts": ts, "stale": stale}


@pytest.mark.parametrize(
    ("updates", "series"),
    [
        pytest.param([update(1_000, 1), update(3_000, 2)], [[1_000, 1], [3_000, 2]], id="summaries"),
        pytest.param([update(1_000, 1), update(3_000)], [[1_000, 1], [3_000, None]], id="nothing-known-any-more"),
        pytest.param([update(1_000), update(3_000, 2)], [[1_000, None], [3_000, 2]], id="nothing-known-at-first"),
        pytest.param([update(1_000), update(900, 2)], [[900, 2]], id="a-summary-older-than-the-empty-state"),
        pytest.param([update(1_000, 1), update(1_000, 1, stale=True)], [[1_000, 1]], id="a-gateway-not-heard-of"),
    ],
)
async def test_a_series_is_what_the_channel_said(page: Page, updates: list[Any], series: list[Any]) -> None:
    assert await page.evaluate(SERIES, updates) == series
