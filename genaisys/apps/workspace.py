"""What all visitors of the page share: the models and the open collections, each loaded once."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, TypeVar

from genaisys.errors import GenaisysError
from genaisys.hub import DEFAULT_CHAT_MODEL, DEFAULT_TEXT_ENCODER
from genaisys.retrieval import collections

if TYPE_CHECKING:  # these bring torch, and the page should open before that is loaded
    from genaisys.encoders import TextEncoder
    from genaisys.models.chat import ChatModel
    from genaisys.retrieval.index import Index
    from genaisys.retrieval.store import Store
    from genaisys.system import GenAISys

Value = TypeVar("Value")


class Workspace:
    """Models and collections, opened when they are first needed. Safe to share between threads."""

    def __init__(self) -> None:
        self._stores: dict[str, Store] = {}
        self._indexes: dict[str, Index] = {}
        self._encoders: dict[str, TextEncoder] = {}
        self._models: dict[str, ChatModel] = {}
        self._opening, self._loading = Lock(), Lock()
        self._warm, self._closed = Event(), Event()
        self._problem = ""

    def warm_up(self) -> None:
        """Begin to load the default models in the background."""
        Thread(target=self._load_defaults, name="load models", daemon=True).start()

    def close(self) -> None:
        """The program ends; what is still being loaded no longer matters."""
        self._closed.set()

    def await_models(self) -> str:
        """Wait until the default models are loaded. -> why they could not be, or nothing"""
        self._warm.wait()
        return self._problem

    def store(self, collection: str) -> Store:
        """The documents of a collection. It is made if it is not there."""
        from genaisys.retrieval.store import Store

        with self._opening:
            folder = collections.store_of(collection)
            return _once(self._stores, folder.name, lambda: Store(folder, DEFAULT_TEXT_ENCODER))

    def index(self, collection: str) -> Index:
        """The collection, ready to search and to add to.

        Raises:
            GenaisysError: the store is damaged, or its encoder is missing.
        """
        from genaisys.retrieval.index import Index

        store = self.store(collection)
        encoder = self._encoder(store.encoder)
        with self._opening:
            return _once(self._indexes, store.folder.name, lambda: Index(store, encoder))

    def system(self, collection: str, model: str) -> GenAISys:
        """The system that answers from a collection with a chat model, by the model's name.

        Raises:
            GenaisysError: as :meth:`index`, or the model is missing.
        """
        from genaisys.system import GenAISys

        return GenAISys(self.index(collection), self.model(model))

    def delete(self, collection: str) -> None:
        """Delete a collection with all its documents.

        Raises:
            CollectionError: there is none of this name.
        """
        with self._opening:
            folder = collections.store_of(collection).name
            self._indexes.pop(folder, None)
            if store := self._stores.pop(folder, None):
                store.close()
            collections.delete(collection)

    def _encoder(self, name: str) -> TextEncoder:
        from genaisys.encoders import TextEncoder

        with self._loading:
            return _once(self._encoders, name, lambda: TextEncoder.from_pretrained(name))

    def model(self, name: str) -> ChatModel:
        from genaisys.models.chat import open_chat_model

        with self._loading:
            if name not in self._models:  # the default stays; of the others one, for memory is finite
                for other in self._models.keys() - {DEFAULT_CHAT_MODEL}:
                    del self._models[other]
            return _once(self._models, name, lambda: open_chat_model(name))

    def _load_defaults(self) -> None:
        try:
            self._encoder(DEFAULT_TEXT_ENCODER)
            self.model(DEFAULT_CHAT_MODEL)
        except GenaisysError as error:
            self._problem = str(error)
        except RuntimeError:
            if not self._closed.is_set():  # else: a program that ends starts no more threads
                raise
        finally:
            self._warm.set()


def _once(cache: dict[str, Value], key: str, make: Callable[[], Value]) -> Value:
    if key not in cache:
        cache[key] = make()
    return cache[key]
