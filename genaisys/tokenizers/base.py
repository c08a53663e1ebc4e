"""Tokenizers: text to integers and back, as a thin layer over Hugging Face's ``tokenizers``.

Two kinds of text are kept apart. What people and documents say is *data*: a control token that is written in it is
ordinary text. What we write ourselves, such as a rendered chat template, may hold control tokens.

The folder that :meth:`Tokenizer.save_pretrained` writes is what ``transformers.AutoTokenizer`` reads.
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend

from genaisys.errors import GenaisysError
from genaisys.tokenizers.chat_template import ChatTemplateFailed, plain, render
from genaisys.tokenizers.streaming import TextStream

# The special tokens of every tokenizer that we make, by their names in transformers. They get the ids 0, 1, 2, 3.
SPECIAL_TOKENS = {
    "pad_token": "<|pad|>",
    "bos_token": "<|bos|>",
    "eos_token": "<|eos|>",
    "mask_token": "<|mask|>",
}

_ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_LONGEST_CONTEXT = 1 << 30  # transformers writes 10^30 where the length is not known
_TOKENIZER, _CONFIG, _LEGACY, _TEMPLATE = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)


class TokenizerBroken(GenaisysError):
    """The folder holds no tokenizer that can be used, or a broken one."""


class VocabularyTooSmall(GenaisysError):
    """The vocabulary has no room for what must be in it."""


class Tokenizer:
    """Text to token ids and back. Several threads may share one.

    Attributes:
        backend: the tokenizer of the ``tokenizers`` library.
        special_tokens: the special tokens by their role, as transformers names it (``bos_token``, ``eos_token`` …).
        chat_template: the jinja2 source of the chat template.
        context_length: the number of tokens that its model reads, where that is known.
        vocabulary_size: one more than the largest id, added tokens included.
        special_ids: the ids of all special tokens.
    """

    def __init__(
        self,
        backend: Backend,
        special_tokens: Mapping[str, str] | None = None,
        *,
        chat_template: str | None = None,
        context_length: int | None = None,
    ) -> None:
        """Take over ``backend``: the named special tokens are added to it, truncation and padding are switched off."""
        self.special_tokens = dict(special_tokens or {})
        self.chat_template = chat_template
        self.context_length = context_length
        self.backend = backend
        marked = {token.content for token in backend.get_added_tokens_decoder().values() if token.special}
        backend.add_special_tokens([token for token in self.special_tokens.values() if token not in marked])
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = False
        special = {id: token.content for id, token in backend.get_added_tokens_decoder().items() if token.special}
        self.special_ids = frozenset(special)
        # The character at which one begins, wherever that is: special tokens may overlap.
        self._begins = re.compile(f"(?={'|'.join(map(re.escape, special.values())) or '(?!)'}).", re.DOTALL)
        self.vocabulary_size = 1 + max(backend.get_vocab().values(), default=-1)

    def __repr__(self) -> str:
        return f"Tokenizer({type(self.backend.model).__name__}, vocabulary_size={self.vocabulary_size})"

    def __reduce__(self) -> tuple[Any, ...]:  # the setting of the data backend would be lost
        return _restore, (self.backend, self.special_tokens, self.chat_template, self.context_length)

    @cached_property
    def _data_backend(self) -> Backend:
        # Whether special tokens are found in a text is a setting of a backend, which threads must not switch.
        backend = Backend.from_str(self.backend.to_str())
        backend.encode_special_tokens = True
        return backend

    @property
    def bos(self) -> int | None:
        """The id of the token that begins a sequence."""
        return self._id("bos_token")

    @property
    def eos(self) -> int | None:
        """The id of the token that ends a sequence."""
        return self._id("eos_token")

    @property
    def pad(self) -> int | None:
        """The id of the token that fills up a batch."""
        return self._id("pad_token")

    @property
    def mask(self) -> int | None:
        """The id of the token that hides another."""
        return self._id("mask_token")

    def encode(self, text: str) -> list[int]:
        """The tokens of ``text`` as data: no special token is added, and none is read in it."""
        return self._data_backend.encode(encodable(text), add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """:meth:`encode` for many texts, on all cores."""
        encodings = self._data_backend.encode_batch_fast([*map(encodable, texts)], add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def encode_with_special_tokens(self, text: str) -> list[int]:
        """The tokens of a text of our own making: special tokens that are written in it are read, none is added."""
        return self.backend.encode(encodable(text), add_special_tokens=False).ids

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of ``ids``; ids that are not in the vocabulary have none."""
        return self.backend.decode(list(ids), skip_special_tokens=skip_special_tokens)

    def stream(self, *, skip_special_tokens: bool = True) -> TextStream:
        """A decoder for tokens that come one by one: ``push(token)`` gives the characters that are whole by then."""
        return TextStream(self.backend, self.special_ids if skip_special_tokens else frozenset())

    def as_data(self, text: str) -> str:
        """``text`` with its special tokens broken up by a space, for putting it into a text of our own making."""
        return self._begins.sub(r"\g<0> ", encodable(text))

    def render_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> str:
        """The conversation in the model's chat template, its contents unchanged.

        Args:
            messages: in OpenAI's form, ``{"role": …, "content": …}``.
            add_generation_prompt: go on to where the model's reply begins.
            tools: JSON schemas of the functions that the model may call.

        Raises:
            ChatTemplateFailed: there is no template, or it does not take these messages.
        """
        return self._render(plain(messages), plain(tools), add_generation_prompt)

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[int]:
        """The tokens of the conversation in the model's chat template; see :meth:`render_chat`.

        Special tokens in messages and tools are broken up first: a document must not be able to end its own turn. All
        special tokens of the result are the template's; no BOS is added to the one that it may write.

        Raises:
            ChatTemplateFailed: there is no template, or it does not take these messages.
        """
        chat = self._render(plain(messages, self.as_data), plain(tools, self.as_data), add_generation_prompt)
        return self.encode_with_special_tokens(chat)

    @classmethod
    def from_pretrained(cls, folder: Path) -> "Tokenizer":
        """The tokenizer in ``folder``: ``tokenizer.json`` and, where they are there, the settings beside it.

        Raises:
            TokenizerBroken: there is no ``tokenizer.json``, or a file is broken.
        """
        folder = Path(folder)
        try:
            backend = Backend.from_str(_read(folder / _TOKENIZER))
        except (GenaisysError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # the library raises no narrower one, and a panic of Rust is no Exception
            reason = " ".join(str(error).split())[:200]
            raise TokenizerBroken(f"{folder / _TOKENIZER} is not a tokenizer: {reason}") from error
        config = {**_read_json(folder / _LEGACY), **_read_json(folder / _CONFIG)}
        special_tokens = {role: content for role in _ROLES if (content := _content(config.get(role), role, folder))}
        template = _read(folder / _TEMPLATE) if (folder / _TEMPLATE).is_file() else _template(config, folder)
        length = config.get("model_max_length")
        known = type(length) is int and 0 < length < _LONGEST_CONTEXT
        return cls(backend, special_tokens, chat_template=template, context_length=length if known else None)

    def save_pretrained(self, folder: Path) -> None:
        """Write the files from which :meth:`from_pretrained` and ``transformers.AutoTokenizer`` make this tokenizer."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", **self.special_tokens}
        config["clean_up_tokenization_spaces"] = False  # decoding gives back what was encoded
        if self.context_length is not None:
            config["model_max_length"] = self.context_length
        (folder / _TOKENIZER).write_text(self.backend.to_str(), encoding="utf-8")
        settings = json.dumps(config, indent=2, ensure_ascii=False, sort_keys=True)
        (folder / _CONFIG).write_text(settings + "\n", encoding="utf-8")
        (folder / _LEGACY).unlink(missing_ok=True)  # of a tokenizer that was here before
        if self.chat_template is None:
            (folder / _TEMPLATE).unlink(missing_ok=True)
        else:
            (folder / _TEMPLATE).write_text(self.chat_template, encoding="utf-8", newline="")

    def _id(self, role: str) -> int | None:
        token = self.special_tokens.get(role)
        return None if token is None else self.backend.token_to_id(token)

    def _render(self, messages: list[dict[str, Any]], tools: Any, add_generation_prompt: bool) -> str:
        if self.chat_template is None:
            raise ChatTemplateFailed("this tokenizer has no chat template: its model was not trained to chat")
        if not messages:
            raise ChatTemplateFailed("a conversation needs at least one message")
        # Templates ask whether a key is there, and write "None" where its value is.
        present = [{key: value for key, value in message.items() if value is not None} for message in messages]
        variables = {**self.special_tokens, "messages": present, "tools": tools, "documents": None}
        return render(self.chat_template, {**variables, "add_generation_prompt": add_generation_prompt})


def encodable(text: str) -> str:
    """``text`` without lone surrogates, which broken file names and files bring, and which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode()


def _restore(
    backend: Backend, special_tokens: Mapping[str, str], chat_template: str | None, context_length: int | None
) -> Tokenizer:
    return Tokenizer(backend, special_tokens, chat_template=chat_template, context_length=context_length)


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except OSError as error:
        raise TokenizerBroken(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TokenizerBroken(f"{file} is broken: it is not UTF-8 text") from error


def _read_json(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        content = json.loads(_read(file))
    except (ValueError, RecursionError) as error:
        raise TokenizerBroken(f"{file} is broken: it is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise TokenizerBroken(f"{file} is broken: it holds no settings")
    return content


def _content(token: Any, role: str, folder: Path) -> str | None:
    """A special token, which the settings give as a string or as a dict."""
    content = token.get("content") if isinstance(token, dict) else token
    if content is None or isinstance(content, str):
        return content
    raise TokenizerBroken(f"{folder / _CONFIG} is broken: its {role} is not a string")


def _template(config: dict[str, Any], folder: Path) -> str | None:
    """The chat template among the settings: a string, or the default of a list of named ones."""
    template = config.get("chat_template")
    if isinstance(template, list):
        named = {item.get("name"): item.get("template") for item in template if isinstance(item, dict)}
        template = named.get("default")
    if template is None or isinstance(template, str):
        return template
    raise TokenizerBroken(f"{folder / _CONFIG} is broken: its chat_template is not a string")
