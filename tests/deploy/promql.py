"""What the tests of rules and dashboard share: expressions taken apart, and the metrics that there are."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import promql_parser

__all__ = ["DEPLOY", "ROOT", "known_metrics", "unknown_in"]

ROOT: Final = Path(__file__).parent.parent.parent
DEPLOY: Final = ROOT / "deploy"

_ROW: Final = re.compile(r"^\| `(ark_pulse_[a-z_]+)` \| (gauge|counter|histogram) \| ([^|]*)\|", re.MULTILINE)
# Of prometheus-client, and of Prometheus itself.
_OTHERS: Final = {
    "process_cpu_seconds_total", "process_open_fds", "process_resident_memory_bytes", "process_start_time_seconds",
    "up", "ALERTS",
}  # fmt: skip
# Prometheus adds them to everything that it scrapes, and to alerts.
_ADDED: Final = {"job", "instance", "alertname", "alertstate"}


def known_metrics() -> dict[str, set[str]]:
    """Each metric with its labels, as docs/monitoring.md has them; a test there holds these against the code."""
    text = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    known = {name: set[str]() for name in _OTHERS}
    for name, kind, labels in _ROW.findall(text):
        found = set(re.findall(r"`(\w+)`", labels))
        if kind == "histogram":
            known |= {f"{name}_bucket": {*found, "le"}, f"{name}_sum": found, f"{name}_count": found}
        else:
            known[name] = found
    return known


def unknown_in(expr: str, known: dict[str, set[str]]) -> list[str]:
    """The metrics and labels of an expression that nobody tells. Raises ValueError: if it is no PromQL."""
    used, groups = set[str](), set[str]()
    for node in _nodes(promql_parser.parse(_without_variables(expr))):
        if isinstance(node, promql_parser.VectorSelector):
            used.add(node.name or "")
            groups |= {f"{node.name}.{matcher.name}" for matcher in node.matchers.matchers}
    labels = {label for name in used for label in known.get(name, ())} | _ADDED
    wrong = {name for name in used if name not in known}
    wrong |= {each for each in groups if each.split(".")[1] not in known.get(each.split(".")[0], set()) | _ADDED}
    by = {
        name
        for listed in re.findall(r"\b(?:by|on|ignoring|without) \(([\w, ]*)\)", expr)
        for name in listed.split(", ")
    }
    return sorted(wrong | (by - labels))


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    for name in ("lhs", "rhs", "expr", "param", "vector_selector", "args"):
        inner = getattr(node, name, None)
        for each in inner if isinstance(inner, list) else [inner]:
            if each is not None and not isinstance(each, str):
                yield from _nodes(each)


def _without_variables(expr: str) -> str:
    """`expr` as Grafana would send it."""
    return expr.replace("$__rate_interval", "1m").replace("$", "")
