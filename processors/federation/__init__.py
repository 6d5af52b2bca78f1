"""The federation service: nodes say by signed manifests that they are there, and ask who else is."""

__all__: list[str] = []
