"""The shipped chat model, packed once for all tests of models."""

import pytest

from genaisys.models.transformer.engine import Engine
from genaisys.models.transformer.generation import load_engine


@pytest.fixture(scope="session")
def smollm() -> Engine:
    """SmolLM2 with int8 weights. An engine of its own is quickly made of its ``model`` and ``tokenizer``."""
    return load_engine("smollm2-135m-instruct", memory_limit=1 << 29)
