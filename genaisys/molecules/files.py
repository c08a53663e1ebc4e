"""Files of molecules: SMILES, in lines or in a column of a table, or SDF; of what cannot be used the reason is kept."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rdkit import Chem, rdBase

from genaisys.errors import GenaisysError
from genaisys.molecules.parsing import NotAMolecule, parse

_LARGEST = 1 << 30  # bytes, unpacked
_LONGEST_RECORD = 2000  # lines of the structure in an SDF: as in parsing, RDKit shall not see huge ones
_COLUMNS = ("smiles", "canonical_smiles", "molecule", "structure")
ENDINGS = (".smi", ".txt", ".csv", ".tsv", ".sdf", ".gz")  # by which a name is known as that of a file


class MoleculesUnreadable(GenaisysError):
    """A file that holds no molecules, or cannot be read."""


@dataclass(frozen=True)
class Reject:
    """A string of a file that is no molecule which can be used.

    Attributes:
        line: of the file, from 1; of an SDF, the first one of the record.
        smiles: the string, shortened.
        reason, detail, position: see :class:`NotAMolecule`.
    """

    line: int
    smiles: str
    reason: str
    detail: str
    position: int | None


@dataclass(frozen=True)
class Library:
    """The molecules of a file.

    Attributes:
        smiles: as they were written, in the order of the file.
        rejected: the strings that were not used, in the order of the file.
    """

    smiles: list[str]
    rejected: list[Reject]

    @property
    def rejects(self) -> Counter[str]:
        """How many strings were not used, by the reason."""
        return Counter(reject.reason for reject in self.rejected)


def read_smiles(file: Path) -> list[str]:
    """All strings of a file where SMILES should be, unchecked.

    A ``.csv`` or ``.tsv`` (or ``.csv.gz``) has a header with a column ``smiles``. Of an ``.sdf`` each record is a
    molecule, and one without a structure an empty string. In any other file the first word of each line is one, and an
    empty line an empty string: a generator may have written nothing. A line that begins with a hash and a space is a
    comment.

    Raises:
        MoleculesUnreadable: the file is missing, too large, no text, has no such column, or a huge structure.
    """
    return [smiles for _, smiles in _numbered(file)]


def read_molecules(file: Path) -> Library:
    """The molecules of a file, and why the others were left out.

    Raises:
        MoleculesUnreadable: see :func:`read_smiles`; or there is no molecule in it; the message says why.
    """
    library = Library([], [])
    for line, smiles in _numbered(file):
        try:
            parse(smiles)
            library.smiles.append(smiles)
        except NotAMolecule as error:
            library.rejected.append(Reject(line, error.shown, error.reason, error.detail, error.position))
    if not library.smiles:
        raise no_molecule(file, library.rejects)
    return library


def no_molecule(file: Path, rejects: Counter[str]) -> MoleculesUnreadable:
    """What is said of a file of which nothing could be used."""
    reasons = "; ".join(f"{count:,} rejected: {reason}" for reason, count in rejects.most_common(3))
    return MoleculesUnreadable(f"{file} holds no molecule ({reasons or 'it is empty'})")


def _numbered(file: Path) -> Iterator[tuple[int, str]]:
    """Each string where SMILES should be, and its line."""
    lines = _text(file).splitlines()
    suffixes = [suffix.lower() for suffix in file.suffixes]
    if ".sdf" in suffixes:
        yield from _of_records(lines, file)
    elif ".csv" in suffixes or ".tsv" in suffixes:
        yield from _of_table(lines, "\t" if ".tsv" in suffixes else ",", file)
    else:
        for number, line in enumerate(lines, 1):
            if not line.startswith("# "):
                yield number, (line.split(maxsplit=1) or [""])[0]


def _of_table(lines: list[str], delimiter: str, file: Path) -> Iterator[tuple[int, str]]:
    rows = csv.reader(lines, delimiter=delimiter)
    try:
        header = [name.strip().lower() for name in next(rows, [])]
        column = next((header.index(name) for name in _COLUMNS if name in header), None)
        if column is None:
            raise MoleculesUnreadable(f"{file} has no column smiles: its header must name one")
        for row in rows:
            if row:
                yield rows.line_num, row[column].strip() if column < len(row) else ""
    except csv.Error as error:
        raise MoleculesUnreadable(f"{file} is not a table of text: {error}") from error


def _of_records(lines: list[str], file: Path) -> Iterator[tuple[int, str]]:
    """Of a structure that is not sound, the SMILES says so too: it is written as it stands."""
    first = 0
    ends = [number for number, line in enumerate(lines) if line.startswith("$$$$")]
    for end in (*ends, len(lines)):
        record = lines[first:end]
        structure = record[: next((n for n, line in enumerate(record, 1) if line.startswith("M  END")), len(record))]
        if len(structure) > _LONGEST_RECORD:
            raise MoleculesUnreadable(f"{file} has a structure of {len(structure):,} lines at line {first + 1}: "
                                      f"at most {_LONGEST_RECORD:,} can be read")  # fmt: skip
        if end < len(lines) or any(map(str.strip, record)):
            yield first + 1, _smiles_of("\n".join(structure))
        first = end + 1


def _smiles_of(structure: str) -> str:
    with rdBase.BlockLogs():
        mol = Chem.MolFromMolBlock(structure) or Chem.MolFromMolBlock(structure, sanitize=False)
    return "" if mol is None else Chem.MolToSmiles(mol)


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
