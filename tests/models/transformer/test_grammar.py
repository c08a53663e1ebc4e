"""Text that follows a grammar, from the real model and from a random one."""

import json
import re
from typing import Any

import pytest
from engines import packed
from tiny_models import make, one_line

from genaisys.models.transformer import TransformerLM, llama
from genaisys.models.transformer.engine import Engine
from genaisys.models.transformer.generated import GenerationFailed
from genaisys.models.transformer.grammar import GrammarImpossible, json_schema, regex
from genaisys.models.transformer.sampling import Sampling
from genaisys.tokenizers import Tokenizer, character_tokenizer

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "year": {"type": "integer", "minimum": 1000, "maximum": 2100},
        "kind": {"enum": ["observatory", "mine"]},
    },
    "required": ["name", "year", "kind"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def characters() -> Tokenizer:
    return character_tokenizer([])


@pytest.fixture(scope="module")
def random_model(characters: Tokenizer) -> TransformerLM:
    assert characters.eos is not None
    special = {"bos": characters.bos, "pad": characters.pad, "ends": (characters.eos,)}
    config = llama(
        characters.vocabulary_size, 700, layers=1, width=16, heads=2, **special,
        impossible=tuple(characters.special_ids - {characters.eos}),
    )  # fmt: skip
    model = make(config)
    model.tokenizer = characters
    return model


@pytest.fixture(scope="module")
def engine(random_model: TransformerLM, characters: Tokenizer) -> Engine:
    return Engine(packed(random_model), characters)


def check(text: str) -> None:
    value = json.loads(text)
    assert set(value) == {"name", "year", "kind"}
    assert isinstance(value["name"], str)
    assert len(value["name"]) <= 20
    assert type(value["year"]) is int
    assert 1000 <= value["year"] <= 2100
    assert value["kind"] in ("observatory", "mine")


def test_the_real_model_fills_in_a_schema(smollm: Engine) -> None:
    assert smollm.tokenizer is not None
    prompt = smollm.tokenizer.encode_chat(
        [{"role": "user", "content": "The Ott observatory was founded in 1892 by Maria Ott. Facts as JSON:"}]
    )
    engine = Engine(smollm.model, smollm.tokenizer, slots=2)
    for temperature in (0.0, 1.0):
        done = engine.start(
            prompt, Sampling(max_new_tokens=120, temperature=temperature, seed=0, grammar=json_schema(SCHEMA))
        ).result()
        assert done.finish == "end"
        check(done.text)


@pytest.mark.parametrize("seed", range(5))
def test_a_random_model_follows_a_schema(engine: Engine, characters: Tokenizer, seed: int) -> None:
    sampling = Sampling(max_new_tokens=690, temperature=3.0, seed=seed, grammar=json_schema(SCHEMA))
    done = engine.start(characters.encode("x"), sampling).result()
    assert done.finish == "end"
    check(done.text)


@pytest.mark.parametrize("seed", range(5))
def test_white_space_is_that_of_json_dumps(engine: Engine, characters: Tokenizer, seed: int) -> None:
    """Where it is free, a hot model writes little else."""
    items = {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 9}
    properties = {"a": items, "b": {"type": "null"}}
    schema = {"type": "object", "properties": properties, "required": ["a", "b"], "additionalProperties": False}
    sampling = Sampling(max_new_tokens=690, temperature=3.0, seed=seed, grammar=json_schema(schema))
    done = engine.start(characters.encode("x"), sampling).result()
    assert done.finish == "end"
    assert done.text == json.dumps(json.loads(done.text))


@pytest.mark.parametrize("pattern", [r"[ab]{3}-\d{2}", "yes|no", "(ab)+c", "é{2}", "x?"])
def test_a_text_matches_a_regular_expression_as_a_whole(engine: Engine, characters: Tokenizer, pattern: str) -> None:
    texts = set()
    for seed in range(8):
        sampling = Sampling(max_new_tokens=150, temperature=2.0, seed=seed, grammar=regex(pattern))
        done = engine.start(characters.encode("x"), sampling).result()
        assert done.finish == "end"
        assert re.fullmatch(pattern, done.text), done.text
        texts.add(done.text)
    assert len(texts) > 1 or pattern == "é{2}"


def test_a_text_that_is_cut_short_is_the_beginning_of_one(engine: Engine, characters: Tokenizer) -> None:
    done = engine.start(characters.encode("x"), Sampling(max_new_tokens=3, grammar=regex("abcdef"))).result()
    assert (done.text, done.finish) == ("abc", "length")


def test_texts_with_and_without_grammars_do_not_mix(engine: Engine, characters: Tokenizer) -> None:
    plain = Sampling(max_new_tokens=20, temperature=1.0, seed=4)
    tied = Sampling(max_new_tokens=20, temperature=1.0, seed=4, grammar=regex("[xyz]{5}"))
    prompt = characters.encode("x")
    alone = [engine.start(prompt, each).result() for each in (plain, tied)]
    together = engine.run([(prompt, each) for each in (plain, tied, plain, tied)])
    assert [each.tokens for each in together] == [each.tokens for each in alone] * 2
    assert alone[0].tokens != alone[1].tokens


@pytest.mark.parametrize(
    "grammar", [regex("[ab"), regex("(?=x)y"), "start: nothing", "%json {", "", "start: /a/ &", "☃"]
)
def test_a_grammar_that_cannot_be_read_is_refused(engine: Engine, characters: Tokenizer, grammar: str) -> None:
    with pytest.raises(GrammarImpossible, match="grammar cannot be used") as error:
        engine.start(characters.encode("x"), Sampling(grammar=grammar)).result()
    one_line(error.value)
    assert engine.start(characters.encode("x"), Sampling(max_new_tokens=2)).result().finish in ("end", "length")


@pytest.mark.parametrize(
    "schema", [{"type": "nothing"}, {"type": 5}, {"$ref": "#/nowhere"}, {"pattern": "["}, {"x": object()}]
)
def test_a_broken_schema_is_refused(engine: Engine, characters: Tokenizer, schema: dict[str, Any]) -> None:
    with pytest.raises(GrammarImpossible) as error:
        engine.start(characters.encode("x"), Sampling(grammar=json_schema(schema))).result()
    one_line(error.value)


def test_a_grammar_that_no_text_follows(engine: Engine, characters: Tokenizer) -> None:
    """Here: a text of a character that none of the model's tokens can write."""
    with pytest.raises(GrammarImpossible) as error:
        engine.start(
            characters.encode("x"), Sampling(grammar=json_schema({"allOf": [{"const": 1}, {"const": 2}]}))
        ).result()
    one_line(error.value)


def test_a_grammar_needs_a_tokenizer_and_an_end_token(random_model: TransformerLM) -> None:
    with pytest.raises(GenerationFailed, match="needs a tokenizer") as error:
        Engine(packed(random_model)).start([5], Sampling(grammar=regex("a")))
    one_line(error.value)
    endless = make(llama(random_model.config.vocabulary_size, 20, layers=1, width=16, heads=2))
    with pytest.raises(GrammarImpossible, match="end token"):
        Engine(packed(endless), random_model.tokenizer).start([5], Sampling(grammar=regex("a")))
