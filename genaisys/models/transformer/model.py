"""The transformer: one model for teenyGPT, SMILES, and checkpoints of the Llama family.

Read from top to bottom: attention, MLP, block, model. The model is a density over token sequences (book section 3.3):

    log p(x) = sum_t log p(x_t | BOS, x_1, ..., x_{t-1})

A sequence does not hold BOS, which the model reads before it, and ends with an end token or where the context is full;
then follows padding, which costs nothing. With ``causal=False`` the same blocks are an encoder.

This file is the model as it is trained and defined. Generation runs on a packed copy of its weights
(``inference.py``), which is tested to give the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genaisys.models.base import Density, GenerativeModel, Likelihood
from genaisys.models.spaces import Tokens
from genaisys.models.transformer.activations import ACTIVATIONS
from genaisys.models.transformer.attention import attend
from genaisys.models.transformer.checkpoint import load_weights, open_checkpoint, save_checkpoint
from genaisys.models.transformer.config import TransformerConfig
from genaisys.models.transformer.cross_entropy import cross_entropy
from genaisys.models.transformer.rotary import angles, frequencies, rotate

if TYPE_CHECKING:
    from genaisys.models.transformer.generated import Generated
    from genaisys.tokenizers import Tokenizer

MASKED_SHARE = 0.15  # of the tokens that the masked loss hides, as in BERT


class Attention(nn.Module):
    """Multi-head self-attention; several heads of queries may share one of keys and values (book eq. 3.17-3.19)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        queries, keys = config.heads * config.head_width, config.kv_heads * config.head_width
        self.head_width = config.head_width
        self.dropout = config.dropout
        self.query = nn.Linear(config.width, queries, bias=config.query_bias)
        self.key = nn.Linear(config.width, keys, bias=config.query_bias)
        self.value = nn.Linear(config.width, keys, bias=config.query_bias)
        self.output = nn.Linear(queries, config.width, bias=config.output_bias)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor] | None, mask: Tensor | None, causal: bool) -> Tensor:
        heads = (-1, self.head_width)
        query, key, value = (
            layer(x).unflatten(-1, heads).transpose(1, 2)  # [B, H, T, d]
            for layer in (self.query, self.key, self.value)
        )
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        mixed = attend(query, key, value, mask, causal, self.dropout if self.training else 0.0)
        return self.output(mixed.transpose(1, 2).flatten(2))  # [B, T, D]


class MLP(nn.Module):
    """``down(act(up x))``, or gated ``down(act(gate x) * up x)`` (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.activate = ACTIVATIONS[config.activation]
        self.gate = nn.Linear(config.width, config.hidden, bias=config.mlp_bias) if config.gated else None
        self.up = nn.Linear(config.width, config.hidden, bias=config.mlp_bias)
        self.down = nn.Linear(config.hidden, config.width, bias=config.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.gate is None:
            return self.down(self.activate(self.up(x)))
        return self.down(self.activate(self.gate(x)) * self.up(x))


class Block(nn.Module):
    """Attention, then the MLP, each added to the stream and normalised before it (pre) or after the sum (post)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.post = config.norm_place == "post"
        self.attention_norm = norm(config)
        self.attention = Attention(config)
        self.mlp_norm = norm(config)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor] | None, mask: Tensor | None, causal: bool) -> Tensor:
        if self.post:
            x = self.attention_norm(x + self.dropout(self.attention(x, rotation, mask, causal)))
            return self.mlp_norm(x + self.dropout(self.mlp(x)))
        x = x + self.dropout(self.attention(self.attention_norm(x), rotation, mask, causal))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


class TransformerLM(GenerativeModel, Density):
    """A transformer over token sequences: a decoder, and with ``causal=False`` an encoder.

    Attributes:
        config: its shape.
        tokenizer: what turns text into its tokens, where there is one.
    """

    likelihood: Likelihood = "exact"

    def __init__(self, config: TransformerConfig, tokenizer: Tokenizer | None = None) -> None:
        super().__init__()
        self.config = config
        self.space: Tokens = Tokens(config.context_length - 1, config.vocabulary_size)  # BOS has a place too
        self.tokenizer = tokenizer
        self.embedding = nn.Embedding(config.vocabulary_size, config.width)
        learned = config.positions == "learned"
        self.positions = nn.Embedding(config.context_length, config.width) if learned else None
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = norm(config) if config.norm_place == "pre" else nn.Identity()
        self.head = nn.Linear(config.width, config.vocabulary_size, bias=False)
        self.register_buffer("turning", frequencies(config), persistent=False)  # [head_width / 2]
        self.turning: Tensor
        self._initialise()
        if config.tied_embeddings:
            self.head.weight = self.embedding.weight

    # -- files

    @classmethod
    def from_pretrained(cls, name: str | Path, dtype: torch.dtype = torch.float32) -> TransformerLM:
        """The model called ``name``: a part, a hub id in the cache, a Hugging Face checkpoint's folder, a GGUF file.

        It is in eval mode, without dropout.

        Raises:
            GenaisysError: see :func:`genaisys.models.transformer.checkpoint.open_checkpoint`.
        """
        checkpoint = open_checkpoint(name)
        tokenizer = checkpoint.tokenizer()
        with torch.device("meta"):  # the weights come from the files: none are drawn
            model = cls(checkpoint.config, tokenizer)
        load_weights(model, checkpoint, dtype)
        return model.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a checkpoint that ``transformers.AutoModelForCausalLM`` reads as well, with the tokenizer beside it.

        Raises:
            GenaisysError: see :func:`genaisys.models.transformer.checkpoint.save_checkpoint`.
        """
        save_checkpoint(self, Path(folder))

    # -- the network

    def forward(self, tokens: Tensor, *, causal: bool = True, segments: Tensor | None = None) -> Tensor:
        """Logits of the token after each (of the token itself, with ``causal=False``). [B, T] -> [B, T, V]

        Args:
            segments: [B, T], for sequences packed one behind the other: a token sees its own segment only, and places
                count from the segment's beginning. Equal numbers, side by side, are one segment; -1 is padding.
        """
        return self.head(self.features(tokens, causal=causal, segments=segments))

    def features(self, tokens: Tensor, *, causal: bool = True, segments: Tensor | None = None) -> Tensor:
        """What the head reads: one vector a token. [B, T] -> [B, T, width]

        Raises:
            ValueError: the sequence is longer than the context.
        """
        length = tokens.shape[1]
        if length > self.config.context_length:
            raise ValueError(f"{length} tokens do not fit into a context of {self.config.context_length}")
        places = _places(tokens, segments)  # [T] or [B, T]
        x = self.embedding(tokens)
        rotation = None
        if self.positions is not None:
            x = x + self.positions(places)
        else:
            rotation = angles(self.turning, places)  # two of [..., T, d / 2]
            if segments is not None:
                rotation = rotation[0][:, None], rotation[1][:, None]  # [B, 1, T, d / 2], for all heads
        mask = _mask(tokens, causal, self.config.window, segments)
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, rotation, mask, causal)
        return self.norm(x)

    # -- the density

    def loss(self, x: Tensor, *, condition: Any = None) -> Tensor:
        """The causal loss, the masked loss, or their weighted sum (book section 11.2.2), in nats a sequence. -> [B]

        Args:
            x: [B, T] sequences without BOS, padded.
        """
        self._require_conditions(condition, len(x))
        loss = x.new_zeros(len(x), dtype=torch.float)
        if self.config.causal_weight:
            loss = loss + self.config.causal_weight * self.causal_loss(x)
        if self.config.masked_weight:
            loss = loss + self.config.masked_weight * self.masked_loss(x)
        return loss

    def causal_loss(self, x: Tensor) -> Tensor:
        """``-log p(x)``, where nothing is impossible: so even BOS and padding learn never to be said. -> [B]"""
        logits = self(self._shifted(x))  # [B, T, V]
        return _sum_cross_entropy(logits, x, self.counted(x))

    def masked_loss(self, x: Tensor) -> Tensor:
        """``-sum log p(x_m | the rest)`` over hidden tokens m, all hidden at once as in BERT. -> [B]

        A share of 15 % of each sequence is hidden, drawn anew each time, and at least one token.
        """
        counted = self.counted(x)  # [B, T]
        order = torch.rand(x.shape, device=x.device).masked_fill(~counted, 2.0)
        drawn = (MASKED_SHARE * counted.sum(-1)).ceil().long()  # [B]
        hidden = counted & (order.argsort(-1).argsort(-1) < drawn[:, None])  # [B, T]
        tokens = torch.cat([self._start(x), x.masked_fill(hidden, self.config.mask or 0)], dim=1)  # [B, 1 + T]
        segments = F.pad(counted.long() - 1, (1, 0))  # BOS and tokens 0, padding -1
        logits = self(tokens, causal=False, segments=segments)[:, 1:]  # [B, T, V]
        return _sum_cross_entropy(logits, x, hidden)

    def log_prob(self, x: Tensor, *, condition: Any = None) -> Tensor:
        """``log p(x)`` in nats, exact: it sums to one over all sequences that end, or fill the context. -> [B]

        Args:
            x: [B, T] sequences without BOS, padded.
        """
        self._require_conditions(condition, len(x))
        logits = self(self._shifted(x))  # [B, T, V]
        if self.config.impossible:
            logits = logits.index_fill(-1, x.new_tensor(self.config.impossible), -torch.inf)
        return -_sum_cross_entropy(logits, x, self.counted(x))

    def counted(self, x: Tensor) -> Tensor:
        """Which tokens belong to the sequences, and are no padding. [B, T] -> [B, T], bool

        A checkpoint without a padding token of its own is padded by repeating an end token.
        """
        if self.config.pad is not None and self.config.pad not in self.config.ends:
            return x != self.config.pad
        end = torch.isin(x, x.new_tensor(self.config.ends))
        only_ends_follow = end.flip(1).cumprod(1).flip(1).bool()
        return ~(only_ends_follow & F.pad(end, (1, 0))[:, :-1])

    def _sample(self, n: int, *, condition: Any, beginning: Sequence[int] = (), temperature: float = 1.0) -> Tensor:
        """``n`` sequences with their end tokens, padded. -> [n, context_length - 1] or shorter, by the longest

        Args:
            beginning: tokens that each sequence begins with.
            temperature: 1 samples the density itself; below 1 likely tokens become likelier, 0 takes the likeliest.
        """
        from genaisys.models.transformer.generation import Sampling, generate

        seeds = torch.randint(2**62, (n,)).tolist()
        prompt = [self.config.start, *beginning]
        room = max(0, self.config.context_length - len(prompt))
        requests = [(prompt, Sampling(max_new_tokens=room, temperature=temperature, seed=seed)) for seed in seeds]
        rows = [torch.zeros(0, dtype=torch.long)]  # there may be none
        for generated in generate(self, requests):
            end = [] if generated.end_token is None else [generated.end_token]
            rows.append(torch.tensor([*beginning, *generated.tokens, *end], dtype=torch.long))
        pad = self.config.pad if self.config.pad is not None else self.config.ends[0] if self.config.ends else 0
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad)[1:]

    def generate(self, prompts: Sequence[str] | Sequence[Sequence[int]], **settings: Any) -> list[Generated]:
        """A text for each prompt, in float32 and together; see :class:`Engine` for generating much.

        Args:
            prompts: texts, where there is a tokenizer, or token ids with their BOS.
            settings: as in :class:`Sampling`: ``max_new_tokens``, ``temperature``, ``seed`` …

        Raises:
            PromptTooLong: a prompt fills the context.
        """
        from genaisys.models.transformer.generation import Sampling, generate, prompt_tokens

        ids = [prompt_tokens(prompt, self.config, self.tokenizer) for prompt in prompts]
        return generate(self, [(prompt, Sampling(**settings)) for prompt in ids])

    def _start(self, x: Tensor) -> Tensor:
        return x.new_full((len(x), 1), self.config.start)

    def _shifted(self, x: Tensor) -> Tensor:
        return torch.cat([self._start(x), x[:, :-1]], dim=1)

    def _initialise(self) -> None:
        """GPT-2's: normal with 0.02, and what is added to the stream scaled down by its depth.

        In post-norm models no stream grows, and matrices so small learn slowly. They keep PyTorch's own weights, as in
        the book, but for the head: at first all tokens are nearly equally likely. For that tied embeddings must be
        small, and so all the rest.
        """
        small = self.config.norm_place == "pre" or self.config.tied_embeddings
        for name, parameter in self.named_parameters():
            if not small and name != "head.weight":
                continue
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.dim() > 1:
                added = name.endswith(("output.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * self.config.layers) ** 0.5 if added else 0.02)


def norm(config: TransformerConfig) -> nn.Module:
    """The normalisation of one vector a token."""
    if config.norm == "rms":
        return nn.RMSNorm(config.width, eps=config.norm_epsilon)
    return nn.LayerNorm(config.width, eps=config.norm_epsilon)


def _sum_cross_entropy(logits: Tensor, targets: Tensor, counted: Tensor) -> Tensor:
    """Sum over each row's counted tokens. [B, T, V], [B, T], [B, T] -> [B]"""
    losses = cross_entropy(logits.flatten(0, 1), targets.masked_fill(~counted, -1).flatten())
    return losses.view_as(targets).sum(-1)


def _places(tokens: Tensor, segments: Tensor | None) -> Tensor:
    """Where each token stands in its sequence. -> [T], or [B, T] where sequences are packed"""
    places = torch.arange(tokens.shape[1], device=tokens.device)
    if segments is None:
        return places
    begins = F.pad(segments[:, 1:] != segments[:, :-1], (1, 0))  # [B, T]
    return places - (begins * places).cummax(dim=1).values


def _mask(tokens: Tensor, causal: bool, window: int | None, segments: Tensor | None) -> Tensor | None:
    """Which token may see which: [T, T] or [B, 1, T, T], True where it may; None for all, or for all before it."""
    if window is not None and window >= tokens.shape[1]:
        window = None
    if segments is None and window is None:
        return None
    places = torch.arange(tokens.shape[1], device=tokens.device)
    back = places[:, None] - places  # [T, T]
    seen = torch.ones_like(back, dtype=torch.bool)
    if causal:
        seen &= back >= 0
    if window is not None:
        seen &= back.abs() < window
    if segments is None:
        return seen
    return (seen & (segments[:, :, None] == segments[:, None, :]))[:, None]
