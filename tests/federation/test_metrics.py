"""What the federation service tells of manifests in metrics."""

import re
from pathlib import Path

import pytest

from processors.federation import server
from processors.federation.manifest import MAX_BODY
from tests.federation.support import Node, Service

ROOT = Path(__file__).parents[2]


def told(service: Service) -> dict[str, float]:
    """How many manifests came to each end that one came to."""
    assert service.server is not None
    values = {sample.labels[0]: sample.value for sample in service.server.read()}
    return {outcome: value for outcome, value in values.items() if isinstance(value, int) and value}


async def test_manifests_are_counted_by_what_came_of_them(service: Service) -> None:
    node = Node()
    numbered = node.body(seq=5)
    for body in (numbered, numbered, b"{", b"x" * (MAX_BODY + 1), node.body(seq=6)):
        await service.post(body)
    await service.post(Node().body(seq=7))
    await service.post(node.body(seq=8), Origin="http://page.example")
    assert told(service) == {"registered": 2, "replayed": 1, "malformed": 1, "too_large": 1, "forbidden": 2}


def test_every_status_that_a_manifest_is_refused_with_has_an_outcome() -> None:
    sources = (ROOT / "processors" / "federation").glob("*.py")
    statuses = {
        status for path in sources for status in re.findall(r"Refused\((\d+)", path.read_text(encoding="utf-8"))
    }
    assert set(map(int, statuses)) == server._OUTCOMES.keys()


@pytest.mark.parametrize("outcome", ["registered", *sorted({*server._OUTCOMES.values()})])
def test_every_outcome_is_explained(outcome: str) -> None:
    assert (
        f"`{outcome}`"
        in (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8").partition("## Federation service")[2]
    )
