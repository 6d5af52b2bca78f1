"""How duties are shared by those that run: each as many as any other, but for the remainder."""

from collections.abc import Collection, Sequence

__all__ = ["quota", "surplus"]


def quota(duties: int, owner: str, members: Collection[str]) -> int:
    """How many of `duties` the member `owner` is to have. All members that know the same ones agree."""
    everybody = sorted({*members, owner})
    base, left = divmod(duties, len(everybody))
    return base + (everybody.index(owner) < left)


def surplus(held: Sequence[str], most: int) -> list[str]:
    """Those of the `held` duties that are to be given back so that `most` are left: the ones taken up last."""
    return list(held[most:])
