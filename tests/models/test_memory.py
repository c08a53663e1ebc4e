"""Memory that was freed, in a process of its own: what is asked of malloc holds until it ends."""

import subprocess
import sys

import pytest

FREEING = """
import sys
from genaisys.models.memory import give_back_freed_memory, keep_freed_memory

def resident():
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1]) * 4096

def after_freeing():
    before = resident()
    small = [bytes(5000) for _ in range(20_000)]  # 100 MB, and something at the end that stays
    kept.append(bytes(5000))
    del small
    return resident() - before

kept = []
WHAT
"""


def run(what: str) -> list[int]:
    program = FREEING.replace("WHAT", what)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return [int(word) for word in done.stdout.split()]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_what_is_free_between_pieces_in_use_is_given_back() -> None:
    held, left = run("print(after_freeing()); give_back_freed_memory(); print(resident())")
    assert held > 80e6
    assert left < 80e6


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_freed_memory_is_kept_for_the_next_step() -> None:
    """Large pieces are as a rule taken from the system and given back one by one."""
    program = "KEEP; before = resident(); large = bytearray(64 << 20); del large; print(resident() - before)"
    assert run(program.replace("KEEP", "pass"))[0] < 10e6
    assert run(program.replace("KEEP", "keep_freed_memory()"))[0] > 60e6
