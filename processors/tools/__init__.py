"""Commands that stand beside the flow: they fill what ARK would fill, and compare what we publish with it."""

__all__: list[str] = []
