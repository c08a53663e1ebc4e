"""One tokenizer of each kind, and the real one of a language model."""

import pytest

from genaisys.hub import local_path
from genaisys.tokenizers import Tokenizer, character_tokenizer, smiles_tokenizer, train_bpe, train_smiles_bpe

CORPUS = [
    "The quick brown fox jumps over the lazy dog, 1234 times. ",
    "Der Fuchs läuft über die Brücke; naïve cafés, 10 €. ",
    "def f(x):\n    return x  # twice\n",
] * 20

MOLECULES = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "C[C@@H](N)C(=O)O",
    "C[N+](C)(C)CC(=O)[O-]",
    "Clc1ccc(Br)cc1",
    "c1cc[nH]c1",
    "C%10CCCCC%10",
] * 20

KINDS = ("character", "bpe", "smiles", "smiles bpe")


def make(kind: str) -> Tokenizer:
    match kind:
        case "character":
            return character_tokenizer(CORPUS)
        case "bpe":
            return train_bpe(CORPUS, vocabulary_size=400)
        case "smiles":
            return smiles_tokenizer(MOLECULES)
        case "smiles bpe":
            return train_smiles_bpe(MOLECULES, vocabulary_size=320)
        case "smollm2":
            return Tokenizer.from_pretrained(local_path("smollm2-135m-instruct"))
    raise ValueError(kind)


@pytest.fixture(scope="session", params=KINDS)
def ours(request: pytest.FixtureRequest) -> Tokenizer:
    """A tokenizer of our making."""
    return make(request.param)


@pytest.fixture(scope="session", params=[*KINDS, "smollm2"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    """A tokenizer of our making, or a pretrained one."""
    return make(request.param)


@pytest.fixture(scope="session")
def smollm2() -> Tokenizer:
    return make("smollm2")
