"""Signals as wishes."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from genaisys.training.interruption import interruption


@contextmanager
def handled(number: signal.Signals, handler: object) -> Iterator[None]:
    before = signal.signal(number, handler)  # type: ignore[arg-type]
    try:
        yield
    finally:
        signal.signal(number, before)


def test_a_signal_is_a_wish_and_a_second_one_acts() -> None:
    with interruption() as wished:
        assert not wished()
        os.kill(os.getpid(), signal.SIGINT)
        assert wished()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """As Ctrl-C is by what a shell has put into the background."""
    with handled(signal.SIGINT, signal.SIG_IGN):
        with interruption() as wished:
            os.kill(os.getpid(), signal.SIGINT)
            assert not wished()
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            assert wished()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
