"""What the shipped generators can write: molecules like those of MOSES, of which they have learned.

A wish that none of those fulfils is refused before the work. Another model has learned something else: it is searched.
"""

from __future__ import annotations

from rdkit import Chem

from genaisys.molecules.distributions import distributions
from genaisys.molecules.profiles import ATOMS
from genaisys.molecules.wishes import Wishes, WishImpossible, written_range

_LARGEST = 27  # heavy atoms: no molecule of MOSES has more
_LARGEST_RING = 7
_WRITTEN = ATOMS - {"H"} | {"*"}


def require_reach(wishes: Wishes) -> None:
    """Refuse what no molecule of a shipped generator can be like.

    Raises:
        WishImpossible: a range beyond all known molecules; or a substructure that is larger than they are, or has
            atoms or rings that they do not have. The message says what is within reach.
    """
    for name, (low, high) in wishes.ranges.items():
        known = distributions()[name]
        if low > known.most or high < known.least:
            raise WishImpossible(
                f"{name} {written_range(low, high)} is out of reach: {known.in_words()}, and of {sum(known.counts):,} "
                f"none is outside {known.least:g} to {known.most:g}"
            )
    if wishes.substructure is not None:
        _require_part(wishes.substructure)


def _require_part(part: Chem.Mol) -> None:
    """Atoms and bonds that are patterns, such as ``*``, may stand for others, and so may the rings through them."""
    if part.GetNumAtoms() > _LARGEST:
        raise WishImpossible(
            f"the substructure has {part.GetNumAtoms()} atoms, and the molecules made here have at most {_LARGEST} "
            "(without hydrogen): take a part of it, such as its rings"
        )
    plain = {atom.GetIdx(): atom for atom in part.GetAtoms() if not atom.HasQuery()}
    if foreign := sorted({_named(atom) for atom in plain.values()} - _WRITTEN):
        raise WishImpossible(
            f"the generator has never seen {', '.join(foreign)}: it writes C, N, O, S, F, Cl and Br, without charge, "
            "isotope, or hydrogen as an atom of its own"
        )
    rings = [] if any(bond.HasQuery() for bond in part.GetBonds()) else Chem.GetSymmSSSR(part)
    largest = max((len(ring) for ring in rings if plain.keys() >= {*ring}), default=0)
    if largest > _LARGEST_RING:
        raise WishImpossible(
            f"the generator has never seen a ring of {largest} atoms: its rings have 3 to {_LARGEST_RING}"
        )


def _named(atom: Chem.Atom) -> str:
    isotope, charge = atom.GetIsotope(), atom.GetFormalCharge()
    return f"{isotope or ''}{atom.GetSymbol()}" + (f" with charge {charge:+d}" if charge else "")
