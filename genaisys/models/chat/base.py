"""What a chat model can do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from genaisys.messages import ChatMessage

if TYPE_CHECKING:  # torch takes seconds to import, and a re-index of an unchanged folder needs none
    from torch import Tensor


class ChatModel(Protocol):
    """Continues a conversation. Backends: the local language model, and any OpenAI-compatible endpoint."""

    name: str
    context_length: int  # tokens, prompt and reply together

    def count_tokens(self, text: str) -> int:
        """The number of tokens of ``text`` (an estimate from above where the tokenizer is not at hand)."""
        ...

    def stream(
        self,
        messages: Sequence[ChatMessage],
        *,
        max_tokens: int = 512,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> Iterator[str]:
        """The reply, piece by piece. Closing the iterator stops the generation."""
        ...

    def reply(
        self,
        messages: Sequence[ChatMessage],
        *,
        max_tokens: int = 512,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> ChatMessage:
        """The whole reply."""
        ...


@runtime_checkable
class ScoresText(Protocol):
    """A capability of local models: the likelihood of given continuations."""

    def log_likelihood(self, messages: Sequence[ChatMessage], continuations: Sequence[str]) -> Tensor:
        """``log p(continuation | messages)`` in nats, summed over its tokens. -> [len(continuations)]"""
        ...


def open_chat_model(name: str) -> ChatModel:
    """The chat model called ``name``: a part, a hub id, a local folder, or ``openai:URL[#model]``."""
    if name.startswith("openai:"):
        from genaisys.models.chat.endpoint import EndpointChatModel

        return EndpointChatModel.from_name(name)
    from genaisys.models.chat.local import LocalChatModel

    return LocalChatModel.from_pretrained(name)
