"""How long to wait before the next attempt: longer each time, never two collectors in step."""

from collections.abc import Callable

__all__ = ["Backoff"]


class Backoff:
    """Delays that double from `least_s` to `most_s`, each shortened at random by up to a half."""

    def __init__(self, random: Callable[[], float], *, least_s: float = 0.25, most_s: float = 5.0) -> None:
        self._random = random
        self._least_s = least_s
        self._most_s = most_s
        # The next delay before it is shortened, seconds.
        self._delay_s = least_s

    def next_s(self) -> float:
        """Seconds to wait now; the next wait is longer."""
        delay_s = self._delay_s
        self._delay_s = min(self._most_s, 2 * delay_s)
        return delay_s * (1 - self._random() / 2)

    def reset(self) -> None:
        """It worked: begin again with the shortest delay."""
        self._delay_s = self._least_s
