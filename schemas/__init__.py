"""What travels between the processes of ARK Pulse: wire types, stream names, positions, codecs.

Imports the standard library and msgspec only, so that any other Python service may use it as it is.
"""

__all__: list[str] = []
