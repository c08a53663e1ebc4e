"""Turns: one at a time, in the order of asking, and none is ever lost."""

import sys
import threading
from types import FrameType

import pytest

from genaisys.models.transformer import turns as module
from genaisys.models.transformer.turns import Turns


def nothing() -> None:
    pass


def is_free(turns: Turns) -> bool:
    done = []
    turns.run_if_free(lambda: done.append(True))
    return bool(done)


def test_turns_are_taken_in_the_order_of_asking() -> None:
    turns, order, asked = Turns(), [], []

    def others_ask() -> None:
        assert not is_free(turns)
        for n in range(5):
            thread = threading.Thread(target=lambda n=n: turns.run(lambda: order.append(n)))
            thread.start()
            asked.append(thread)
            while len(turns._queue) < n + 2:
                threading.Event().wait(0.001)
        assert not is_free(turns)
        assert order == []

    turns.run(others_ask)
    for thread in asked:
        thread.join(20)
    assert order == [0, 1, 2, 3, 4]
    assert is_free(turns)
    assert is_free(turns)


def test_a_turn_is_exclusive() -> None:
    turns, inside, most, count = Turns(), 0, 0, 0

    def alone() -> None:
        nonlocal inside, most, count
        inside += 1
        most = max(most, inside)
        count += 1
        threading.Event().wait(0)
        inside -= 1

    def work() -> None:
        for n in range(200):
            (turns.run if n % 4 else turns.run_if_free)(alone)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert most == 1
    assert count >= 6 * 150


def test_the_result_and_the_error_of_the_work_are_the_callers() -> None:
    turns = Turns()
    assert turns.run(lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        turns.run(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        turns.run_if_free(lambda: 1 / 0)
    assert is_free(turns)


@pytest.mark.parametrize("way", ["run", "run_if_free"])
def test_ctrl_c_at_any_moment_gives_the_turn_back(way: str) -> None:
    """Python looks for signals where a function begins, and when one has returned: so at one such moment after the
    other an exception is raised, until there are none left."""
    struck, moment = True, 0
    while struck:
        turns, moment, left, struck = Turns(), moment + 1, moment + 1, False

        def strike(frame: FrameType, event: str, argument: object) -> None:
            nonlocal left, struck
            called = event == "call" and module.__file__ in (frame.f_code.co_filename, frame.f_back.f_code.co_filename)
            returned = event == "c_return" and frame.f_code.co_filename == module.__file__
            if called or returned:
                left -= 1
                if left == 0:
                    struck = True
                    raise KeyboardInterrupt

        sys.setprofile(strike)
        try:
            getattr(turns, way)(nothing)
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(None)
        assert is_free(turns), f"whoever comes after moment {moment} would wait for ever"
    assert moment > 8, "so many moments there are"
