"""Ctrl-C (and SIGTERM, which torchrun and schedulers send) as a wish that training grants between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from genaisys.errors import GenaisysError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TrainingInterrupted(GenaisysError):
    """Ctrl-C, or SIGTERM: a checkpoint was written."""


@contextmanager
def interruption() -> Iterator[Callable[[], bool]]:
    """A function that tells whether a signal has come. A second one acts at once, as it does without us.

    A signal that is ignored, as Ctrl-C is by what a shell has put into the background, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():  # others cannot receive signals
        yield lambda: False
        return
    came = threading.Event()
    handlers = {number: signal.getsignal(number) or signal.SIG_DFL for number in _SIGNALS}
    before = {number: handler for number, handler in handlers.items() if handler != signal.SIG_IGN}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def wish(number: int, frame: FrameType | None) -> None:
        came.set()
        restore()

    for number in before:
        signal.signal(number, wish)
    try:
        yield came.is_set
    finally:
        restore()
