"""A function of one molecule for many of them, on all cores, with progress."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context
from typing import TypeVar

from genaisys.errors import GenaisysError

OnDone = Callable[[int], None]  # is given how many are done

_FEWEST = 2000  # fewer are done before other processes have started
_CHUNK = 500

A = TypeVar("A")
B = TypeVar("B")


class NoProcesses(GenaisysError):
    """Other processes did not start, or were killed."""


def for_each(function: Callable[[A], B], items: Sequence[A], on_done: OnDone = lambda done: None) -> list[B]:
    """``[function(item) for item in items]``, in processes of their own where there are many items.

    Args:
        function: one of a module, which the processes import.

    Raises:
        NoProcesses: they did not start, or were killed.
    """
    results: list[B] = []
    cores = os.process_cpu_count() if hasattr(os, "process_cpu_count") else len(os.sched_getaffinity(0))
    if cores == 1 or len(items) < _FEWEST:
        for chunk in _chunks(items):
            results += map(function, chunk)
            on_done(len(results))
        return results
    # Spawned and not forked: a fork of a process with torch's threads may hang.
    try:
        with ProcessPoolExecutor(cores, get_context("spawn"), initializer=_leave_ctrl_c_to_us) as pool:
            for result in pool.map(function, items, chunksize=_CHUNK):
                results.append(result)
                if len(results) % _CHUNK == 0:
                    on_done(len(results))
    except BrokenProcessPool as error:
        raise NoProcesses(
            "the processes that were to help have ended: a script must begin its work under "
            '`if __name__ == "__main__":`, for they import it; or there was too little memory'
        ) from error
    on_done(len(results))
    return results


def _leave_ctrl_c_to_us() -> None:
    """A terminal sends it to all processes, and each would print where it was interrupted."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _chunks(items: Iterable[A]) -> Iterator[list[A]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, _CHUNK)):
        yield chunk
