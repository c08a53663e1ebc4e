"""Conversations to tokens, and which of these are learned: what the assistant says, and the end of its turn.

Chat templates do not say where the assistant speaks. It is found by rendering every beginning of the conversation: up
to where the assistant is about to speak, and to where it has spoken. Each must be a prefix of the whole, or else the
model would be trained on something that it is never asked for.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from genaisys.errors import GenaisysError
from genaisys.models.transformer import TransformerConfig
from genaisys.models.transformer.generation import prompt_tokens
from genaisys.tokenizers import Tokenizer
from genaisys.training.finetuning.examples import Chat, Continuation


class ChatNotLearnable(GenaisysError):
    """The model's tokenizer or chat template does not tell what is to be learned."""


@dataclass(frozen=True)
class Tokenised:
    """An example as tokens, BOS included where there is one.

    Attributes:
        learned: for each token, whether it is to be predicted. The first never is: nothing is before it.
    """

    tokens: tuple[int, ...]
    learned: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass
class Fitted:
    """How many examples were too long: those whose first turns were left out, and those left out altogether."""

    shortened: int = 0
    skipped: int = 0


class ChatTokens:
    """Examples as the tokens of one model."""

    def __init__(self, tokenizer: Tokenizer, config: TransformerConfig) -> None:
        """
        Raises:
            ChatNotLearnable: the model knows no token that ends a text, so it would never learn to stop.
        """
        self.tokenizer, self.config = tokenizer, config
        own = () if tokenizer.eos is None else (tokenizer.eos,)
        self.ends = tuple(dict.fromkeys((*config.ends, *own)))
        if not self.ends:
            raise ChatNotLearnable("the model has no end token (EOS), so it cannot learn to stop")

    def fitting(self, examples: Sequence[Chat | Continuation], length: int, fitted: Fitted) -> list[Tokenised] | None:
        """The tokens of examples that have their prompt in common, each at most ``length``; None where that can't be.

        Of chats that are too long the first turns are left out, of all the same; the system message stays.

        Raises:
            ChatNotLearnable: see :meth:`tokenised`.
        """
        whole = [self.tokenised(example) for example in examples]
        if all(len(example) <= length for example in whole):
            return whole
        chats = [example for example in examples if isinstance(example, Chat)]
        starts = _later_starts(chats[0]) if len(chats) == len(examples) else []

        def from_start(start: int) -> list[Tokenised]:
            return [self.tokenised(_without_turns(chat, start)) for chat in chats]

        # The later the start, the shorter the chat.
        at = bisect_left(starts, True, key=lambda start: all(len(it) <= length for it in from_start(start)))
        if at == len(starts):
            fitted.skipped += 1
            return None
        fitted.shortened += 1
        return from_start(starts[at])

    def tokenised(self, example: Chat | Continuation) -> Tokenised:
        """
        Raises:
            ChatNotLearnable: the template writes a beginning of the conversation differently when it goes on, or does
                not end a turn with an end token.
            ChatTemplateFailed: there is no template, or it does not take these messages.
        """
        made = self._chat(example) if isinstance(example, Chat) else self._continuation(example)
        if max(made.tokens) >= self.config.vocabulary_size:
            raise ChatNotLearnable(
                f"the tokenizer writes token {max(made.tokens)}, and the model knows {self.config.vocabulary_size} "
                "tokens: they do not belong together"
            )
        return made

    def _continuation(self, example: Continuation) -> Tokenised:
        prompt = prompt_tokens(example.prompt, self.config, self.tokenizer) or [self.config.start]
        completion = [*self.tokenizer.encode(example.completion), self.ends[0]]
        return Tokenised((*prompt, *completion), (False,) * len(prompt) + (True,) * len(completion))

    def _chat(self, chat: Chat) -> Tokenised:
        text = self._rendered(chat.messages)
        encoding = self.tokenizer.backend.encode(text, add_special_tokens=False)
        learned = [False] * len(encoding.ids)
        place = 0
        for start, end in self._spans(chat, text):
            while encoding.offsets[place][1] <= start:
                place += 1
            place = max(place, 1)
            while encoding.ids[place] not in self.ends:
                learned[place] = True
                place += 1
                if place == len(learned) or encoding.offsets[place][0] >= end:
                    raise ChatNotLearnable(
                        "the chat template does not end the assistant's turn with an end token (EOS) of the model, so "
                        "it would not learn to stop"
                    )
            learned[place] = True  # the line break that may follow it is never generated
        return Tokenised(tuple(encoding.ids), tuple(learned))

    def _spans(self, chat: Chat, text: str) -> list[tuple[int, int]]:
        """Where in ``text`` the assistant speaks."""
        spans = []
        for number, message in enumerate(chat.messages):
            if message["role"] == "assistant" and number >= chat.first:
                before = self._rendered(chat.messages[:number], add_generation_prompt=True)
                after = self._rendered(chat.messages[: number + 1])
                if not (text.startswith(after) and after.startswith(before)):
                    raise ChatNotLearnable(
                        "the chat template writes a conversation differently once it goes on, so what the assistant "
                        "says cannot be told from the rest; give the model another chat_template.jinja"
                    )
                spans.append((len(before), len(after)))
        return spans

    def _rendered(self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = False) -> str:
        as_data = [{**message, "content": self.tokenizer.as_data(message["content"])} for message in messages]
        return self.tokenizer.render_chat(as_data, add_generation_prompt=add_generation_prompt)


def _later_starts(chat: Chat) -> list[int]:
    """The messages that a shortened chat can begin with: a user's, not the first, and part of the prompt.

    Where there is no prompt, something to learn must be left after it.
    """
    users = [number for number, message in enumerate(chat.messages) if message["role"] == "user"]
    last = max(number for number, message in enumerate(chat.messages) if message["role"] == "assistant")
    return [number for number in users[1:] if number < (chat.first or last)]


def _without_turns(chat: Chat, start: int) -> Chat:
    """The chat from the message ``start`` on, after its system message."""
    system = chat.messages[:1] if chat.messages[0]["role"] == "system" else ()
    return Chat(system + chat.messages[start:], max(chat.first - start, 0) + len(system))
