"""Aggregators: they own partitions, fold events into state, and merge what the partitions say into metrics."""

__all__: list[str] = []
