"""The tokenizer in a GGUF file, which holds vocabulary and merges, and only the name of the rule that cuts words."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.pre_tokenizers import PreTokenizer

from genaisys.hub.checkpoints import CheckpointBroken, CheckpointUnsupported
from genaisys.hub.gguf import GGUFFile

_CONTROL, _USER_DEFINED, _UNUSED = 3, 4, 5
_ROLES = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token", "mask": "mask_token"}

# The words of GPT-4's tokenizer, from which those of Llama 3 and Qwen2 differ by how many digits they take together.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, slots=True)
class GGUFTokenizer:
    """What a tokenizer is made of.

    Attributes:
        special_tokens: by their roles, as transformers names them.
        context_length: the number of tokens that the model reads.
    """

    backend: Tokenizer
    special_tokens: dict[str, str]
    chat_template: str | None
    context_length: int | None

    def save(self, folder: Path) -> None:
        """Write the files that ``transformers.AutoTokenizer`` reads."""
        settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", **self.special_tokens}
        settings |= {"clean_up_tokenization_spaces": False, "model_max_length": self.context_length}
        settings = {name: value for name, value in settings.items() if value is not None}
        (folder / "tokenizer.json").write_text(self.backend.to_str(), "utf-8")
        (folder / "tokenizer_config.json").write_text(
            json.dumps(settings, indent=2, ensure_ascii=False) + "\n", "utf-8"
        )
        if self.chat_template is not None:
            (folder / "chat_template.jinja").write_text(self.chat_template, "utf-8", newline="")


def read_tokenizer(file: GGUFFile) -> GGUFTokenizer:
    """The tokenizer of ``file``, which must be a byte-level BPE.

    Raises:
        CheckpointBroken: something that a tokenizer needs is not there, or makes no sense.
        CheckpointUnsupported: it is of another kind, or cuts texts by a rule that is not known here.
    """
    kind = _metadata(file, "model", str)
    if kind != "gpt2":
        raise CheckpointUnsupported(f"{file.path} has a {kind!r} tokenizer; only byte-level BPE ('gpt2') is read")
    rule = _metadata(file, "pre", str)
    if rule not in _RULES:
        known = ", ".join(_RULES)
        raise CheckpointUnsupported(f"{file.path} cuts words as {rule!r}, which is not known; known are {known}")
    tokens, kinds = _metadata(file, "tokens", list), _metadata(file, "token_type", list)
    merges: Any = [tuple(str(merge).split(" ")) for merge in _metadata(file, "merges", list)]
    if len(kinds) != len(tokens):
        raise CheckpointBroken(f"{file.path} is broken: it has {len(tokens)} tokens and kinds for {len(kinds)}")
    vocabulary = {token: id for id, (token, kind) in enumerate(zip(tokens, kinds, strict=True)) if kind != _UNUSED}
    try:
        backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=rule in _WHOLE_WORDS_FIRST))
    except Exception as error:  # the library raises nothing narrower
        reason = " ".join(str(error).split())[:200]
        raise CheckpointBroken(f"{file.path} is broken: its tokenizer cannot be made ({reason})") from error
    _RULES[rule](backend)
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens(
        [
            AddedToken(token, normalized=False, special=kind == _CONTROL)
            for token, kind in zip(tokens, kinds, strict=True)
            if kind in (_CONTROL, _USER_DEFINED)
        ]
    )
    special_tokens = _special_tokens(file, tokens)
    if file.metadata.get("tokenizer.ggml.add_bos_token") is True and (bos := special_tokens.get("bos_token")):
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokens.index(bos))]
        )
    template = file.metadata.get("tokenizer.chat_template")
    length = file.metadata.get(f"{file.metadata.get('general.architecture')}.context_length")
    return GGUFTokenizer(
        backend,
        special_tokens,
        template if isinstance(template, str) else None,
        length if isinstance(length, int) else None,
    )


def _special_tokens(file: GGUFFile, tokens: list[str]) -> dict[str, str]:
    special_tokens = {}
    for name, role in _ROLES.items():
        id = file.metadata.get(f"tokenizer.ggml.{name}_token_id")
        if isinstance(id, int) and 0 <= id < len(tokens):
            special_tokens[role] = tokens[id]
    return special_tokens


def _metadata(file: GGUFFile, name: str, kind: type) -> Any:
    value = file.metadata.get(f"tokenizer.ggml.{name}")
    if not isinstance(value, kind):
        raise CheckpointBroken(f"{file.path} has no tokenizer that can be used: tokenizer.ggml.{name} is missing")
    return value


# -- the rules that cut a text into words


def _gpt2(backend: Tokenizer) -> None:
    backend.pre_tokenizer = _bytes(use_regex=True)


def _smollm(backend: Tokenizer) -> None:
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), _bytes(use_regex=True)]
    )


def _llama3(backend: Tokenizer) -> None:
    backend.pre_tokenizer = _split(_WORDS.format(digits="{1,3}"))


def _qwen2(backend: Tokenizer) -> None:
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = _split(_WORDS.format(digits=""))


def _split(words: str) -> PreTokenizer:
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(words), behavior="isolated"), _bytes(use_regex=False)])


def _bytes(use_regex: bool) -> PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


_RULES: dict[str, Callable[[Tokenizer], None]] = {
    "gpt-2": _gpt2,
    "smollm": _smollm,
    "llama-bpe": _llama3,
    "llama3": _llama3,
    "llama-v3": _llama3,
    "qwen2": _qwen2,
}
_WHOLE_WORDS_FIRST = frozenset({"llama-bpe", "llama3", "llama-v3"})  # looks a word up before it merges
