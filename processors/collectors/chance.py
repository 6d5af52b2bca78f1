"""Random numbers of the kinds that a simulation needs, from plain ones."""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

__all__ = ["Chance"]

T = TypeVar("T")


class Chance:
    """Draws of several distributions. `random` gives numbers in [0, 1); the same ones give the same draws."""

    def __init__(self, random: Callable[[], float]) -> None:
        # The next plain number in [0, 1).
        self.random = random

    def between(self, least: int, most: int) -> int:
        """A whole number, at least `least` and less than `most`."""
        return least + int(self.random() * (most - least))

    def choice(self, items: Sequence[T]) -> T:
        """One of `items`."""
        return items[int(self.random() * len(items))]

    def exponential(self, mean: int) -> int:
        """A whole number of at least 1, exponentially distributed: the pause between two things that nothing links."""
        return max(1, int(-mean * math.log(1 - self.random())))

    def normal(self) -> float:
        """A standard normal number, by Box and Muller's transform."""
        radius = math.sqrt(-2 * math.log(1 - self.random()))
        return radius * math.cos(2 * math.pi * self.random())
