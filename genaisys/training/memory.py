"""Memory that one training step has freed, for the next."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # the numbers that malloc.h has for them
_MOST = 2**31 - 1  # bytes


def keep_freed_memory() -> None:
    """Ask glibc not to give freed memory back to the system before the process ends.

    Each step frees hundreds of megabytes and takes them again. As a rule they go back in between, and the system then
    has to clear every page anew: a tenth of the time of a step in bfloat16.
    """
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):  # others than glibc have none
            library.mallopt(_MMAP_THRESHOLD, _MOST)
            library.mallopt(_TRIM_THRESHOLD, _MOST)
