"""The producers at work, each in a thread of its own."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from tests.faults.producers import Producer

__all__ = ["Load"]


class Load:
    """What `producers` write between `start` and `stop`."""

    def __init__(self, producers: Sequence[Producer]) -> None:
        self.producers = producers
        self._stop = threading.Event()
        self._threads = ThreadPoolExecutor(len(producers))
        # What the producers do until they are to stop.
        self._runs: list[Future[None]] = []
        # Held by a producer while it writes, and by who has it rest.
        self._turns = {id(producer): threading.Lock() for producer in producers}

    def start(self) -> None:
        """Write until `stop`."""
        self._stop.clear()
        self._runs = [self._threads.submit(self._run, producer) for producer in self.producers]

    def stop(self) -> None:
        """Write no more. Raises what a producer raised."""
        self._stop.set()
        for run in self._runs:
            run.result()

    def close(self) -> None:
        """Stop, and let go of the sources."""
        self._stop.set()
        self._threads.shutdown()
        for producer in self.producers:
            producer.close()

    @contextlib.contextmanager
    def resting(self, producer: Producer) -> Iterator[None]:
        """While one producer writes nothing and the others go on."""
        with self._turns[id(producer)]:
            yield

    def _run(self, producer: Producer) -> None:
        while not self._stop.wait(1 / producer.rate):
            with self._turns[id(producer)]:
                producer.step()
