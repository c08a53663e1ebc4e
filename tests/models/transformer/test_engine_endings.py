"""How the texts of an engine end, and which cannot begin."""

import pytest
from engines import CONTEXT, pages_in_use, scripted
from tiny_models import one_line

from genaisys.models.transformer import llama
from genaisys.models.transformer.cache import PAGE_SIZE, OutOfMemory
from genaisys.models.transformer.engine import Engine, PromptTooLong, UnknownToken
from genaisys.models.transformer.generated import GenerationFailed
from genaisys.models.transformer.inference import PackedTransformer
from genaisys.models.transformer.sampling import Sampling
from genaisys.models.transformer.speculation import PromptLookup
from genaisys.tokenizers import Tokenizer

# -- how texts end


def test_ends(characters: Tokenizer) -> None:
    config = llama(characters.vocabulary_size, 300, layers=1, width=4, heads=1, ends=(2, 1))
    script = characters.encode("one two")
    for end in (2, 1):
        engine, network = scripted(characters, config, 3, [*script, end, *script])
        done = engine.start([5, 5, 5], Sampling()).result()
        assert (done.text, done.tokens, done.finish, done.end_token) == ("one two", script, "end", end)
        assert max(max(step) for step in network.steps) <= 3 + len(script) + 3, "and then it is over"
    engine, _ = scripted(characters, config, 3, script)
    done = engine.start([5, 5, 5], Sampling(max_new_tokens=4)).result()
    assert (done.text, len(done.tokens), done.finish, done.end_token) == ("one ", 4, "length", None)


@pytest.mark.parametrize(
    "prompt_length", [1, PAGE_SIZE - 1, PAGE_SIZE, PAGE_SIZE + 1, 2 * PAGE_SIZE - 2, 2 * PAGE_SIZE - 1]
)
def test_the_context_is_filled_to_its_last_place(
    characters: Tokenizer, prompt_length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = llama(characters.vocabulary_size, 2 * PAGE_SIZE, layers=1, width=4, heads=1, ends=(2,))
    monkeypatch.setattr(PromptLookup, "guess", lambda self, most: [10] * min(most, 3))
    engine, network = scripted(characters, config, prompt_length, [], otherwise=10)
    done = engine.start([10] * prompt_length, Sampling(max_new_tokens=10**9)).result()
    assert len(done.tokens) == 2 * PAGE_SIZE - prompt_length
    assert done.finish == "length"
    assert max(map(max, network.steps)) <= 2 * PAGE_SIZE - 1, "also where guesses come after the last token"
    assert pages_in_use(engine) == 0


def test_no_tokens_are_no_work(characters: Tokenizer) -> None:
    config = llama(characters.vocabulary_size, 300, layers=1, width=4, heads=1, ends=(2,))
    engine, network = scripted(characters, config, 3, [10])
    done = engine.start([5, 5, 5], Sampling(max_new_tokens=0)).result()
    assert (done.tokens, done.text, done.finish, done.steps) == ([], "", "length", 0)
    assert (done.prefill_seconds, done.decode_seconds) == (0, 0)
    assert not network.steps
    assert not network.prefills
    assert engine.run([]) == []


def test_stop_texts_end_a_text_across_the_borders_of_tokens(characters: Tokenizer) -> None:
    config = llama(characters.vocabulary_size, 300, layers=1, width=4, heads=1, ends=(2,))
    script = characters.encode("Answer: 42\n\nUser: more")
    for stop, text in (
        (("\n\nUser",), "Answer: 42"),
        (("never", "42"), "Answer: "),
        (("more!",), "Answer: 42\n\nUser: more"),
    ):
        engine, _ = scripted(characters, config, 2, script)
        generation = engine.start([5, 5], Sampling(stop=stop))
        assert "".join(generation) == text
        done = generation.result()
        assert done.text == text
        assert done.finish == ("end" if stop == ("more!",) else "stop")
    engine, _ = scripted(characters, config, 2, script)
    done = engine.start([5, 5], Sampling(stop=("42",), max_new_tokens=9)).result()
    assert (done.text, done.finish) == ("Answer: 4", "length"), "what was held back is shown when no more comes"


def test_pieces_are_whole_characters(characters: Tokenizer) -> None:
    config = llama(characters.vocabulary_size, 300, layers=1, width=4, heads=1, ends=(2,))
    text = "né 日本 😀👩‍🔬!"
    script = characters.encode(text)
    assert len(script) > len(text)
    engine, _ = scripted(characters, config, 1, script)
    pieces = list(engine.start([5], Sampling()))
    assert pieces == list(text)
    engine, _ = scripted(characters, config, 1, characters.encode("a😀")[:-1])
    done = engine.start([5], Sampling()).result()
    assert done.text == "a", "half a character is left out"
    assert len(done.tokens) == 4


def test_without_a_tokenizer_there_are_tokens_only(network: PackedTransformer) -> None:
    engine = Engine(network)
    generation = engine.start([5], Sampling(max_new_tokens=5))
    assert list(generation) == []
    assert generation.result().text == ""
    assert 0 < len(generation.result().tokens) <= 5
    with pytest.raises(GenerationFailed, match="needs a tokenizer"):
        engine.start([5], Sampling(stop=("x",)))


# -- what cannot be generated


@pytest.mark.parametrize(
    ("prompt", "error", "words"),
    [
        ([], PromptTooLong, "empty"),
        ([5] * CONTEXT, PromptTooLong, f"has {CONTEXT} tokens"),
        ([5, 61], UnknownToken, "61"),
        ([-1, 5], UnknownToken, "-1"),
        ([10**30], UnknownToken, "0000"),
    ],
)
def test_prompts_that_are_refused(network: PackedTransformer, prompt: list[int], error: type, words: str) -> None:
    engine = Engine(network)
    before = engine.start([5], Sampling(max_new_tokens=3))
    with pytest.raises(error, match=words) as caught:
        engine.start(prompt, Sampling())
    one_line(caught.value)
    if prompt != [5] * CONTEXT:
        with pytest.raises(error, match=words):
            engine.log_likelihoods(prompt, [[5]])
    with pytest.raises(UnknownToken, match="77"):
        engine.log_likelihoods([5], [[6], [5, 77]])
    with pytest.raises(error):
        engine.run([([6], Sampling()), (prompt, Sampling())])
    assert before.result().finish in ("end", "length")
    assert before.result().steps >= 1
    assert pages_in_use(engine) == 0


def test_more_than_the_memory_that_is_allowed(network: PackedTransformer) -> None:
    page = Engine(network).cache.page_bytes
    engine = Engine(network, memory_limit=2 * page + 5)
    assert engine.cache.pages.nbytes == 2 * page
    with pytest.raises(OutOfMemory) as error:
        engine.start([5] * 100, Sampling(max_new_tokens=157))
    assert "ask for fewer tokens" in one_line(error.value)
    assert engine.start([5] * 100, Sampling(max_new_tokens=156)).result().finish in ("end", "length")
    with pytest.raises(OutOfMemory):
        engine.log_likelihoods([5] * 257, [[6]])
    with pytest.raises(OutOfMemory):
        Engine(network, memory_limit=page - 1)
