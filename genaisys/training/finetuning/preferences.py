"""Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290).

With the model p and the reference q, which is the same model without its adapter, the reward of an answer y to x is

    r(x, y) = beta (log p(y | x) - log q(y | x))

and the loss of a preference is ``-log sigmoid(r(x, chosen) - r(x, rejected))``: ln 2 as long as nothing is learned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from genaisys.models.transformer import TransformerLM
from genaisys.models.transformer.cross_entropy import cross_entropy
from genaisys.training.evaluation import modes_kept
from genaisys.training.finetuning.chat_tokens import Tokenised
from genaisys.training.finetuning.lora import adapter_off
from genaisys.training.finetuning.rows import Batch, batch_of, logits_of_learned
from genaisys.training.objectives import Objective, Sums


class Pairs:
    """Preferences, chosen and rejected. A batch of B pairs is one of 2 B texts: the chosen ones, then the rejected."""

    def __init__(self, pairs: Sequence[tuple[Tokenised, Tokenised]]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def batch(self, numbers: Sequence[int]) -> Batch:
        pairs = [self.pairs[number] for number in numbers]
        return batch_of([chosen for chosen, _ in pairs] + [rejected for _, rejected in pairs])

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all pairs, in hexadecimal."""
        return hashlib.sha256(repr(self.pairs).encode()).hexdigest()


def preference_loss(beta: float) -> Objective:
    """The DPO loss of a model with an adapter, in nats a pair.

    Metrics: ``accuracy``, how often the chosen answer has the larger reward; ``margin`` between the two rewards, and
    ``chosen_reward`` and ``rejected_reward`` themselves.
    """

    def objective(model: TransformerLM, batch: Batch) -> Sums:
        with modes_kept(model):
            model.eval()  # dropout would make the two models differ by more than the adapter
            policy = log_probs(model, batch)
            with adapter_off(model), torch.no_grad():
                reference = log_probs(model, batch)
        chosen, rejected = (beta * (policy - reference)).chunk(2)  # [B] each
        margin = chosen - rejected
        metrics = {
            "accuracy": (margin > 0).sum(),
            "margin": margin.sum(),
            "chosen_reward": chosen.sum(),
            "rejected_reward": rejected.sum(),
        }
        return Sums(-F.logsigmoid(margin).sum(), len(margin), metrics)

    return objective


def log_probs(model: TransformerLM, batch: Batch, impossible: Sequence[int] = ()) -> Tensor:
    """``log p`` of the learned tokens of each text, in nats; of texts without ``impossible`` tokens, if there are such.

    -> [number of texts]
    """
    logits, targets, segments = logits_of_learned(model, batch)  # [N, V], [N], [N]
    if impossible:
        logits = logits.index_fill(-1, targets.new_tensor(impossible), -torch.inf)
    losses = cross_entropy(logits, targets)
    return -losses.new_zeros(int(batch["segments"].max()) + 1).index_add(0, segments, losses)
