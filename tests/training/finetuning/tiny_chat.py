"""A tiny chat model whose template begins with BOS, and whose padding is its end token, as SmolLM2's is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import nn

from genaisys.models.transformer import TransformerLM, llama
from genaisys.tokenizers import Tokenizer, character_tokenizer
from genaisys.training.finetuning.chat_tokens import ChatTokens, Tokenised
from genaisys.training.finetuning.examples import Chat
from genaisys.training.finetuning.lora import lora_layers, matrices

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message.role[0] + ':' + message.content + eos_token + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}a:{% endif %}"
)


def tokenizer(template: str | None = TEMPLATE) -> Tokenizer:
    made = character_tokenizer([])
    return Tokenizer(made.backend, made.special_tokens, chat_template=template)


def model(*, context: int = 64, tied: bool = True, seed: int = 0, **changes: Any) -> TransformerLM:
    torch.manual_seed(seed)
    words = tokenizer()
    sizes = {"layers": 2, "width": 32, "heads": 4, "kv_heads": 2, "tied_embeddings": tied} | changes
    config = llama(words.vocabulary_size, context, **sizes, bos=words.bos, pad=words.eos, ends=(words.eos,))
    return TransformerLM(config, words).eval()


def chat(*turns: str, system: str | None = None) -> Chat:
    """User and assistant in turns."""
    said = [{"role": ("user", "assistant")[number % 2], "content": text} for number, text in enumerate(turns)]
    return Chat((*([{"role": "system", "content": system}] if system else []), *said))


def tokenised(*chats: Chat, of: TransformerLM) -> list[Tokenised]:
    assert of.tokenizer is not None
    return [ChatTokens(of.tokenizer, of.config).tokenised(it) for it in chats]


def shown(example: Tokenised, words: Tokenizer) -> str:
    """The text, with what is learned in brackets."""
    text = ""
    for learned, group in groupby(zip(example.tokens, example.learned, strict=True), key=lambda pair: pair[1]):
        part = words.decode([token for token, _ in group], skip_special_tokens=False)
        text += f"[{part}]" if learned else part
    return text


def randomise_adapter(adapted: nn.Module, seed: int = 0) -> None:
    """Let the adapter change something: B is zero at first."""
    generator = torch.Generator().manual_seed(seed)
    for layer in lora_layers(adapted).values():
        for matrix in matrices(layer):
            with torch.no_grad():
                matrix.copy_(0.3 * torch.randn(matrix.shape, generator=generator))


def write_lines(file: Path, lines: Iterable[Any]) -> Path:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return file


def messages(turns: Sequence[str]) -> dict[str, Any]:
    return {"messages": list(chat(*turns).messages)}
