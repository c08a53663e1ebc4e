"""A language model on this machine, through transformers."""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from threading import Condition
from typing import Any

import torch
from jinja2 import TemplateError
from tokenizers.decoders import DecodeStream
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.utils.logging import disable_progress_bar

from genaisys.errors import GenaisysError
from genaisys.hub import local_path
from genaisys.messages import ChatMessage, Text

_PACK = 512  # continuation tokens scored in one pass; bounds the logits to [512, vocabulary]


class NotAChatModel(GenaisysError):
    """The folder cannot be loaded, or holds no chat model."""


class PromptRefused(GenaisysError):
    """The model cannot read these messages."""


class LocalChatModel:
    """A causal language model with a chat template.

    Several threads may share one: they take turns, token by token, in the order in which they asked.
    """

    def __init__(self, name: str, model: Any, tokenizer: Any) -> None:
        """Wrap a transformers model and its fast tokenizer, which brings the chat template."""
        self.name = name
        self.context_length: int = model.config.max_position_embeddings
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._turn = _Turns()
        ends = model.generation_config.eos_token_id
        self._ends = {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}
        special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        self._special = re.compile("|".join(map(re.escape, special)) or "(?!)")

    @classmethod
    def from_pretrained(cls, name: str) -> "LocalChatModel":
        """The model called ``name`` (a part, a hub id in the cache, a local folder), in bfloat16.

        Raises:
            PartMissing, PartDamaged: see :func:`genaisys.hub.local_path`.
            NotAChatModel: there is no safetensors checkpoint with a chat template, or it is broken.
        """
        folder = local_path(name)
        disable_progress_bar()  # for a second's work
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            if tokenizer.chat_template is None:
                raise NotAChatModel(f"{name} cannot chat: its tokenizer has no chat template")
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.bfloat16, local_files_only=True, trust_remote_code=False, use_safetensors=True
            )
        except GenaisysError:
            raise
        except Exception as error:  # a broken folder makes the libraries raise nearly anything
            reason = " ".join(str(error).split())[:300]
            raise NotAChatModel(f"{name} cannot be loaded as a chat model from {folder}: {reason}") from error
        return cls(name, model, tokenizer)

    def count_tokens(self, text: str) -> int:
        """The number of tokens of ``text``."""
        return len(self._tokens(text))

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
        return self._decode(prompt, min(max_tokens, self.context_length - prompt.shape[1]), temperature, seed)

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

    def log_likelihood(self, messages: Sequence[ChatMessage], continuations: Sequence[str]) -> Tensor:
        """``log p(continuation | messages)`` in nats, summed over its tokens. -> [len(continuations)]

        The prompt is read once. The continuations are then packed behind it, one after the other, in a sequence whose
        attention mask lets each see the prompt and itself: no padding, and no copy of the prompt's cache for each.

        Raises:
            PromptRefused: as :meth:`stream`, or a continuation does not fit into the context.
        """
        prompt = self._prompt(messages)  # [1, P]
        tokens = [self._tokens(text) for text in continuations]
        longest = prompt.shape[1] + max(map(len, tokens), default=0)
        if longest > self.context_length:
            raise PromptRefused(
                f"prompt and continuation have {longest} tokens; {self.name} reads {self.context_length}"
            )
        cache = DynamicCache()
        first = self._forward(prompt, cache, logits_to_keep=1)[-1].log_softmax(-1)  # [V]
        scores = torch.stack([first[ids[0]] if ids else first.new_zeros(()) for ids in tokens]) if tokens else first[:0]
        for pack in _packs(tokens):
            scores[pack] += self._score_rest([tokens[n] for n in pack], cache)
        return scores.cpu()

    def _score_rest(self, tokens: list[list[int]], cache: DynamicCache) -> Tensor:
        """Log-likelihood of all tokens but the first of each continuation; ``cache`` is left as it was. -> [N]"""
        device = self._model.device
        past = cache.get_seq_length()
        lengths = torch.tensor([len(ids) - 1 for ids in tokens], device=device)  # [N], with sum Q
        inputs = torch.tensor([token for ids in tokens for token in ids[:-1]], device=device)  # [Q]
        targets = torch.tensor([token for ids in tokens for token in ids[1:]], device=device)  # [Q]
        owner = torch.arange(len(tokens), device=device).repeat_interleave(lengths)  # [Q]
        place = torch.cat([torch.arange(past, past + n, device=device) for n in lengths.tolist()])  # [Q]
        own = (owner[:, None] == owner[None, :]) & (place[:, None] >= place[None, :])  # [Q, Q]
        seen = torch.cat([own.new_ones(len(inputs), past), own], dim=1)  # [Q, P + Q]
        mask = torch.zeros(seen.shape, dtype=self._model.dtype, device=device)
        mask.masked_fill_(~seen, torch.finfo(mask.dtype).min)
        logits = self._forward(inputs[None], cache, attention_mask=mask[None, None], position_ids=place[None])  # [Q, V]
        cache.crop(-len(inputs))
        log_p = logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(-1)  # [Q]
        return log_p.new_zeros(len(tokens)).index_add_(0, owner, log_p)

    def _decode(self, prompt: Tensor, max_tokens: int, temperature: float, seed: int | None) -> Iterator[str]:
        generator = torch.Generator(self._model.device)
        generator.seed() if seed is None else generator.manual_seed(seed)
        cache, text, tokens = DynamicCache(), DecodeStream(skip_special_tokens=True), prompt
        for _ in range(max_tokens):
            logits = self._forward(tokens, cache, logits_to_keep=1)[-1]  # [V]
            if temperature > 0:
                token = int(torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator))
            else:
                token = int(logits.argmax())
            if token in self._ends:
                return
            if piece := text.step(self._tokenizer.backend_tokenizer, token):  # None in the middle of a character
                yield piece
            tokens = prompt.new_tensor([[token]])

    def _forward(self, tokens: Tensor, cache: DynamicCache, **options: Any) -> Tensor:
        """Logits in float32 for ``tokens`` [1, T], which are added to the cache. -> [T, V], or the last rows of it"""
        with self._turn, torch.inference_mode():
            return self._model(tokens, past_key_values=cache, use_cache=True, **options).logits[0].float()

    def _prompt(self, messages: Sequence[ChatMessage]) -> Tensor:
        """The messages in the model's chat template, up to where the reply begins. -> [1, P]"""
        for part in (part for message in messages for part in message.parts):
            if not isinstance(part, Text):
                raise PromptRefused(f"{self.name} reads text only, and the conversation holds a {type(part).__name__}")
        turns = [{"role": message.role, "content": self._as_data(message.text)} for message in messages]
        try:
            prompt = self._tokenizer.apply_chat_template(
                turns, add_generation_prompt=True, return_dict=True, return_tensors="pt"
            )["input_ids"]
        except TemplateError as error:
            raise PromptRefused(f"{self.name} cannot continue this conversation: {error}") from error
        if prompt.shape[1] >= self.context_length:
            raise PromptRefused(
                f"the prompt has {prompt.shape[1]} tokens and {self.name} reads {self.context_length}: shorten it"
            )
        return prompt.to(self._model.device)

    def _as_data(self, text: str) -> str:
        """``text`` with its control tokens broken up: a document must not be able to end its own turn."""
        return self._special.sub(lambda token: f"{token[0][:1]} {token[0][1:]}", _encodable(text))

    def _tokens(self, text: str) -> list[int]:
        return self._tokenizer.encode(_encodable(text), add_special_tokens=False, split_special_tokens=True)


def _encodable(text: str) -> str:
    """``text`` without lone surrogates, which broken file names and files bring, and which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode()


def _packs(tokens: list[list[int]]) -> Iterator[list[int]]:
    """Indices of the continuations that have a second token, in packs of at most ``_PACK`` tokens where they can be."""
    pack: list[int] = []
    size = 0
    for index, ids in enumerate(tokens):
        if len(ids) < 2:
            continue
        if pack and size + len(ids) > _PACK:
            yield pack
            pack, size = [], 0
        pack.append(index)
        size += len(ids)
    if pack:
        yield pack


class _Turns:
    """A lock that is given in the order in which it was asked for; ``threading.Lock`` may starve those who wait."""

    def __init__(self) -> None:
        self._queue: deque[object] = deque()
        self._changed = Condition()

    def __enter__(self) -> None:
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            try:
                self._changed.wait_for(lambda: self._queue[0] is ticket)
            except BaseException:  # Ctrl-C while waiting: leave the queue
                self._queue.remove(ticket)
                self._changed.notify_all()
                raise

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._queue.popleft()
            self._changed.notify_all()
