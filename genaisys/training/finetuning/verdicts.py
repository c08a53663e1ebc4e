"""Learning from verdicts on what the model itself writes: a policy gradient whose rewards can be verified.

A judge says of each text whether it will do. What the model p is drawn towards is q, the model as it began, without
what is refused:

    p*(y | x)  ∝  q(y | x) exp(-sigma [y is refused])

so that what is accepted stays as likely, one text beside the other: nothing is learned but what to leave. For each
prompt x the model writes some texts, and the loss is the variance among them of

    log q(y | x) - sigma [y is refused] - log p(y | x)

(the log-variance loss: Richter et al. 2020, arXiv:2010.10436). Over all texts it is 0 for p* alone; over n that p has
drawn, its gradient is 2 (1 - 1/n) times that of the divergence KL(p || p*).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch

from genaisys.models.transformer import TransformerLM
from genaisys.models.transformer.lockstep import sample_many
from genaisys.training.evaluation import modes_kept
from genaisys.training.finetuning.chat_tokens import Tokenised
from genaisys.training.finetuning.preferences import log_probs
from genaisys.training.finetuning.rows import batch_of
from genaisys.training.objectives import Objective, Sums

Prompt = Sequence[int]  # tokens, BOS included
Judge = Callable[[Sequence[int]], bool]  # of what was written after a prompt, without its end token


class Prompts:
    """What texts are to be written after; a batch is a list of them."""

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        self.prompts = prompts

    def __len__(self) -> int:
        return len(self.prompts)

    def batch(self, numbers: Sequence[int]) -> list[Prompt]:
        return [self.prompts[number] for number in numbers]

    def length(self, number: int) -> int:
        return len(self.prompts[number])

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all prompts, in hexadecimal."""
        return hashlib.sha256(repr([*map(tuple, self.prompts)]).encode()).hexdigest()


def verdict_loss(judge: Judge, reference: TransformerLM, sigma: float, draws: int) -> Objective:
    """The log-variance loss, in nats² a text; the metric ``accuracy`` is the share of texts that are accepted.

    Args:
        reference: the model as it began; it is put into eval mode, and cannot learn any more.
        sigma: how much less likely what is refused shall be beside what is accepted, in nats.
        draws: texts that are written after each prompt, two or more.
    """
    reference.eval().requires_grad_(False)

    def objective(model: TransformerLM, prompts: Sequence[Prompt]) -> Sums:
        device = model.embedding.weight.device
        with modes_kept(model):
            model.eval()  # dropout would make the two models differ by more than what was learned
            texts = written(model, prompts, draws)
            rows = _rows(model, prompts, texts)
            batch = {name: tensor.to(device) for name, tensor in batch_of(rows).items()}
            impossible = model.config.impossible  # what is never drawn has no probability
            log_p = log_probs(model, batch, impossible)  # [prompts x draws]
            with torch.no_grad():
                log_q = log_probs(reference.to(device), batch, impossible)
        verdicts = [judge(text) for after_one in texts for text in after_one]
        accepted = torch.tensor(verdicts, device=device)
        gap = (log_q - sigma * ~accepted - log_p).view(-1, draws)
        total = (gap - gap.mean(dim=1, keepdim=True)).square().sum()
        return Sums(total, len(accepted), {"accuracy": accepted.sum()})

    return objective


def written(model: TransformerLM, prompts: Sequence[Prompt], draws: int) -> list[list[list[int]]]:
    """``draws`` texts after each prompt, without their end tokens; drawn by torch's own random numbers."""
    generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
    texts: dict[int, list[list[int]]] = {}
    by_length: dict[int, list[int]] = {}
    for number, prompt in enumerate(prompts):
        by_length.setdefault(len(prompt), []).append(number)
    with torch.autocast(model.embedding.weight.device.type, enabled=False):  # sampling has an arithmetic of its own
        for numbers in by_length.values():
            given = torch.tensor([prompts[number] for number in numbers]).repeat_interleave(draws, dim=0)  # [n, P]
            drawn = iter(sample_many(model, given, len(given), generator=generator))
            texts |= {number: [next(drawn) for _ in range(draws)] for number in numbers}
    return [texts[number] for number in range(len(prompts))]


def _rows(model: TransformerLM, prompts: Sequence[Prompt], texts: Sequence[Sequence[list[int]]]) -> list[Tokenised]:
    """Each text behind its prompt, with its end token where there was room for it; the text is what is learned."""
    end, room = model.config.ends[0], model.config.context_length
    rows = []
    for prompt, of_it in zip(prompts, texts, strict=True):
        for text in of_it:
            tokens = (*prompt, *text, end)[:room]
            rows.append(Tokenised(tokens, tuple(place >= len(prompt) for place in range(len(tokens)))))
    return rows
