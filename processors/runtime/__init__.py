"""What every process needs: settings, the bus, the clock, logging, and starting and stopping well."""

__all__: list[str] = []
