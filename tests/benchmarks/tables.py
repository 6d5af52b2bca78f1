"""Small helpers of the benchmarks: quantiles and tables."""

from collections.abc import Sequence

__all__ = ["quantile", "table"]


def quantile(values: Sequence[float], share: float) -> float:
    """The nearest rank."""
    return sorted(values)[max(0, -(-int(share * 1000) * len(values) // 1000) - 1)]


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
