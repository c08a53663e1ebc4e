"""What one visitor has before them: the molecules that were proposed, and how they want to see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:  # RDKit and torch take seconds to load, and the page should open before that
    from rdkit import Chem

    from genaisys.molecules.known import KnownMolecules
    from genaisys.molecules.sampling import Counts
    from genaisys.molecules.similarity import Neighbour

Phase = Literal["empty", "loading", "drawing", "comparing", "done"]

MOST = 200  # molecules at once
PICTURE = 240, 168  # width and height of a drawing, which is scaled to where it stands
SIMILARITY = "similarity"  # to the nearest known molecule: sorted and filtered by as if it were a property


@dataclass
class Proposal:
    """One molecule of the generator.

    Attributes:
        number: from 1, in the order in which they were found.
        picture: an ``<svg>``.
        fingerprint: its packed bits.
        nearest: the known molecule that is most like it, and its own picture; None: not looked for yet.
        is_known: whether the generator has learned from it; None: not looked up yet.
    """

    number: int
    smiles: str
    properties: Mapping[str, float]
    picture: str
    fingerprint: bytes
    nearest: Neighbour | None = None
    nearest_picture: str = ""
    is_known: bool | None = None

    def measure(self, name: str) -> float | None:
        """A property, or the similarity to the nearest known molecule, where that is there."""
        if name == SIMILARITY:
            return None if self.nearest is None else self.nearest.similarity
        return self.properties.get(name)


@dataclass
class Arrangement:
    """Which proposals are shown, and in which order.

    Attributes:
        sort: a property, ``similarity``, or nothing for the order in which they were found.
        only: a property, or ``similarity``, whose value is to lie from ``low`` to ``high``; nothing: any.
    """

    sort: str = ""
    descending: bool = True
    new_only: bool = False
    only: str = ""
    low: float | None = None
    high: float | None = None

    @property
    def asks_what_is_known(self) -> bool:
        """Whether it sorts or filters by what only a comparison with known molecules tells."""
        return self.new_only or SIMILARITY in (self.sort, self.only)

    def shown(self, proposals: Sequence[Proposal]) -> list[Proposal]:
        kept = [proposal for proposal in proposals if self._keeps(proposal)]
        if not self.sort:
            return kept
        sign = -1 if self.descending else 1

        def place(proposal: Proposal) -> tuple[bool, float]:
            value = proposal.measure(self.sort)
            return value is None, sign * (value or 0.0)

        return sorted(kept, key=place)

    def _keeps(self, proposal: Proposal) -> bool:
        if self.new_only and proposal.is_known:
            return False
        value = proposal.measure(self.only) if self.only else None
        if value is None:
            return True
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


@dataclass
class Bench:
    """
    Attributes:
        run: counts the orders: whoever works for an older one stops.
        wanted: how many molecules were ordered.
        start: what each was to hold.
        problem: what went wrong, in a line; nothing where all went well.
    """

    phase: Phase = "empty"
    run: int = 0
    stopped: bool = False
    wanted: int = 0
    start: Chem.Mol | None = None
    counts: Counts | None = None
    proposals: list[Proposal] = field(default_factory=list)
    arrangement: Arrangement = field(default_factory=Arrangement)
    problem: str = ""

    def begin(self, wanted: int, start: Chem.Mol | None) -> int:
        """A new order, with nothing found yet. -> its run"""
        self.run += 1
        self.phase, self.stopped, self.problem = "loading", False, ""
        self.wanted, self.start, self.counts = wanted, start, None
        self.proposals = []
        return self.run

    @property
    def shown(self) -> list[Proposal]:
        return self.arrangement.shown(self.proposals)

    def take(self, smiles: str) -> None:
        """Put a molecule before the visitor."""
        from genaisys.molecules.depiction import depict
        from genaisys.molecules.parsing import parse
        from genaisys.molecules.profiles import fingerprint
        from genaisys.molecules.properties import properties

        mol = parse(smiles)
        picture = depict(mol, *PICTURE, core=self.start)
        self.proposals.append(Proposal(len(self.proposals) + 1, smiles, properties(mol), picture, fingerprint(mol)))

    def compare(self, proposals: Sequence[Proposal], known: KnownMolecules) -> None:
        """Find the nearest known molecule of some."""
        from genaisys.molecules.depiction import depict
        from genaisys.molecules.parsing import parse

        neighbours = known.nearest([proposal.smiles for proposal in proposals])
        for proposal, neighbour in zip(proposals, neighbours, strict=True):
            proposal.nearest_picture = depict(parse(neighbour.smiles), *PICTURE)
            proposal.is_known = proposal.smiles in known
            proposal.nearest = neighbour


def alikeness(proposals: Sequence[Proposal]) -> list[float]:
    """Tanimoto's similarity of every two of them."""
    from genaisys.molecules.tanimoto import similarities

    rows = np.frombuffer(b"".join(proposal.fingerprint for proposal in proposals), np.uint8)
    packed = rows.reshape(len(proposals), -1)
    pairs: list[float] = similarities(packed, packed).numpy()[np.triu_indices(len(proposals), 1)].tolist()
    return pairs
