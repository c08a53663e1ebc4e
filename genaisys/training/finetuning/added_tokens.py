"""Tokens that a model has not known: rows of its embedding and head, which are trained while the others stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend
from torch import Tensor, nn

from genaisys.models.spaces import Tokens
from genaisys.models.transformer import TransformerLM
from genaisys.tokenizers import Tokenizer


def add_tokens(model: TransformerLM, tokens: Sequence[str]) -> list[int]:
    """Let ``model`` and its tokenizer know ``tokens``; gives their numbers, also of those that it has known before.

    They are ordinary text, found wherever it is encoded. Each that is new begins as the mean of all tokens.
    """
    return _add(model, [AddedToken(token, normalized=False) for token in dict.fromkeys(tokens)])


def add_special_tokens(model: TransformerLM, tokens: Sequence[str]) -> list[int]:
    """:func:`add_tokens` for control tokens, which are never read in data."""
    return _add(model, [AddedToken(token, normalized=False, special=True) for token in dict.fromkeys(tokens)])


def _add(model: TransformerLM, tokens: Sequence[AddedToken]) -> list[int]:
    old = model.tokenizer
    assert old is not None
    backend = Backend.from_str(old.backend.to_str())
    new = [token for token in tokens if backend.token_to_id(token.content) is None]
    backend.add_tokens(new)
    model.tokenizer = Tokenizer(
        backend, old.special_tokens, chat_template=old.chat_template, context_length=old.context_length
    )
    resize_vocabulary(model, max(model.config.vocabulary_size, model.tokenizer.vocabulary_size))
    with torch.no_grad():
        for matrix in {model.embedding.weight, model.head.weight}:
            known = torch.ones(len(matrix), dtype=torch.bool)
            known[_numbers(backend, new)] = False
            matrix[~known] = matrix[known].mean(dim=0)
    return _numbers(backend, tokens).tolist()


def _numbers(backend: Backend, tokens: Sequence[AddedToken]) -> Tensor:
    return torch.tensor([backend.token_to_id(token.content) for token in tokens], dtype=torch.long)


def resize_vocabulary(model: TransformerLM, size: int) -> None:
    """Cut the embedding and the head off at ``size`` tokens, or extend them by rows of zeros."""
    if size == model.config.vocabulary_size:
        return
    embedding, head = (_resized(layer.weight.detach(), size) for layer in (model.embedding, model.head))
    model.embedding.weight, model.embedding.num_embeddings = nn.Parameter(embedding), size
    tied = model.config.tied_embeddings
    model.head.weight, model.head.out_features = model.embedding.weight if tied else nn.Parameter(head), size
    model.config = replace(model.config, vocabulary_size=size)
    model.space = Tokens(model.space.length, size)


def train_rows(model: TransformerLM, numbers: Sequence[int]) -> None:
    """Make the rows of the given tokens parameters of their own; the head shares them where it is tied."""
    embedding = TrainedEmbedding(model.embedding, numbers)
    head = TrainedHead(model.head, numbers, embedding.rows if model.config.tied_embeddings else None)
    model.embedding, model.head = embedding, head  # type: ignore[assignment]


class TrainedEmbedding(nn.Module):
    """An embedding with some rows of its own.

    Attributes:
        rows: [n, width], in the place of the rows ``numbers`` of the base.
    """

    def __init__(self, base: nn.Embedding, numbers: Sequence[int]) -> None:
        super().__init__()
        self.base = base
        self.numbers = list(numbers)
        self.rows = nn.Parameter(base.weight.detach()[self.numbers].clone())
        slots = torch.full((base.num_embeddings,), -1)
        slots[self.numbers] = torch.arange(len(self.numbers))
        self.register_buffer("slots", slots, persistent=False)  # [V], the row of a token, or -1
        self.slots: Tensor

    def forward(self, tokens: Tensor) -> Tensor:
        slots = self.slots[tokens]
        own = nn.functional.embedding(slots.clamp(min=0), self.rows)
        return torch.where(slots[..., None] >= 0, own, self.base(tokens))

    def plain(self) -> nn.Embedding:
        """One whose weights hold the rows."""
        return nn.Embedding.from_pretrained(_with_rows(self.base.weight, self.numbers, self.rows))


class TrainedHead(nn.Module):
    """A head with some rows of its own, or those of the embedding."""

    def __init__(self, base: nn.Linear, numbers: Sequence[int], rows: nn.Parameter | None) -> None:
        super().__init__()
        self.base = base
        self.numbers = list(numbers)
        self.rows = nn.Parameter(base.weight.detach()[self.numbers].clone()) if rows is None else rows

    def forward(self, x: Tensor) -> Tensor:
        logits = self.base(x)
        own = nn.functional.linear(x, self.rows).to(logits.dtype)
        return logits.index_copy(-1, torch.tensor(self.numbers, device=x.device), own)

    def plain(self) -> nn.Linear:
        """One whose weights hold the rows."""
        layer = nn.Linear(self.base.in_features, self.base.out_features, bias=False, device="meta")
        layer.weight = nn.Parameter(_with_rows(self.base.weight, self.numbers, self.rows))
        return layer


def _with_rows(weight: Tensor, numbers: Sequence[int], rows: Tensor) -> Tensor:
    weight = weight.detach().clone()
    weight[list(numbers)] = rows.detach()
    return weight


def _resized(weight: Tensor, size: int) -> Tensor:
    return torch.cat([weight[:size], weight.new_zeros(max(size - len(weight), 0), weight.shape[1])])
