"""Tokenised conversations as a data set, and their loss.

The conversations of a batch are put together into rows as long as the longest of them. They do not see each other, so
that this is the batch in which each has a row of its own, at the cost of its tokens and not of its padding.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, insort
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from genaisys.models.transformer import TransformerLM
from genaisys.models.transformer.cross_entropy import cross_entropy
from genaisys.training.finetuning.chat_tokens import Tokenised
from genaisys.training.objectives import Sums

Batch = dict[str, Tensor]


class Conversations:
    """Conversations to learn from, in batches as of :func:`batch_of`."""

    def __init__(self, conversations: Sequence[Tokenised]) -> None:
        self.conversations = conversations

    def __len__(self) -> int:
        return len(self.conversations)

    def batch(self, numbers: Sequence[int]) -> Batch:
        return batch_of([self.conversations[number] for number in numbers])

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all conversations, in hexadecimal."""
        return hashlib.sha256(repr(self.conversations).encode()).hexdigest()


def batch_of(conversations: Sequence[Tokenised]) -> Batch:
    """Conversations in rows, padded on the right:

    tokens    [B, T]
    learned   [B, T], which tokens are to be predicted; padding is not, whatever its number
    segments  [B, T], the number of the conversation that a token belongs to; -1 for padding
    """
    rows = packed([*map(len, conversations)])
    parts = [[(conversations[number], number) for number in row] for row in rows]
    tokens = [torch.tensor([token for part, _ in row for token in part.tokens]) for row in parts]
    learned = [torch.tensor([wanted for part, _ in row for wanted in part.learned]) for row in parts]
    segments = [torch.tensor([number for part, number in row for _ in part.tokens]) for row in parts]
    return {
        "tokens": nn.utils.rnn.pad_sequence(tokens, batch_first=True),
        "learned": nn.utils.rnn.pad_sequence(learned, batch_first=True),
        "segments": nn.utils.rnn.pad_sequence(segments, batch_first=True, padding_value=-1),
    }


def packed(lengths: Sequence[int]) -> list[list[int]]:
    """The numbers of ``lengths`` in rows of at most the largest: best fit, the longest first."""
    rows: list[list[int]] = []
    spaces: list[tuple[int, int]] = []  # space left and row, in their order
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        at = bisect_left(spaces, (lengths[number], -1))
        if at < len(spaces):
            space, row = spaces.pop(at)
        else:
            space, row = max(lengths), len(rows)
            rows.append([])
        rows[row].append(number)
        insort(spaces, (space - lengths[number], row))
    return rows


def learned_tokens(model: TransformerLM, batch: Batch) -> Sums:
    """``-log p`` in nats of the learned tokens, each given all before it; the metric is ``accuracy``."""
    logits, targets, _ = logits_of_learned(model, batch)
    right = (logits.argmax(-1) == targets).sum()
    return Sums(cross_entropy(logits, targets).sum(), len(targets), {"accuracy": right})


def logits_of_learned(model: TransformerLM, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Logits for the N learned tokens alone, these tokens, and their segments. -> [N, V], [N], [N]

    The head costs a small model as much as a third of its blocks: it is not computed for what is not learned.
    """
    tokens, learned, segments = batch["tokens"], batch["learned"], batch["segments"]
    shared = segments.max() >= len(segments)  # otherwise what comes before padding does not see it anyway
    features = model.features(tokens[:, :-1], segments=segments[:, :-1] if shared else None)
    wanted = learned[:, 1:]  # [B, T - 1]
    return model.head(features[wanted]), tokens[:, 1:][wanted], segments[:, 1:][wanted]
