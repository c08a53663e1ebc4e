"""What befalls one text, or the whole engine, harms no other text and none that comes after it."""

import gc
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from engines import CONFIG, Scripted, packed, pages_in_use, saying, scripted
from tiny_models import make, one_line
from torch import Tensor

from genaisys.models.transformer import llama
from genaisys.models.transformer.engine import Engine
from genaisys.models.transformer.generated import Generation, GenerationFailed
from genaisys.models.transformer.grammar import GrammarImpossible, json_schema
from genaisys.models.transformer.sampling import Sampling
from genaisys.tokenizers import Tokenizer


def test_no_number_fails_its_own_text_only(characters: Tokenizer) -> None:
    config = llama(characters.vocabulary_size, 300, layers=1, width=4, heads=1, ends=(2,))

    def says(place: int) -> Tensor:
        logits = saying({}, config.vocabulary_size, 70)(place)
        if place == 104:
            logits[33] = torch.nan
        return logits

    engine = Engine(Scripted(config, says), characters)  # type: ignore[arg-type]
    well = [engine.start([5] * n, Sampling(max_new_tokens=9)) for n in (1, 50)]
    ill = engine.start([5] * 101, Sampling(max_new_tokens=20))
    pieces = []
    with pytest.raises(GenerationFailed, match="no number at token 5: ") as error:
        pieces.extend(ill)
    one_line(error.value)
    assert len(pieces) == 4, "what came before is given"
    with pytest.raises(GenerationFailed):
        ill.result()
    assert [(len(each.result().tokens), each.result().finish) for each in well] == [(9, "length")] * 2
    assert pages_in_use(engine) == 0


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_damaged_weights_are_told(value: float) -> None:
    model = make(CONFIG)
    with torch.no_grad():
        model.blocks[0].attention.query.weight[0, 0] = value
    engine = Engine(packed(model))
    for prompt in ([5], [5, 6, 7]):
        with pytest.raises(GenerationFailed, match="no number at token 1"):
            engine.start(prompt, Sampling(max_new_tokens=3)).result()
        with pytest.raises(GenerationFailed, match="no number as a likelihood") as error:
            engine.log_likelihoods(prompt, [[5], [5, 6]])
        one_line(error.value)
    assert pages_in_use(engine) == 0


def test_an_impossible_grammar_fails_its_own_text_only(characters: Tokenizer) -> None:
    config = llama(characters.vocabulary_size, 300, layers=1, width=16, heads=2, ends=(2,))
    engine = Engine(packed(make(config)), characters)
    well = engine.start([5], Sampling(max_new_tokens=9))
    with pytest.raises(GrammarImpossible) as error:
        engine.start([5], Sampling(grammar=json_schema({"allOf": [{"const": 1}, {"const": 2}]}))).result()
    one_line(error.value)
    assert well.result().steps >= 1
    assert pages_in_use(engine) == 0


class Broken(Scripted):
    """A network that raises ``error`` in its next step, or when it next reads."""

    error: BaseException | None = None

    def decode(self, *arguments: Any) -> Tensor:
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return super().decode(*arguments)


def test_an_interruption_ends_what_was_under_way_and_the_engine_goes_on(characters: Tokenizer) -> None:
    config = llama(characters.vocabulary_size, 300, layers=1, width=4, heads=1, ends=(2,))
    network = Broken(config, saying({}, config.vocabulary_size, 70))
    engine = Engine(network, characters, slots=2)  # type: ignore[arg-type]
    texts = [engine.start([5] * n, Sampling(max_new_tokens=9)) for n in (3, 4, 5)]
    engine.next_piece(texts[0])
    network.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        texts[0].result()
    with pytest.raises(GenerationFailed, match=r"interrupted \(KeyboardInterrupt\)") as error:
        texts[1].result()
    one_line(error.value)
    assert len(texts[2].result().tokens) == 9, "it had not begun"
    assert pages_in_use(engine) == 0


def test_a_text_that_has_ended_in_an_interrupted_step_is_whole(characters: Tokenizer) -> None:
    config = llama(characters.vocabulary_size, 300, layers=1, width=4, heads=1, ends=(2,))

    class Interrupted(Generation):
        def accept(self, *_: Any) -> int:
            raise KeyboardInterrupt

    engine = Engine(Scripted(config, saying({}, config.vocabulary_size, 70)), characters)  # type: ignore[arg-type]
    whole = engine.start([5], Sampling(max_new_tokens=1))
    engine.start([5], Sampling(max_new_tokens=1)).__class__ = Interrupted
    with pytest.raises(KeyboardInterrupt):
        engine.next_piece(whole)
    assert (whole.result().finish, len(whole.result().tokens)) == ("length", 1)
    assert pages_in_use(engine) == 0


def test_pages_that_an_interruption_has_left_open_come_back(characters: Tokenizer) -> None:
    config = llama(characters.vocabulary_size, 300, layers=1, width=4, heads=1, ends=(2,))
    engine, _ = scripted(characters, config, 1, [10, 10])
    while engine.cache.open([7], 1) is not None:
        pass
    assert len(engine.start([5], Sampling()).result().tokens) == 2
    while engine.cache.open([7], 1) is not None:
        pass
    assert len(engine.start([5], Sampling()).result().tokens) == 2


PROGRAM = """
import os, signal, sys, threading
import torch
torch.set_num_threads({workers})
from genaisys.models.transformer import TransformerLM, llama
from genaisys.models.transformer.engine import Engine
from genaisys.models.transformer.inference import PackedTransformer
from genaisys.models.transformer.sampling import Sampling
torch.manual_seed(0)
config = llama(61, 600, layers=2, width=32, heads=2)
engine = Engine(PackedTransformer(config, TransformerLM(config).state_dict(), quantise=True))
"""


def run(program: str, *, workers: int, timeout: float = 120) -> str:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(workers=workers) + program],
        capture_output=True, text=True, timeout=timeout, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_leaves_the_engine_usable() -> None:
    """Real signals, at any moment of a step."""
    program = """
import random
request = [5] * 300, Sampling(max_new_tokens=250, temperature=1.0, seed=1)
expected = engine.start(*request).result().tokens
random.seed(0)
struck = 0
for n in range(150):
    timer = threading.Timer(random.uniform(0.0, 0.02), os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        while True:
            engine.run([request, request])
    except KeyboardInterrupt:
        struck += 1
    timer.join()
assert struck == 150, struck
assert engine.start(*request).result().tokens == expected
print("usable")
"""
    assert run(program, workers=2) == "usable"


def test_an_interpreter_ends_while_a_background_thread_generates() -> None:
    program = """
import time
def work():
    while True:
        engine.start([5] * 10, Sampling(max_new_tokens=500)).result()
threading.Thread(target=work, daemon=True).start()
time.sleep(0.2)
print("over")
"""
    assert run(program, workers=2, timeout=60) == "over"


def test_the_threads_end_with_the_engine() -> None:
    before = set(threading.enumerate())
    engine = Engine(packed(make(CONFIG), workers=2))
    generation = engine.start([5], Sampling(max_new_tokens=9))
    next(iter(generation), "")
    failed = engine.start([5], Sampling(max_new_tokens=9))
    failed.error = GenerationFailed("x")
    begun = set(threading.enumerate()) - before
    assert len(begun) == 2
    gone = weakref.ref(engine)
    del engine, generation, failed
    gc.collect()
    assert gone() is None
    for thread in begun:
        thread.join(20)
        assert not thread.is_alive()
