"""Memory that was freed: kept for the next training step, or given back to the system after loading.

Both are requests to glibc's malloc; other C libraries are left alone.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # the numbers that malloc.h has for them
_MOST = 2**31 - 1  # bytes


def keep_freed_memory() -> None:
    """Give nothing back before the process ends.

    A training step frees hundreds of megabytes and takes them again. As a rule they go back in between, and the system
    then has to clear every page anew: a tenth of the time of a step in bfloat16.
    """
    if library := _glibc():
        library.mallopt(_MMAP_THRESHOLD, _MOST)
        library.mallopt(_TRIM_THRESHOLD, _MOST)


def give_back_freed_memory() -> None:
    """Give back what is free between pieces that are in use, such as what a tokenizer's file was read into."""
    if library := _glibc():
        library.malloc_trim(0)


def _glibc() -> Any:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "mallopt") else None
