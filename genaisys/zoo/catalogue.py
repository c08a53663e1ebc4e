"""All models of the zoo by their names, in the book's order."""

from __future__ import annotations

from collections.abc import Mapping

from genaisys.zoo import autoregressive, flows, latent, mixtures
from genaisys.zoo.entries import Entry

ZOO: Mapping[str, Entry] = {**mixtures.ENTRIES, **autoregressive.ENTRIES, **flows.ENTRIES, **latent.ENTRIES}
