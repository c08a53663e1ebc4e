"""Molecules as pictures and as files for other programs."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from types import MappingProxyType

from rdkit import Chem
from rdkit.Chem import rdDepictor
from rdkit.Chem.Draw import rdMolDraw2D

from genaisys.errors import GenaisysError
from genaisys.molecules.parsing import parse
from genaisys.molecules.properties import PROPERTIES, properties

_CELL = 250, 200  # pixels
_MOST = 400  # molecules in a picture
_PICTURES = (".svg", ".png")
_KINDS = (".smi", ".txt", ".csv", ".sdf", *_PICTURES)

Columns = Mapping[str, Sequence[str]]


class CannotWrite(GenaisysError):
    """A file of a kind that is not known, or a picture of nothing or of too much."""


def draw_grid(smiles: Sequence[str], legends: Sequence[str], kind: str = ".svg", columns: int = 4) -> bytes:
    """A picture of molecules in rows, ``.svg`` or ``.png``.

    Raises:
        CannotWrite: there is none, or there are too many.
        NotAMolecule: a string is none.
    """
    _require_picturable(len(smiles))
    mols = [parse(each) for each in smiles]
    for mol in mols:
        rdDepictor.Compute2DCoords(mol)
    columns = min(columns, len(mols))
    width, height = _CELL
    rows = -(-len(mols) // columns)
    canvas = rdMolDraw2D.MolDraw2DCairo if kind == ".png" else rdMolDraw2D.MolDraw2DSVG
    drawing = canvas(width * columns, height * rows, width, height)
    drawing.DrawMolecules(mols, legends=list(legends))
    drawing.FinishDrawing()
    picture = drawing.GetDrawingText()
    return picture if isinstance(picture, bytes) else picture.encode()


def write_molecules(smiles: Sequence[str], file: Path) -> None:
    """Write molecules to a file, in the form that its ending names.

    Raises:
        CannotWrite: see :func:`encode_molecules`.
    """
    content = encode_molecules(smiles, file.suffix.lower())
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def require_writable(file: Path, n: int) -> None:
    """Refuse now what :func:`write_molecules` would refuse after the work of finding up to ``n`` molecules.

    Raises:
        CannotWrite: see :func:`encode_molecules`; or the file is a folder, or lies in one that cannot be written to.
    """
    kind = file.suffix.lower()
    _require_known(kind)
    if kind in _PICTURES:
        _require_picturable(n)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"{file} cannot be written: {error.strerror or error}") from error
    if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        raise CannotWrite(f"{file} cannot be written: it is a folder, or is protected")


def encode_molecules(smiles: Sequence[str], kind: str, columns: Columns = MappingProxyType({})) -> bytes:
    """Molecules as ``.smi``, ``.csv`` or ``.sdf`` with their properties, or as a picture, ``.svg`` or ``.png``.

    Args:
        columns: what else a table and an SDF shall say of each, by name; ``number`` is its title in the SDF too.

    Raises:
        CannotWrite: the kind is another, or a picture is not possible.
        NotAMolecule: a string is none.
    """
    _require_known(kind)
    match kind:
        case ".smi" | ".txt":
            return "".join(f"{each}\n" for each in smiles).encode()
        case ".csv":
            return _table(smiles, columns).encode()
        case ".sdf":
            return _sdf(smiles, columns).encode()
        case _:
            return draw_grid(smiles, [""] * len(smiles), kind)


def _require_known(kind: str) -> None:
    if kind not in _KINDS:
        raise CannotWrite(f"molecules cannot be written as {kind or 'a file without ending'}: "
                          "name a .smi, .csv, .sdf, .svg or .png file")  # fmt: skip


def _require_picturable(n: int) -> None:
    if not 0 < n <= _MOST:
        raise CannotWrite(f"a picture holds 1 to {_MOST} molecules, and here are {n}")


def _table(smiles: Sequence[str], columns: Columns) -> str:
    out = StringIO()
    writer = csv.writer(out)
    writer.writerow(["smiles", *PROPERTIES, *columns])
    for each, values in zip(smiles, _values(smiles, columns), strict=True):
        writer.writerow([each, *values.values()])
    return out.getvalue()


def _sdf(smiles: Sequence[str], columns: Columns) -> str:
    out = StringIO()
    with Chem.SDWriter(out) as writer:
        for each, values in zip(smiles, _values(smiles, columns), strict=True):
            mol = parse(each)
            for name, value in values.items():
                mol.SetProp(name, value)
            mol.SetProp("_Name", values.get("number", ""))
            rdDepictor.Compute2DCoords(mol)
            writer.write(mol)
    return out.getvalue()


def _values(smiles: Sequence[str], columns: Columns) -> Iterator[dict[str, str]]:
    for row, each in enumerate(smiles):
        known = {name: f"{value:.4g}" for name, value in properties(parse(each)).items()}
        yield known | {name: column[row] for name, column in columns.items()}
