"""A lock that is given in the order in which it was asked for; ``threading.Lock`` may starve those who wait.

Ctrl-C raises an exception wherever Python code stands, also in the ``__enter__`` and ``__exit__`` of a context manager,
which would leave the lock locked for ever. So there is none: work is handed over, and what gives the turn back is one
operation in a ``finally`` of the very function that took it. Nothing can strike in between.
"""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import Event
from typing import TypeVar

T = TypeVar("T")


class Turns:
    """Whoever stands first in the queue has the turn."""

    def __init__(self) -> None:
        self._queue: deque[Event] = deque()  # whose single operations are atomic

    def run(self, work: Callable[[], T]) -> T:
        """Do ``work`` when it is our turn, and give its result."""
        ticket = Event()
        try:
            self._queue.append(ticket)
            while self._queue[0] is not ticket:
                ticket.wait(1)  # and look again, should Ctrl-C have kept the one before from waking us
            return work()
        finally:
            try:  # noqa: SIM105 (suppress is Python code as well)
                self._queue.remove(ticket)
            except ValueError:  # Ctrl-C came before it stood there
                pass
            self._wake_first()

    def run_if_free(self, work: Callable[[], object]) -> None:
        """Do ``work`` if that needs no waiting."""
        ticket = Event()
        try:
            self._queue.append(ticket)
            if self._queue[0] is ticket:
                work()
        finally:
            try:  # noqa: SIM105
                self._queue.remove(ticket)
            except ValueError:
                pass
            self._wake_first()

    def _wake_first(self) -> None:
        with suppress(IndexError):
            self._queue[0].set()
