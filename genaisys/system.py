"""A Generative AI System: an encoder, a chat model and an index, composed into something that answers."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType

from genaisys.hub import DEFAULT_CHAT_MODEL
from genaisys.messages import ChatMessage
from genaisys.models.chat import ChatModel, open_chat_model
from genaisys.retrieval.answering import Answer, AnswerEvent, Finished, stream_answer
from genaisys.retrieval.documents import Hit
from genaisys.retrieval.followup import standalone_question
from genaisys.retrieval.index import Index
from genaisys.retrieval.ingestion import Outcome, ingest


class GenAISys:
    """Answers questions about the documents of one store, with quotations.

    >>> system = GenAISys.open("store")
    >>> answer = system.ask("Who founded the observatory?")
    >>> answer.answer, answer.citations[0].quote

    Opening is quick: the encoder and the chat model are loaded when they are first needed.
    """

    def __init__(self, index: Index, model: str | ChatModel = DEFAULT_CHAT_MODEL) -> None:
        self.index = index
        self._model = model

    @classmethod
    def open(
        cls, store: str | Path, *, model: str | ChatModel = DEFAULT_CHAT_MODEL, encoder: str | None = None
    ) -> GenAISys:
        """The system over the store in folder ``store``, which is created if it is not there.

        Args:
            model: a part's name, a hub id, a folder, or ``openai:http://host:port#model``; or an open chat model.
            encoder: a part's name, a hub id or a folder. None: the one that the store was built with, or the default
                for a new one.

        Raises:
            GenaisysError: the store is damaged, or was built with another encoder.
        """
        return cls(Index.open(Path(store), encoder), model)

    @cached_property
    def model(self) -> ChatModel:
        """The chat model, loaded on first use."""
        return open_chat_model(self._model) if isinstance(self._model, str) else self._model

    def ingest(self, paths: Sequence[str | Path]) -> Iterator[Outcome]:
        """Bring files and folders into the index; one outcome per file, as it happens."""
        return ingest([Path(path) for path in paths], self.index)

    def search(self, query: str, k: int = 10, *, where: Mapping[str, str] | None = None) -> list[Hit]:
        """The ``k`` best passages for ``query``, best first."""
        return self.index.search(query, k, where=where)

    def stream(self, question: str, history: Sequence[ChatMessage] = ()) -> Generator[AnswerEvent]:
        """The answer as it comes into being; the last event is ``Finished``. Closing the iterator stops the model.

        Args:
            history: earlier turns of the conversation, which a follow-up question may refer to.
        """
        question = standalone_question(question, history)
        yield from stream_answer(question, self.index, self.model)

    def ask(self, question: str, history: Sequence[ChatMessage] = ()) -> Answer:
        """The whole answer."""
        for event in self.stream(question, history):
            if isinstance(event, Finished):
                return event.answer
        raise AssertionError("an answer stream ends with Finished")

    def close(self) -> None:
        self.index.close()

    def __enter__(self) -> GenAISys:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
