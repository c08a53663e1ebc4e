"""One molecule as SVG for a page: small, crisp at any size, and in the colours that the page gives, light or dark.

RDKit draws it. Its hundred paths are put together into one for each colour, and the colours become classes: ``bonds``,
``core`` (what is marked), and the symbols of the elements.
"""

from __future__ import annotations

import re
from collections import defaultdict

from rdkit import Chem
from rdkit.Chem import rdDepictor
from rdkit.Chem.Draw import rdMolDraw2D

_ELEMENTS = {6: "bonds", 7: "N", 8: "O", 9: "F", 15: "P", 16: "S", 17: "Cl", 35: "Br", 53: "I"}
_CORE = 254  # a blue of its own
_PATH = re.compile(
    r"<path (?:class='[^']*' )?d='([^']*)' (?:style='fill:([^;]*);.*?stroke:([^;]*);[^']*'|fill='([^']*)')"
)
_BOND_LENGTH, _LINE = 26.0, 1.6  # pixels


def depict(mol: Chem.Mol, width: int, height: int, core: Chem.Mol | None = None) -> str:
    """``mol`` as an ``<svg>`` of this many pixels, which may be scaled.

    Args:
        core: a substructure to mark, in whose own orientation the molecule is drawn, where it holds it.
    """
    drawn = Chem.Mol(mol)
    marked = () if core is None else drawn.GetSubstructMatch(core)
    _lay_out(drawn, core if marked else None)
    drawing = rdMolDraw2D.MolDraw2DSVG(width, height)
    options = drawing.drawOptions()
    options.clearBackground, options.fixedBondLength, options.bondLineWidth = False, _BOND_LENGTH, _LINE
    options.setAtomPalette({number: _blue(number) for number in _ELEMENTS} | {-1: _blue(6)})
    bonds = [b.GetIdx() for b in drawn.GetBonds() if b.GetBeginAtomIdx() in marked and b.GetEndAtomIdx() in marked]
    drawing.DrawMolecule(
        drawn, highlightAtoms=[], highlightBonds=bonds, highlightBondColors=dict.fromkeys(bonds, _blue(_CORE))
    )
    drawing.FinishDrawing()
    return (
        f"<svg class='molecule' viewBox='0 0 {width} {height}' width='{width}' height='{height}' aria-hidden='true'>"
        f"{_paths(drawing.GetDrawingText())}</svg>"
    )


def _lay_out(mol: Chem.Mol, core: Chem.Mol | None) -> None:
    if core is None:
        rdDepictor.Compute2DCoords(mol, canonOrient=True)
        return
    template = Chem.Mol(core)
    rdDepictor.Compute2DCoords(template, canonOrient=True)
    rdDepictor.GenerateDepictionMatching2DStructure(mol, template)


def _blue(number: int) -> tuple[float, float, float]:
    """A colour that says which element, or the core, is drawn in it."""
    return 0.0, 0.0, number / 255


def _paths(svg: str) -> str:
    """The paths of a drawing, put together by colour, and in the order of painting: the core, lines, then letters."""
    lines, areas = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for path, fill, stroke, letter in _PATH.findall(svg):
        colour = letter or (stroke if fill == "none" else fill)
        number = int(colour[-2:], 16)
        into = lines if fill == "none" else areas
        into["core" if number == _CORE else _ELEMENTS.get(number, "bonds")].append(" ".join(path.split()))
    core = areas.pop("core", [])
    parts = [f"<path class='core' d='{' '.join(core)}'/>"] if core else []
    parts += [f"<path class='line {name}' d='{' '.join(paths)}'/>" for name, paths in lines.items()]
    parts += [f"<path class='area {name}' d='{' '.join(paths)}'/>" for name, paths in areas.items()]
    return "".join(parts)
