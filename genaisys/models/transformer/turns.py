"""A lock that is given in the order in which it was asked for; ``threading.Lock`` may starve those who wait."""

from collections import deque
from contextlib import suppress
from threading import Event


class Turns:
    """Use it in a ``with`` statement. Whoever stands first in the queue has the turn."""

    def __init__(self) -> None:
        self._queue: deque[Event] = deque()  # whose single operations are atomic

    def __enter__(self) -> None:
        ticket = Event()
        try:
            self._queue.append(ticket)
            while self._queue[0] is not ticket:
                ticket.wait(1)  # and look again, should Ctrl-C have kept the one before from waking us
        except BaseException:  # Ctrl-C while waiting
            self._leave(ticket)
            raise

    def __exit__(self, *_: object) -> None:
        self._queue.popleft()
        self._wake_first()

    def take(self) -> bool:
        """Take the turn if that needs no waiting; whether it was taken. It is given back by ``__exit__``."""
        ticket = Event()
        self._queue.append(ticket)
        if self._queue[0] is ticket:
            return True
        self._leave(ticket)
        return False

    def _leave(self, ticket: Event) -> None:
        with suppress(ValueError):
            self._queue.remove(ticket)
        self._wake_first()

    def _wake_first(self) -> None:
        with suppress(IndexError):
            self._queue[0].set()
