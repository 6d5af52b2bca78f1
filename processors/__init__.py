"""The stages of ARK Pulse: a folder is a stage, a stage is a process."""

__all__: list[str] = []
