"""The metrics of MOSES against values worked out by hand, and against other programs."""

import importlib.util
import math
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from rdkit import Chem, DataStructs, RDConfig
from rdkit.Chem import rdFingerprintGenerator

from genaisys.molecules import profiles
from genaisys.molecules.accessibility import sa_score
from genaisys.molecules.chemnet import Gaussian, frechet_distance
from genaisys.molecules.metrics import cosine, internal_diversity, metrics, novelty, unique
from genaisys.molecules.parsing import parse
from genaisys.molecules.profiles import passes_filters, profile, scaffold
from genaisys.molecules.reference import (
    SHIPPED,
    TooFewMolecules,
    load_statistics,
    save_statistics,
    statistics,
)
from genaisys.molecules.similarity import fingerprints
from genaisys.molecules.tanimoto import mean_powers, nearest, similarities

DRUGS = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",
    "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "CC(=O)Nc1ccc(O)cc1",
    "Cc1ccc(-c2cc(C(F)(F)F)nn2-c2ccc(S(N)(=O)=O)cc2)cc1",
    "CCOC(=O)c1cncn1C1CCCc2ccccc21",
]


def test_tanimoto_is_rdkits() -> None:
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    theirs = [generator.GetFingerprint(parse(smiles)) for smiles in DRUGS]
    table = torch.tensor([DataStructs.BulkTanimotoSimilarity(each, theirs) for each in theirs])  # [N, N]
    packed = fingerprints(DRUGS)
    best, which = nearest(packed[:2], packed[2:])
    assert torch.allclose(best.double(), table[:2, 2:].amax(1).double(), atol=1e-6)
    assert torch.equal(which, table[:2, 2:].argmax(1))
    assert torch.allclose(similarities(packed[:2], packed).double(), table[:2].double(), atol=1e-6)
    first, second = mean_powers(packed)
    assert torch.allclose(first, table.double().mean(1), atol=1e-6)
    assert torch.allclose(second, table.double().square().mean(1), atol=1e-6)


def test_the_nearest_in_a_library_of_many_blocks_is_the_first_of_the_nearest() -> None:
    bits = np.random.default_rng(0).random((5300, 1024)) < 0.05
    bits[4000], bits[5200], bits[:2] = bits[7], bits[7], False  # equal ones; and two without any bit
    packed = np.packbits(bits, axis=1)
    best, which = nearest(packed[[0, 7, 4000, 9]], packed[1:])
    assert which.tolist()[:3] == [0, 6, 6]
    assert best[:3].tolist() == [1, 1, 1]
    common = (bits[9] & bits[1:]).sum(1)
    assert best[3].item() == pytest.approx(1)
    assert torch.equal(
        similarities(packed[[9]], packed[1:])[0],
        torch.from_numpy(common / (bits[9] | bits[1:]).sum(1)).float(),
    )


def test_internal_diversity_of_equal_molecules_is_zero_and_the_root_mean_square_is_never_above() -> None:
    assert internal_diversity(fingerprints(["CCO"] * 3)) == pytest.approx((0, 0))
    first, second = internal_diversity(fingerprints(DRUGS))
    assert 0 < second < first < 1  # the root of a mean square is above the mean


def test_frechet_distance_of_gaussians_with_known_ones() -> None:
    random = np.random.default_rng(0)
    diagonal_a, diagonal_b, mean = random.random(512) + 0.1, random.random(512) + 0.1, random.random(512)
    a = Gaussian(np.zeros(512), np.diag(diagonal_a))
    b = Gaussian(mean, np.diag(diagonal_b))
    expected = mean @ mean + ((np.sqrt(diagonal_a) - np.sqrt(diagonal_b)) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(expected)
    assert frechet_distance(b, b) == pytest.approx(0, abs=1e-9)
    turned = np.linalg.qr(random.normal(size=(512, 512)))[0]  # a rotation of both changes nothing
    a, b = (Gaussian(turned @ g.mean, turned @ g.covariance @ turned.T) for g in (a, b))
    assert frechet_distance(a, b) == pytest.approx(expected)


def test_the_distance_is_the_one_of_the_package_fcd() -> None:
    import fcd
    from fcd.utils import calculate_frechet_distance

    from genaisys.molecules.chemnet import gaussian

    rows = fcd.get_predictions(fcd.load_ref_model(), DRUGS, n_jobs=0)
    ours = gaussian(DRUGS)
    assert np.allclose(ours.mean, rows.mean(0), atol=1e-5)
    assert np.allclose(ours.covariance, np.cov(rows.T), atol=1e-4)
    other = Gaussian(ours.mean + 0.1, ours.covariance)
    theirs = calculate_frechet_distance(*ours, *other)
    assert frechet_distance(ours, other) == pytest.approx(theirs, abs=1e-2)  # theirs adds 1e-6 to a singular matrix


def test_the_sa_score_is_rdkits() -> None:
    file = Path(RDConfig.RDContribDir) / "SA_Score" / "sascorer.py"
    spec = importlib.util.spec_from_file_location("sascorer", file)
    assert spec is not None
    assert spec.loader is not None
    theirs = importlib.util.module_from_spec(spec)
    sys.modules["sascorer"] = theirs
    spec.loader.exec_module(theirs)
    macrocycle = "C1CCCCCCCCCCC1"
    for smiles in [*DRUGS, macrocycle, "C", "C[C@H](N)C(=O)O", "C1CC2(C1)CCC2"]:
        mol = parse(smiles)
        assert sa_score(mol) == pytest.approx(theirs.calculateScore(mol), abs=1e-12)


def test_scaffolds_have_two_rings_at_least() -> None:
    assert scaffold(parse("CCCc1ccccc1")) is None
    assert scaffold(parse("CCCC")) is None
    assert scaffold(parse("Cc1ccc(Cc2ccccc2F)cc1")) == Chem.CanonSmiles("c1ccc(Cc2ccccc2)cc1")


def test_fragments_are_cut_at_brics_bonds() -> None:
    ester = profile("CCOC(=O)c1ccccc1")
    assert ester is not None
    assert {*ester.fragments} == {"[4*]CC", "[3*]O[3*]", "[1*]C([6*])=O", "[16*]c1ccccc1"}
    for smiles in (*DRUGS, "CCC"):
        found = profile(smiles)
        assert found is not None
        cut = Chem.MolToSmiles(Chem.FragmentOnBRICSBonds(Chem.MolFromSmiles(smiles)))
        assert sorted(found.fragments) == sorted(cut.split("."))
    assert profile("CC(") is None


def test_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "structural_alerts", lambda: ("[#6]1-[#8]-[#6]-1", "[H]C([H])([#6])[F,Cl,Br,I]"))
    profiles._alerts.cache_clear()
    try:
        passing = {smiles: passes_filters(smiles) for smiles in (*DRUGS, "C1CO1", "CCCl", "CC(=O)[O-]", "C1CCCCCCC1")}
        assert all(passing[smiles] for smiles in DRUGS)
        assert not any(list(passing.values())[len(DRUGS) :])  # an epoxide, alkyl chloride, charge, ring of eight
        assert not passes_filters("C[Si](C)C")
        assert not passes_filters("C(")
    finally:
        profiles._alerts.cache_clear()


def test_shares_and_cosine() -> None:
    assert unique(["C", "C", "CC", "CCC"]) == 0.75
    assert novelty(["C", "C", "CC", "CCC"], {"C"}) == pytest.approx(2 / 3)
    assert cosine(Counter(a=3, b=4), Counter(a=3, b=4)) == pytest.approx(1)
    assert cosine(Counter(a=3, b=4), Counter(b=2, c=1)) == pytest.approx(8 / (5 * math.sqrt(5)))
    assert math.isnan(cosine(Counter(), Counter(a=1)))


def test_statistics_are_kept_small_and_say_the_same(tmp_path: Path) -> None:
    own = statistics([Chem.CanonSmiles(smiles) for smiles in DRUGS], "drugs", lambda what, done, total: None)
    save_statistics(own, tmp_path / "drugs.npz")
    read = load_statistics(tmp_path / "drugs.npz", own.fingerprints)
    assert np.allclose(read.chemnet.mean, own.chemnet.mean, rtol=1e-6)
    assert np.allclose(read.chemnet.covariance, own.chemnet.covariance, rtol=1e-6, atol=1e-9)
    assert (read.fragments, read.scaffolds) == (own.fragments, own.scaffolds)
    for name, values in own.properties.items():
        assert np.allclose(read.properties[name], np.sort(values), atol=1e-6)


def test_what_is_shipped_of_the_test_sets() -> None:
    """The scaffolds of one are in no molecule of the other; and far apart as the Gaussians are that MOSES publishes."""
    none = np.zeros((0, 128), np.uint8)
    test, other = (load_statistics(SHIPPED / f"{split}.npz", none) for split in ("test", "test_scaffolds"))
    assert not test.scaffolds.keys() & other.scaffolds.keys()
    assert frechet_distance(test.chemnet, other.chemnet) == pytest.approx(0.46877, abs=5e-5)
    for own, count in ((test, 176_074), (other, 176_225)):
        assert np.linalg.eigvalsh(own.chemnet.covariance).min() > -1e-6
        assert {len(values) for values in own.properties.values()} == {count}
        assert 250 < own.properties["weight"].min() < own.properties["weight"].max() < 351


def test_all_metrics_have_the_names_of_moses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "structural_alerts", lambda: ("[#6]1-[#8]-[#6]-1",))
    profiles._alerts.cache_clear()
    known = [Chem.CanonSmiles(smiles) for smiles in DRUGS]
    test_set = statistics(known, "known", lambda what, done, total: None)
    result = metrics([*DRUGS, "CC("], {"Test": test_set}, known)
    profiles._alerts.cache_clear()
    assert set(result) == {
        "valid", "unique@1000", "unique@10000", "FCD/Test", "SNN/Test", "Frag/Test", "Scaf/Test", "IntDiv", "IntDiv2",
        "Filters", "logP", "SA", "QED", "weight", "Novelty",
    }  # fmt: skip
    assert result["valid"] == pytest.approx(6 / 7)
    for name in ("SNN/Test", "Frag/Test", "Scaf/Test", "unique@1000"):
        assert result[name] == pytest.approx(1)
    for name in ("FCD/Test", "logP", "SA", "QED", "weight", "Novelty"):
        assert result[name] == pytest.approx(0, abs=1e-6)
    with pytest.raises(TooFewMolecules):
        metrics(["CC(", "C"], {"Test": test_set}, known)
