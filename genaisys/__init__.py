"""genaisys: Generative AI Systems that run on your own machine, and the models behind them."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from genaisys.version import __version__

# Threads of torch that wait for each other should spin for some microseconds and then sleep. GNU's OpenMP spins for
# milliseconds, and where other programs want the processor too that makes two threads many times slower than one; not
# to spin at all costs a wake-up for each operation. It reads this when torch is first imported.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

if TYPE_CHECKING:
    from genaisys.errors import GenaisysError
    from genaisys.system import GenAISys

__all__ = ["GenAISys", "GenaisysError", "__version__"]

_HOMES = {"GenAISys": "genaisys.system", "GenaisysError": "genaisys.errors"}


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import; `genaisys --help` should not wait for it.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'genaisys' has no attribute {name!r}")
