"""Vectors of molecules, and what they are compared by."""

import pytest
import torch
from molecules_at_hand import made_by_rule
from rdkit import DataStructs
from rdkit.Chem import rdFingerprintGenerator

from genaisys.encoders import DataEncoder
from genaisys.models.transformer import TransformerLM, llama
from genaisys.molecules.encoders import MorganEncoder, SmilesEncoder, UnknownEncoder, molecule_encoder
from genaisys.molecules.parsing import NotAMolecule, parse
from genaisys.tokenizers import smiles_tokenizer

MOLECULES = made_by_rule()[::9]


@pytest.fixture(scope="module")
def learned() -> SmilesEncoder:
    encoder = molecule_encoder("smiles-gpt")
    assert isinstance(encoder, SmilesEncoder)
    return encoder


def test_vectors_have_unit_length_and_the_same_molecule_the_same(learned: SmilesEncoder) -> None:
    encoder: DataEncoder
    for encoder in (learned, MorganEncoder()):
        vectors = encoder.encode(MOLECULES)
        assert vectors.shape == (len(MOLECULES), encoder.dimension)
        assert vectors.dtype == torch.float32
        assert not vectors.requires_grad
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(MOLECULES)))
        one, other = encoder.encode(["OCC", "C(C)O"])
        torch.testing.assert_close(one, other)
        assert encoder.encode([]).shape == (0, encoder.dimension)


def test_the_learned_vector_is_the_mean_of_what_the_head_reads_whatever_the_batch(learned: SmilesEncoder) -> None:
    model = learned._model
    assert model.tokenizer is not None
    smiles = "CC(=O)Nc1ccc(O)cc1"  # canonical
    tokens = model.tokenizer.encode(smiles)
    with torch.inference_mode():
        features = model.features(torch.tensor([[model.config.start, *tokens]]))[0, 1:]  # [T, D]
        heads = model(torch.tensor([[model.config.start, *tokens]]))[0, 1:]  # [T, V]
    torch.testing.assert_close(features @ model.head.weight.T, heads)  # these are what the head reads
    expected = torch.nn.functional.normalize(features.mean(0), dim=0)
    torch.testing.assert_close(learned.encode([smiles])[0], expected, atol=1e-5, rtol=1e-4)
    among_others = learned.encode([*MOLECULES[:40], smiles, "C"])[40]
    torch.testing.assert_close(among_others, expected, atol=1e-5, rtol=1e-4)


def test_a_model_with_conditions_reads_that_the_molecule_begins() -> None:
    encoder = molecule_encoder("smiles-gpt-conditional")
    assert isinstance(encoder, SmilesEncoder)
    model = encoder._model
    assert model.tokenizer is not None
    tokens = model.tokenizer.encode_with_special_tokens("<molecule>CCO")
    with torch.inference_mode():
        features = model.features(torch.tensor([[model.config.start, *tokens]]))[0, 2:]  # [T, D]
    expected = torch.nn.functional.normalize(features.mean(0), dim=0)
    torch.testing.assert_close(encoder.encode(["OCC"])[0], expected, atol=1e-5, rtol=1e-4)


def test_similarity_by_morgan_is_rdkits_tanimoto() -> None:
    encoder, generator = MorganEncoder(), rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    vectors = encoder.encode(MOLECULES)
    prints = [generator.GetFingerprint(parse(smiles)) for smiles in MOLECULES]
    for number in (0, 7, 40):
        expected = torch.tensor(DataStructs.BulkTanimotoSimilarity(prints[number], prints))
        found = encoder.similarities(vectors[number].half().float(), vectors.half().float())  # as an index keeps them
        torch.testing.assert_close(found.double(), expected.double(), atol=1e-6, rtol=0)


def test_no_cosine_is_below_what_its_similarity_allows() -> None:
    encoder = MorganEncoder()
    vectors = encoder.encode(MOLECULES)
    cosines = vectors @ vectors.T
    for row in range(len(MOLECULES)):
        for similarity, cosine in zip(encoder.similarities(vectors[row], vectors), cosines[row], strict=True):
            assert cosine >= encoder.least_cosine(float(similarity)) - 1e-5
    same_size = encoder.least_cosine(1 / 3)  # two bits each, one in common: c = 1/2
    assert same_size == pytest.approx(0.5)


def test_learned_neighbours_are_alike() -> None:
    """The nearest by the learned vector has on average more in common with a molecule than another has."""
    morgan, learned = MorganEncoder(), molecule_encoder("smiles-gpt")
    bits, vectors = morgan.encode(MOLECULES), learned.encode(MOLECULES)
    cosines = (vectors @ vectors.T).fill_diagonal_(-1)
    tanimoto = torch.stack([morgan.similarities(row, bits) for row in bits])
    nearest = tanimoto[torch.arange(len(MOLECULES)), cosines.argmax(1)].mean()
    others = tanimoto.fill_diagonal_(0).sum() / (len(MOLECULES) * (len(MOLECULES) - 1))
    assert nearest > 2 * others


def test_what_cannot_be_encoded_says_why() -> None:
    tokenizer = smiles_tokenizer(["CCO"])
    special = {"pad": tokenizer.pad, "bos": tokenizer.bos, "ends": (tokenizer.eos,)}
    short = SmilesEncoder(
        TransformerLM(llama(tokenizer.vocabulary_size, 6, layers=1, width=16, heads=2, **special), tokenizer), "short"
    )
    assert short.encode(["CCCCC"]).shape == (1, 16)
    with pytest.raises(NotAMolecule, match="longer than the 5 tokens that short reads"):
        short.encode(["CCCCCC"])
    with pytest.raises(NotAMolecule, match="ring that is not closed"):
        MorganEncoder().encode(["C", "C1CC"])
    with pytest.raises(UnknownEncoder, match="morgan or smiles-gpt"):
        molecule_encoder("../smiles-gpt-x")


def test_other_weights_are_another_version(learned: SmilesEncoder) -> None:
    again = molecule_encoder("smiles-gpt")
    assert again.version == learned.version
    with torch.no_grad():
        again._model.norm.weight[0] += 1  # type: ignore[attr-defined]
    del again.__dict__["version"]
    assert again.version != learned.version
