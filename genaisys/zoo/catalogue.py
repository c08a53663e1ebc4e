"""All models of the zoo by their names, in the book's order."""

from __future__ import annotations

from collections.abc import Mapping

from genaisys.zoo import autoregressive, fashion, flows, latent, mixtures
from genaisys.zoo.entries import Entry

ZOO: Mapping[str, Entry] = {**mixtures.ENTRIES, **autoregressive.ENTRIES, **flows.ENTRIES, **latent.ENTRIES}
# The sizes and the training of `ZOO` are those for the digits; here are data that need others.
_OF_DATA: Mapping[str, Mapping[str, Entry]] = {"fashion-mnist": fashion.ENTRIES}


def entries_for(data: str) -> Mapping[str, Entry]:
    """All models, with sizes and training for the data of that name, where there are such, or else for the digits."""
    return {**ZOO, **_OF_DATA.get(data, {})}
