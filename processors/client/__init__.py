"""The typed Python client of the streams: what `ark-pulse tail` uses, and any other Python service may."""

__all__: list[str] = []
