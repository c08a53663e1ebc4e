"""What the whole suite shares: no network, one thread, and the shipped samples in an index."""

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture(scope="session")
def samples() -> Path:
    return SAMPLES


@pytest.fixture(scope="session")
def sample_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store over the shipped samples, built with the real encoder. Treat as read-only."""
    from genaisys import GenAISys

    store = tmp_path_factory.mktemp("samples") / "store"
    with GenAISys.open(store) as system:
        outcomes = list(system.ingest([SAMPLES]))
    assert {outcome.status for outcome in outcomes} == {"added"}, outcomes
    return store
