"""Molecules as pictures and as files for other programs."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from rdkit import Chem
from rdkit.Chem import rdDepictor
from rdkit.Chem.Draw import rdMolDraw2D

from genaisys.errors import GenaisysError
from genaisys.molecules.parsing import parse
from genaisys.molecules.properties import PROPERTIES, properties

_CELL = 250, 200  # pixels
_MOST = 400  # molecules in a picture


class CannotWrite(GenaisysError):
    """A file of a kind that is not known, or a picture of nothing or of too much."""


def draw_grid(smiles: Sequence[str], legends: Sequence[str], kind: str = ".svg", columns: int = 4) -> bytes:
    """A picture of molecules in rows, ``.svg`` or ``.png``.

    Raises:
        CannotWrite: there is none, or there are too many.
        NotAMolecule: a string is none.
    """
    if not 0 < len(smiles) <= _MOST:
        raise CannotWrite(f"a picture holds 1 to {_MOST} molecules, and here are {len(smiles)}")
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
    """Write molecules as ``.smi``, ``.csv`` or ``.sdf`` with their properties, or as a picture, by the file's ending.

    Raises:
        CannotWrite: the ending is another, or a picture is not possible.
    """
    match file.suffix.lower():
        case ".smi" | ".txt":
            content = "".join(f"{each}\n" for each in smiles).encode()
        case ".csv":
            content = _table(smiles).encode()
        case ".sdf":
            content = _sdf(smiles).encode()
        case ".svg" | ".png" as kind:
            content = draw_grid(smiles, [""] * len(smiles), kind)
        case other:
            raise CannotWrite(f"molecules cannot be written as {other or 'a file without ending'}: "
                              "name a .smi, .csv, .sdf, .svg or .png file")  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def _table(smiles: Sequence[str]) -> str:
    out = StringIO()
    writer = csv.writer(out)
    writer.writerow(["smiles", *PROPERTIES])
    for each in smiles:
        writer.writerow([each, *(f"{value:.4g}" for value in properties(parse(each)).values())])
    return out.getvalue()


def _sdf(smiles: Sequence[str]) -> str:
    out = StringIO()
    with Chem.SDWriter(out) as writer:
        for each in smiles:
            mol = parse(each)
            for name, value in properties(mol).items():
                mol.SetProp(name, f"{value:.4g}")
            rdDepictor.Compute2DCoords(mol)
            writer.write(mol)
    return out.getvalue()
