"""The engine: many texts at once from one packed transformer.

A step reads one token of every text that is under way. When a text ends its place is taken by the next that waits; a
new prompt is read between two steps, and of a long one only a part, so that the others go on. There is no thread in the
background: whoever waits for a piece of text runs the next step, for everybody.

What a request gives depends on its prompt, settings and seed, and on nothing else: not on the texts beside it, on what
the cache holds, or on whether guesses came true.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from genaisys.errors import GenaisysError
from genaisys.models.transformer.cache import PAGE_SIZE, PagedCache
from genaisys.models.transformer.generated import Generated, Generation, GenerationFailed
from genaisys.models.transformer.grammar import Grammars, Matcher
from genaisys.models.transformer.inference import PackedTransformer
from genaisys.models.transformer.sampling import Sampling
from genaisys.models.transformer.turns import Turns
from genaisys.tokenizers import Tokenizer

SLOTS = 16  # texts under way at once
MEMORY_LIMIT = 1 << 30  # bytes for keys and values
_PROMPT_PART = 4 * PAGE_SIZE  # tokens of a prompt that are read between two steps of others
_PASS = 512  # tokens of continuations that are scored at once
_GUESSING_TEXTS = 2  # with more under way the processor is busy anyway, and guesses cost more than they bring


class PromptTooLong(GenaisysError):
    """The prompt does not fit into the context."""


class UnknownToken(GenaisysError):
    """A token that is not in the model's vocabulary."""


class Engine:
    """Generates texts. Several threads may share one.

    Attributes:
        model: the network.
        tokenizer: what makes text of tokens, where there is one.
    """

    def __init__(
        self,
        model: PackedTransformer,
        tokenizer: Tokenizer | None = None,
        *,
        slots: int = SLOTS,
        memory_limit: int = MEMORY_LIMIT,
    ) -> None:
        """An engine for up to ``slots`` texts at once, whose keys and values have up to ``memory_limit`` bytes.

        Raises:
            OutOfMemory: the limit is too low for anything.
        """
        self.model = model
        self.tokenizer = tokenizer
        self.cache = PagedCache(model.config, memory_limit, slots)
        self._slots = slots
        self._waiting: deque[Generation] = deque()
        self._active: list[Generation] = []
        self._grammars: Grammars | None = None
        self._turns = Turns()

    def start(self, prompt: Sequence[int], sampling: Sampling = Sampling()) -> Generation:  # noqa: B008 (it is frozen)
        """Begin a text that continues ``prompt``.

        Raises:
            PromptTooLong: the prompt leaves no room in the context.
            UnknownToken: the prompt is of another model's tokens.
            OutOfMemory: prompt and text would need more memory than is allowed.
            GrammarImpossible: the grammar cannot be used.
        """
        context = self.model.config.context_length
        if not prompt:
            raise PromptTooLong("an empty prompt cannot be continued: begin with the start token")
        if len(prompt) >= context:
            raise PromptTooLong(f"the prompt has {len(prompt)} tokens and the model reads {context}: shorten it")
        self._require_known(prompt)
        length = min(len(prompt) + sampling.max_new_tokens, context)
        self.cache.require_room(length)
        matcher = None
        if sampling.stop or sampling.grammar is not None:
            if self.tokenizer is None:
                raise GenerationFailed("stop texts and grammars are about text: the model needs a tokenizer")
            if sampling.grammar is not None:
                matcher = self._matcher(self.tokenizer, sampling.grammar)
        generation = Generation(self, prompt, length, sampling, matcher)
        if sampling.max_new_tokens == 0:
            generation.end("length")
        else:
            self._waiting.append(generation)
        return generation

    def run(self, requests: Iterable[tuple[Sequence[int], Sampling]]) -> list[Generated]:
        """All texts of ``requests``, in their order."""
        generations: list[Generation] = []
        try:
            for prompt, sampling in requests:
                generations.append(self.start(prompt, sampling))
            return [generation.result() for generation in generations]
        finally:
            for generation in generations:
                generation.close()

    def log_likelihoods(self, prompt: Sequence[int], continuations: Sequence[Sequence[int]]) -> Tensor:
        """``log p(continuation | prompt)`` in nats, summed over its tokens. -> [len(continuations)]

        Raises:
            PromptTooLong: prompt and continuation do not fit into the context.
            UnknownToken: they are of another model's tokens.
            GenerationFailed: the model gives something that is no number.
        """
        if not prompt:
            raise PromptTooLong("an empty prompt cannot be continued: begin with the start token")
        longest = len(prompt) + max(map(len, continuations), default=0)
        if longest > self.model.config.context_length:
            raise PromptTooLong(
                f"prompt and continuation have {longest} tokens and the model reads {self.model.config.context_length}"
            )
        for tokens in (prompt, *continuations):
            self._require_known(tokens)
        if not continuations:
            return torch.zeros(0)
        found = self._turns.run(lambda: self._scores(prompt, continuations))
        if found.isnan().any():
            raise GenerationFailed("the model gives no number as a likelihood: its weights are damaged")
        return found

    def next_piece(self, generation: Generation) -> str:
        """The next piece of its text, for which the engine runs as long as it takes; empty when it has ended."""

        def advance() -> None:
            if not generation.pieces and generation.finish is None:  # another's step may have brought it
                self._step()

        while not generation.pieces and generation.finish is None:
            self._turns.run(advance)
        if generation.pieces:
            return generation.pieces.popleft()
        if generation.error is not None:
            raise generation.error
        return ""

    def cancel(self, generation: Generation) -> None:
        """End a text now. A step that is under way is not waited for: it, or the next one, clears away.

        Waiting would be a deadlock where a garbage collection in the middle of a step comes upon a forgotten iterator.
        """
        if generation.finish is None:
            generation.end("cancelled")
            self._turns.run_if_free(self._clear_away)

    # -- one step

    def _step(self, *, admit: bool = True) -> None:
        try:
            self._clear_away()
            if not self._active:
                self.cache.close_all()  # there may be some that an interruption has left open
            if admit:
                self._admit()
            reading = next((each for each in self._active if each.read < len(each.prompt) - 1), None)
            if reading is not None:
                self._read(reading)
            writing = [each for each in self._active if each.read == len(each.prompt) - 1]
            if writing:
                self._decode(writing)
        except BaseException as error:
            for generation in self._active:  # whatever went wrong, nobody shall wait for ever
                if generation.finish is None:
                    generation.error = GenerationFailed(f"the generation was interrupted ({type(error).__name__})")
                    generation.end("cancelled")
            raise
        finally:
            self._clear_away()

    def _admit(self) -> None:
        while self._waiting and len(self._active) < self._slots:
            generation = self._waiting[0]
            if generation.finish is None:
                opened = self.cache.open(generation.prompt, generation.length)
                if opened is None:
                    return
                generation.pages, generation.read = opened
                generation.reused = generation.read
                self._active.append(generation)
            self._waiting.popleft()

    def _read(self, generation: Generation) -> None:
        """Read the prompt, or the next part of it."""
        began = time.perf_counter()
        start, last = generation.read, len(generation.prompt) - 1
        if len(self._active) > 1:
            last = min(last, start + _PROMPT_PART)
        self.model.prefill(generation.prompt[start:last], start, generation.pages, self.cache.pages)
        generation.read = last
        generation.prefill_seconds += time.perf_counter() - began
        if last == len(generation.prompt) - 1:
            self.cache.keep(generation.prompt[:last], generation.pages)

    def _decode(self, writing: Sequence[Generation]) -> None:
        tokens: list[int] = []
        places: list[int] = []
        pages: list[list[int]] = []
        guesses: list[list[int]] = []
        for generation in writing:
            generation.decoding_since = generation.decoding_since or time.perf_counter()
            place = len(generation.prompt) + len(generation.tokens) - 1  # of its last token, which is not read yet
            room = generation.length - place - 1
            guess = generation.lookup.guess(room) if len(writing) <= _GUESSING_TEXTS else []
            guesses.append(guess)
            tokens += [(generation.tokens or generation.prompt)[-1], *guess]
            places += range(place, place + 1 + len(guess))
            pages += [generation.pages] * (1 + len(guess))
        logits = self.model.decode(tokens, places, pages, self.cache.pages, range(len(tokens))).numpy()
        row = 0
        for generation, guess in zip(writing, guesses, strict=True):
            generation.steps += 1
            self._accept(generation, logits[row : row + 1 + len(guess)], guess)
            row += 1 + len(guess)

    def _accept(self, generation: Generation, logits: npt.NDArray[np.float32], guess: Sequence[int]) -> None:
        """Take the next token, and one more for each guess that came true. ``logits``: [1 + guesses, V]"""
        config = self.model.config
        logits[:, list(config.impossible)] = -np.inf
        try:
            for n, row in enumerate(logits):
                if not np.isfinite(row.max()):
                    raise GenerationFailed(
                        f"the model gives no number at token {len(generation.tokens) + 1}: its weights are damaged"
                    )
                token = generation.accept(row, config.ends)
                if generation.finish is not None or n == len(guess) or guess[n] != token:
                    return
        except GenaisysError as error:
            generation.error = error
            generation.end("cancelled")

    def _clear_away(self) -> None:
        for generation in [each for each in self._active if each.finish is not None]:
            self._active.remove(generation)
            if generation.tokens and generation.error is None:  # its last token has been chosen, and not read
                self.cache.keep([*generation.prompt, *generation.tokens][:-1], generation.pages)
            self.cache.close(generation.pages)
        while self._waiting and self._waiting[0].finish is not None:
            self._waiting.popleft()

    def _scores(self, prompt: Sequence[int], continuations: Sequence[Sequence[int]]) -> Tensor:
        while (opened := self.cache.open(prompt, len(prompt))) is None:
            self._step(admit=False)  # it is our turn to have room
        pages, start = opened
        try:
            last = len(prompt) - 1
            if start < last:
                self.model.prefill(prompt[start:last], start, pages, self.cache.pages)
                self.cache.keep(prompt[:last], pages)
            logits = self.model.decode([prompt[last]], [last], [pages], self.cache.pages, [0])[0]
            scores = [
                self.model.log_likelihoods(logits, len(prompt), pages, self.cache.pages, part)
                for part in _passes(continuations)
            ]
        finally:
            self.cache.close(pages)
        return torch.cat(scores)

    def _matcher(self, tokenizer: Tokenizer, grammar: str) -> Matcher:
        if self._grammars is None:
            self._grammars = Grammars(tokenizer, self.model.config.vocabulary_size, self.model.config.ends)
        return self._grammars.matcher(grammar)

    def _require_known(self, tokens: Sequence[int]) -> None:
        """The kernel looks nothing up that is not there."""
        vocabulary = self.model.config.vocabulary_size
        if tokens and not 0 <= min(tokens) <= max(tokens) < vocabulary:
            unknown = next(token for token in tokens if not 0 <= token < vocabulary)
            raise UnknownToken(
                f"the model has {vocabulary} tokens and none with the id {unknown}: use its own tokenizer"
            )


def _passes(continuations: Sequence[Sequence[int]]) -> Iterator[Sequence[Sequence[int]]]:
    """Parts of up to about ``_PASS`` tokens: what one pass compares grows with the square of them."""
    part: list[Sequence[int]] = []
    for tokens in continuations:
        if part and sum(map(len, part)) + len(tokens) > _PASS:
            yield part
            part = []
        part.append(tokens)
    yield part
