"""A lock that is given in the order in which it was asked for; ``threading.Lock`` may starve those who wait."""

from collections import deque
from threading import Condition


class Turns:
    """Use it in a ``with`` statement."""

    def __init__(self) -> None:
        self._queue: deque[object] = deque()
        self._changed = Condition()

    def __enter__(self) -> None:
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            try:
                self._changed.wait_for(lambda: self._queue[0] is ticket)
            except BaseException:  # Ctrl-C while waiting: leave the queue
                self._queue.remove(ticket)
                self._changed.notify_all()
                raise

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._queue.popleft()
            self._changed.notify_all()
