"""What a visitor wishes for: from what the page sends to what the generator is asked. None of it is believed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rdkit import Chem

from genaisys.apps.molecules.bench import MOST
from genaisys.apps.molecules.labels import LABELS
from genaisys.errors import GenaisysError
from genaisys.molecules.parsing import parse
from genaisys.molecules.reach import require_reach
from genaisys.molecules.sampling import MoleculeSampling
from genaisys.molecules.wishes import Wishes, pattern_of


class OrderUnreadable(GenaisysError):
    """The page sent what it never sends."""


@dataclass(frozen=True)
class Order:
    """
    Attributes:
        n: how many molecules.
        start: what each shall hold; None: anything.
    """

    n: int
    sampling: MoleculeSampling
    start: Chem.Mol | None


def read_order(data: Mapping[str, Any], seed: int) -> Order:
    """The order in what the page has sent: ``count``, ``temperature``, ``start``, and ``ranges`` by property.

    Raises:
        OrderUnreadable: a number is none, or is out of bounds.
        NotAMolecule: the start is none.
        WishImpossible: no molecule of the generator can hold the start, or be in a range.
        CannotSample: the temperature has no meaning.
    """
    text = str(data.get("start") or "").strip()
    start = read_start(text) if text else None
    ranges = {name: _range(sent, name) for name, sent in (data.get("ranges") or {}).items() if name in LABELS}
    wishes = Wishes(ranges, start)
    require_reach(wishes)  # before what is there is given up for it
    temperature = _number(data.get("temperature", 1), "temperature")
    sampling = MoleculeSampling(temperature=temperature, unique=True, wishes=wishes, seed=seed)
    return Order(min(max(int(_number(data.get("count", 24), "count")), 1), MOST), sampling, start)


def read_start(smiles: str) -> Chem.Mol:
    """A molecule, or a part of one, that each proposal shall hold.

    Raises:
        NotAMolecule: it is none.
        WishImpossible: it is larger than what the generator writes, or has atoms or rings that it does not know.
    """
    start = pattern_of(parse(smiles))
    require_reach(Wishes(substructure=start))
    return start


def _range(sent: Any, name: str) -> tuple[float, float]:
    if not isinstance(sent, list | tuple) or len(sent) != 2:
        raise OrderUnreadable(f"the range of {name} cannot be read: reload the page")
    low, high = sent
    return (
        -math.inf if low is None else _number(low, name),
        math.inf if high is None else _number(high, name),
    )


def _number(sent: Any, name: str) -> float:
    try:
        number = float(sent)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise OrderUnreadable(f"{name} is no number: reload the page")
    return number
