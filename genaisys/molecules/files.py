"""Files of molecules: one SMILES a line, or a table with a column of them; what cannot be used is counted by reason."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from genaisys.errors import GenaisysError
from genaisys.molecules.parsing import NotAMolecule, parse

_LARGEST = 1 << 30  # bytes, unpacked
_COLUMNS = ("smiles", "canonical_smiles", "molecule", "structure")


class MoleculesUnreadable(GenaisysError):
    """A file that holds no molecules, or cannot be read."""


@dataclass(frozen=True)
class Library:
    """The molecules of a file.

    Attributes:
        smiles: as they were written, in the order of the file.
        rejects: how many strings were not used, by the reason.
    """

    smiles: list[str]
    rejects: Counter[str]


def read_smiles(file: Path) -> list[str]:
    """All strings of a file where SMILES should be, unchecked.

    A ``.csv`` or ``.tsv`` (or ``.csv.gz``) has a header with a column ``smiles``; in any other file the first word of
    each line is one, and an empty line an empty string: a generator may have written nothing. A line that begins with
    a hash and a space is a comment.

    Raises:
        MoleculesUnreadable: the file is missing, too large, no text, or has no such column.
    """
    text = _text(file)
    suffixes = [suffix.lower() for suffix in file.suffixes]
    if ".csv" not in suffixes and ".tsv" not in suffixes:
        return [(line.split(maxsplit=1) or [""])[0] for line in text.splitlines() if not line.startswith("# ")]
    rows = csv.reader(text.splitlines(), delimiter="\t" if ".tsv" in suffixes else ",")
    try:
        header = [name.strip().lower() for name in next(rows, [])]
        column = next((header.index(name) for name in _COLUMNS if name in header), None)
        if column is None:
            raise MoleculesUnreadable(f"{file} has no column smiles: its header must name one")
        return [row[column].strip() if column < len(row) else "" for row in rows if row]
    except csv.Error as error:
        raise MoleculesUnreadable(f"{file} is not a table of text: {error}") from error


def read_molecules(file: Path) -> Library:
    """The molecules of a file, and why the others were left out.

    Raises:
        MoleculesUnreadable: see :func:`read_smiles`; or there is no molecule in it; the message says why.
    """
    kept, rejects = [], Counter[str]()
    for smiles in read_smiles(file):
        try:
            parse(smiles)
            kept.append(smiles)
        except NotAMolecule as error:
            rejects[error.reason] += 1
    if not kept:
        raise no_molecule(file, rejects)
    return Library(kept, rejects)


def no_molecule(file: Path, rejects: Counter[str]) -> MoleculesUnreadable:
    """What is said of a file of which nothing could be used."""
    reasons = "; ".join(f"{count:,} rejected: {reason}" for reason, count in rejects.most_common(3))
    return MoleculesUnreadable(f"{file} holds no molecule ({reasons or 'it is empty'})")


def _text(file: Path) -> str:
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise MoleculesUnreadable(f"{file} is too large: at most {_LARGEST >> 20} MiB can be read")
        return content.decode("utf-8-sig")
    except (OSError, EOFError) as error:
        raise MoleculesUnreadable(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except UnicodeDecodeError:
        raise MoleculesUnreadable(f"{file} is not UTF-8 text") from None
