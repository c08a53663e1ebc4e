"""Ctrl-C (and SIGTERM, which torchrun and schedulers send) as a wish that training grants between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruption() -> Iterator[Callable[[], bool]]:
    """A function that tells whether a signal has come. A second one acts at once, as it does without us."""
    if threading.current_thread() is not threading.main_thread():  # others cannot receive signals
        yield lambda: False
        return
    came = threading.Event()
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in _SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def wish(number: int, frame: FrameType | None) -> None:
        came.set()
        restore()

    for number in _SIGNALS:
        signal.signal(number, wish)
    try:
        yield came.is_set
    finally:
        restore()
