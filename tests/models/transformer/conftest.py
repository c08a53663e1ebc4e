"""A tiny network and its tokenizer, for the tests of the engine."""

import pytest
from engines import CONFIG, packed
from tiny_models import make

from genaisys.models.transformer.inference import PackedTransformer
from genaisys.tokenizers import Tokenizer, character_tokenizer


@pytest.fixture(scope="module")
def network() -> PackedTransformer:
    return packed(make(CONFIG))


@pytest.fixture(scope="module")
def characters() -> Tokenizer:
    return character_tokenizer(["é日本"])
