"""The gateway: from the metric streams to WebSocket clients, HTTP, and the page."""

__all__: list[str] = []
