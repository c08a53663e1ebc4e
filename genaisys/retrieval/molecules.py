"""Libraries of molecules in the retrieval index: a file is a document, and each of its molecules a passage.

A file is read once, known again by the hash of its content, and then searched at once. FAISS finds by the cosine of
the vectors; what it finds is ranked by what the encoder compares by (Tanimoto's similarity of Morgan fingerprints,
which is no cosine). The encoder says how low the cosine of a molecule that should have been found may be, and the
search widens until none can have been missed.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import torch

from genaisys.errors import GenaisysError
from genaisys.molecules.encoders import MoleculeEncoder, molecule_encoder
from genaisys.molecules.files import MoleculesUnreadable, no_molecule, read_smiles
from genaisys.molecules.parsing import NotAMolecule
from genaisys.molecules.similarity import Neighbour
from genaisys.retrieval import collections
from genaisys.retrieval.candidates import CandidateSearch
from genaisys.retrieval.documents import Chunk, Document
from genaisys.retrieval.store import Features, File, Store

MOST = 200_000  # molecules of a library: one by Morgan's fingerprint takes 5 KB on the disk
_VERSION = "1"  # of how a file becomes passages
_AT_ONCE = 2000  # molecules encoded together
_ROUNDING = 0.01  # of a cosine: vectors are kept as float16, and in large collections searched as 8 bits

OnStep = Callable[[str, int, int], None]  # (what is being done, molecules done, of how many)


class LibraryTooLarge(GenaisysError):
    """A file with more molecules than an index of one machine should hold."""


class MoleculeLibraries:
    """The libraries that were read with one encoder, in a store of their own. Safe to share between threads."""

    def __init__(self, folder: Path, encoder: MoleculeEncoder) -> None:
        """Open the libraries in ``folder``, or make it.

        Raises:
            StoreError: the store is damaged, or made by a newer version of this software.
        """
        self.encoder = encoder
        self._store = Store(folder, f"{encoder.name} {encoder.version}")
        self._candidates = CandidateSearch(self._store)

    @classmethod
    def open(cls, encoder: str = "morgan") -> MoleculeLibraries:
        """The user's libraries, with the encoder called ``encoder``.

        Raises:
            UnknownEncoder: there is none.
            StoreError: see above.
        """
        loaded = molecule_encoder(encoder)
        return cls(collections.home().with_name("molecules") / f"{encoder}-{loaded.version}", loaded)

    def add(self, file: Path, on_step: OnStep = lambda what, done, total: None) -> tuple[str, Counter[str]]:
        """Read a library, unless it is there already.

        Returns:
            the name by which :meth:`similar` knows it, and how many of its strings are no molecules, by reason.

        Raises:
            MoleculesUnreadable: it cannot be read, or holds no molecule.
            LibraryTooLarge: it holds more than ``MOST``.
            StoreError: the disk is full, or another process keeps the store busy.
        """
        name = self._name(file)
        there = {entry.source: entry.metadata for entry in self._store.documents()}
        if name not in there:
            there[name] = self._read(file, name, on_step)
        return name, Counter(json.loads(there[name]["rejects"]))

    def similar(self, smiles: str, name: str, k: int = 10) -> list[Neighbour]:
        """The ``k`` molecules of the library ``name`` that are most like one, the most similar first.

        Raises:
            NotAMolecule: ``smiles`` is none, or one that the encoder cannot read.
        """
        query = self.encoder.encode([smiles])[0]  # [D]
        with self._store.reading():
            library = self._store.matching({"source": name})
            width = 4 * k
            while True:
                width = min(width, len(library))
                ids, _ = self._candidates.find(query.numpy(), np.empty(0, np.uint32), width, library)
                ids, half = self._store.vectors(ids.tolist())
                vectors = torch.from_numpy(half.astype(np.float32))  # [C, D]
                similarities = self.encoder.similarities(query, vectors)
                order = similarities.argsort(descending=True, stable=True)[:k].tolist()
                least = self.encoder.least_cosine(float(similarities[order[-1]])) if order else 0.0
                if width == len(library) or float((vectors @ query).min()) < least - _ROUNDING:
                    break
                width *= 4
            chunks = self._store.chunks(ids[order].tolist())
        return [Neighbour(chunks[int(ids[row])].text, float(similarities[row])) for row in order]

    def close(self) -> None:
        self._store.close()

    def __enter__(self) -> MoleculeLibraries:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _name(self, file: Path) -> str:
        """The hash of what is in a file, and of its ending, which says how it is read."""
        try:
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256")
        except OSError as error:
            raise MoleculesUnreadable(f"{file} cannot be read: {error.strerror or error}") from error
        digest.update("".join(file.suffixes[-2:]).encode())
        return digest.hexdigest()

    def _read(self, file: Path, name: str, on_step: OnStep) -> dict[str, str]:
        strings = read_smiles(file)
        if len(strings) > MOST:
            raise LibraryTooLarge(f"{file} has {len(strings):,} molecules, and {MOST:,} is the limit: split it")
        kept: list[str] = []
        features: list[Features] = []
        rejects = Counter[str]()
        for start in range(0, len(strings), _AT_ONCE):
            part = list(self._usable(strings[start : start + _AT_ONCE], rejects))
            kept += part
            features += self._features(part)
            on_step("reading the library, once", start + len(part), len(strings))
        if not kept:
            raise no_molecule(file, rejects)
        metadata = {"rejects": json.dumps(rejects)}
        text, kind = "\n".join(kept), "chemical/x-daylight-smiles"
        document = Document(name, file.name, text, (), kind, name, metadata)
        status = file.stat()
        stamp = File(str(file.resolve()), status.st_size, status.st_mtime_ns)
        self._store.replace(document, list(_chunks(name, kept)), features, _VERSION, stamp)
        self._candidates.catch_up()
        return metadata

    def _usable(self, strings: Sequence[str], rejects: Counter[str]) -> Iterator[str]:
        for smiles in strings:
            try:
                self.encoder.check(smiles)
                yield smiles
            except NotAMolecule as error:
                rejects[error.reason] += 1

    def _features(self, smiles: Sequence[str]) -> Iterator[Features]:
        """Vectors, and no words."""
        none, zero = np.empty(0, np.uint32), np.zeros(1, np.int32)
        for vector in self.encoder.encode(smiles).numpy().astype(np.float16):  # [D]
            yield Features(vector, vector[:0], none, zero)


def similar_molecules(smiles: str, library: Path, k: int = 10, encoder: str = "morgan") -> list[Neighbour]:
    """The ``k`` molecules of a file that are most like one; the file is indexed the first time.

    Args:
        smiles: the molecule to look for.
        library: SMILES, one a line; a table with a column of them; or SDF.
        encoder: ``morgan`` (Tanimoto's similarity), or ``smiles-gpt`` (cosine).

    Raises:
        GenaisysError: see :class:`MoleculeLibraries`.
    """
    with MoleculeLibraries.open(encoder) as libraries:
        libraries.encoder.check(smiles)  # before the work of reading
        name, _ = libraries.add(library)
        return libraries.similar(smiles, name, k)


def _chunks(source: str, smiles: Sequence[str]) -> Iterator[Chunk]:
    start = 0
    for number, each in enumerate(smiles):
        yield Chunk(source, number, each, start, start + len(each))
        start += len(each) + 1
