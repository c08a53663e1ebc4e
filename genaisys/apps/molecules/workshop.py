"""What all visitors of the molecules tab share: the generators, and what is known, each made ready once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from genaisys.errors import GenaisysError

if TYPE_CHECKING:  # RDKit and torch take seconds to load, and the page should open before that
    from genaisys.models.transformer import TransformerLM
    from genaisys.molecules.known import KnownMolecules
    from genaisys.molecules.wishes import Wishes

_LOOK = 0.3  # seconds between two looks at how far the preparation is

Step = tuple[str, int, int]  # what is being done, how much of it is done, of how much or 0

_FIRST: Step = "making known molecules ready", 0, 0


class _Closing(Exception):
    """The app stops: so shall the preparation."""


class Workshop:
    """Safe to share between threads."""

    def __init__(self) -> None:
        self._generators: dict[str, TransformerLM] = {}
        self._known: KnownMolecules | None = None
        self._loading, self._starting = Lock(), Lock()
        self._preparation: Thread | None = None
        self._step = _FIRST
        self._failure: Exception | None = None
        self._closing = Event()

    def warm_up(self) -> None:
        """Begin to load the generator of any molecules in the background."""
        Thread(target=self._load, name="load the generator of molecules", daemon=True).start()

    def generator(self, wishes: Wishes) -> TransformerLM:
        """The model that is best at such molecules, loaded the first time.

        Raises:
            GenaisysError: see :func:`genaisys.molecules.generators.load_generator`.
        """
        from genaisys.molecules.generators import generator_for, load_generator

        name = generator_for(wishes)
        with self._loading:
            if name not in self._generators:
                self._generators[name] = load_generator(name)
            return self._generators[name]

    @property
    def known(self) -> KnownMolecules | None:
        """What is known, where it is ready."""
        return self._known

    def can_prepare(self) -> bool:
        """Whether what is known can be made ready without fetching anything."""
        from genaisys.molecules.known import is_prepared
        from genaisys.molecules.moses import moses_is_here

        return self._known is not None or is_prepared() or moses_is_here()

    def prepare(self) -> Iterator[Step]:
        """Make ready what is known, some minutes' work the first time, and tell how far it is.

        Whoever asks while it is under way looks on. Who stops looking does not stop it.

        Raises:
            GenaisysError: MOSES is not here and cannot be fetched.
        """
        with self._starting:
            if self._known is None and (self._preparation is None or not self._preparation.is_alive()):
                self._step, self._failure = _FIRST, None
                self._preparation = Thread(target=self._prepare, name="prepare known molecules", daemon=True)
                self._preparation.start()
        while self._preparation is not None and self._preparation.is_alive():
            self._preparation.join(_LOOK)
            yield self._step
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Stop what is under way."""
        self._closing.set()
        if self._preparation is not None:
            self._preparation.join()

    def _load(self) -> None:
        from genaisys.molecules.wishes import Wishes

        with suppress(GenaisysError):  # it is said to who orders molecules
            self.generator(Wishes())

    def _prepare(self) -> None:
        from genaisys.molecules.known import known_molecules

        def on_step(what: str, done: int, total: int) -> None:
            if self._closing.is_set():
                raise _Closing
            self._step = what, done, total

        try:
            self._known = known_molecules(on_step)
        except _Closing:
            pass
        except Exception as error:  # raised again to those who look on
            self._failure = error
