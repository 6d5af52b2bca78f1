"""Collectors: each watches one source and puts what happened there onto the bus, each thing once."""

__all__: list[str] = []
