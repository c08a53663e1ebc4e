"""A language model on this machine, run by our own engine."""

from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING

from genaisys.errors import GenaisysError
from genaisys.messages import ChatMessage, Text
from genaisys.models.transformer.checkpoint import CheckpointBroken, CheckpointUnsupported
from genaisys.models.transformer.engine import Engine, PromptTooLong
from genaisys.models.transformer.generation import load_engine
from genaisys.models.transformer.sampling import Sampling
from genaisys.tokenizers import ChatTemplateFailed, Tokenizer, TokenizerBroken

if TYPE_CHECKING:
    from torch import Tensor


class NotAChatModel(GenaisysError):
    """The folder cannot be loaded, or holds no chat model."""


class PromptRefused(GenaisysError):
    """The model cannot read these messages."""


class LocalChatModel:
    """A causal language model with a chat template. Several threads may share one; their texts advance together."""

    def __init__(self, name: str, engine: Engine, tokenizer: Tokenizer) -> None:
        """Chat through ``engine``, with the chat template of ``tokenizer``."""
        self.name = name
        self.context_length = engine.model.config.context_length
        self.engine = engine
        self._tokenizer = tokenizer

    @classmethod
    def from_pretrained(cls, name: str) -> "LocalChatModel":
        """The model called ``name`` (a part, a hub id in the cache, a local folder, a GGUF file), with int8 weights.

        Raises:
            PartMissing, PartDamaged: see :func:`genaisys.hub.local_path`.
            NotAChatModel: there is no checkpoint with a chat template, or it is broken.
        """
        try:
            engine = load_engine(name)
        except (CheckpointBroken, CheckpointUnsupported, TokenizerBroken) as error:
            raise NotAChatModel(f"{name} cannot be loaded as a chat model: {error}") from error
        if engine.tokenizer is None or engine.tokenizer.chat_template is None:
            raise NotAChatModel(f"{name} cannot chat: its tokenizer has no chat template")
        return cls(name, engine, engine.tokenizer)

    def count_tokens(self, text: str) -> int:
        """The number of tokens of ``text``."""
        return len(self._tokenizer.encode(text))

    def stream(
        self,
        messages: Sequence[ChatMessage],
        *,
        max_tokens: int = 512,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> Iterator[str]:
        """The reply, piece by piece, each piece whole characters. Closing the iterator stops the generation.

        Args:
            max_tokens: the reply ends here at the latest, or where the context is full.
            temperature: 0 takes the likeliest token each time; above, tokens are drawn, reproducibly with a ``seed``.

        Raises:
            PromptRefused: the prompt fills the context, or holds parts other than text.
        """
        prompt = self._prompt(messages)
        if len(prompt) >= self.context_length:
            raise PromptRefused(
                f"the prompt has {len(prompt)} tokens and {self.name} reads {self.context_length}: shorten it"
            )
        return self._pieces(prompt, Sampling(max_new_tokens=max_tokens, temperature=temperature, seed=seed))

    def reply(
        self,
        messages: Sequence[ChatMessage],
        *,
        max_tokens: int = 512,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> ChatMessage:
        """The whole reply; see :meth:`stream`."""
        pieces = self.stream(messages, max_tokens=max_tokens, temperature=temperature, seed=seed)
        return ChatMessage.assistant("".join(pieces))

    def log_likelihood(self, messages: Sequence[ChatMessage], continuations: Sequence[str]) -> "Tensor":
        """``log p(continuation | messages)`` in nats, summed over its tokens. -> [len(continuations)]

        Raises:
            PromptRefused: as :meth:`stream`, or a continuation does not fit into the context.
        """
        tokens = self._tokenizer.encode_batch(list(continuations))
        try:
            return self.engine.log_likelihoods(self._prompt(messages), tokens)
        except PromptTooLong as error:
            raise PromptRefused(f"{error} ({self.name})") from error

    def _pieces(self, prompt: Sequence[int], sampling: Sampling) -> Generator[str]:
        yield from self.engine.start(prompt, sampling)

    def _prompt(self, messages: Sequence[ChatMessage]) -> list[int]:
        """The messages in the model's chat template, up to where the reply begins."""
        for part in (part for message in messages for part in message.parts):
            if not isinstance(part, Text):
                raise PromptRefused(f"{self.name} reads text only, and the conversation holds a {type(part).__name__}")
        try:
            return self._tokenizer.encode_chat(
                [{"role": message.role, "content": message.text} for message in messages]
            )
        except ChatTemplateFailed as error:
            raise PromptRefused(f"{self.name} cannot continue this conversation: {error}") from error
