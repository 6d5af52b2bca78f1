"""What `ark-pulse doctor` looks at: one module a subject. Each check looks only, within a deadline.

None needs more rights than the bus's user `operator` has.
"""

__all__: list[str] = []
