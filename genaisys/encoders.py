"""Data encoders: raw inputs -> vectors. They are frozen, and they compose (speech -> text -> vector).

``TextEncoder`` runs any sentence-transformers model. A passage gets one vector for the whole and one for each sentence,
all from a single pass: a sentence's vector is the mean of its tokens *as the whole passage makes them mean* ("late
chunking", Günther et al. 2024, arXiv:2409.04701). On SQuAD this ranks better than sentences encoded one by one, and it
costs nothing (``benchmarks/retrieval_quality.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from genaisys import hub
from genaisys.errors import GenaisysError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import Tensor

_TOKENS_PER_BATCH = 1024  # the activations of a layer then stay in the cache of one core; larger batches are slower


class NotAnEncoder(GenaisysError):
    """The folder holds no text encoder that can be used here."""


class DataEncoder(Protocol):
    """Turns raw inputs into vectors of unit length."""

    name: str
    dimension: int

    def encode(self, raw_inputs: Sequence[Any]) -> Tensor:
        """-> [len(raw_inputs), dimension], float32."""
        ...


@dataclass(frozen=True)
class Chain:
    """An encoder behind a step that makes its inputs, for example a transcriber: speech -> text -> vector."""

    step: Callable[[Sequence[Any]], Sequence[Any]]
    encoder: DataEncoder

    @property
    def name(self) -> str:
        return f"{getattr(self.step, 'name', getattr(self.step, '__name__', 'step'))} -> {self.encoder.name}"

    @property
    def dimension(self) -> int:
        return self.encoder.dimension

    def encode(self, raw_inputs: Sequence[Any]) -> Tensor:
        return self.encoder.encode(self.step(raw_inputs))


class TextEncoder:
    """A frozen sentence-transformers model, in bfloat16 where the processor computes in it.

    The vector of a text does not depend on the texts that are encoded with it, beyond the rounding of bfloat16 (the
    cosine between two encodings of one text is above 0.999).

    Attributes:
        name: the name or folder it was loaded by.
        dimension: the length of its vectors.
        max_tokens: what it reads in one pass. ``encode`` reads no further; ``encode_passages`` reads on, in windows.
    """

    def __init__(self, model: SentenceTransformer, name: str) -> None:
        import torch
        from tokenizers import Tokenizer

        from genaisys import encoder_attention

        self.name = name
        self.dimension = int(model.get_embedding_dimension() or 0)
        self.max_tokens = int(model.max_seq_length or 512)
        self._model = model.eval().requires_grad_(False)
        # In float32, products are MKL's, and its number of threads is one for the whole process.
        self._core_per_batch = model.dtype == torch.bfloat16 and model.device.type == "cpu"
        if self._core_per_batch:
            encoder_attention.take_over(cast(Any, model[0].model))
        # A tokenizer of our own whose settings never change, so that several threads can use it at once.
        self._tokenizer = Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str())
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.max_tokens)

    @classmethod
    def from_pretrained(cls, name: str) -> TextEncoder:
        """The encoder called ``name``: a part, a hub id or a local folder.

        Raises:
            PartMissing: it is not on this machine.
            NotAnEncoder: what is there cannot be loaded as a text encoder.
        """
        folder = hub.local_path(name)
        from sentence_transformers import SentenceTransformer
        from transformers.utils.logging import disable_progress_bar

        from genaisys.models.processor import fast_dtype

        disable_progress_bar()  # for a moment's work
        try:
            model = SentenceTransformer(
                str(folder), local_files_only=True, model_kwargs={"dtype": fast_dtype(), "use_safetensors": True}
            )
            return cls(model, name)
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise NotAnEncoder(f"{folder} is not a text encoder: {' '.join(str(error).split())[:200]}") from error

    def encode(self, raw_inputs: Sequence[str]) -> Tensor:
        """The vectors of questions or short texts. -> [len(raw_inputs), D], float32, unit length."""
        import torch

        prompt = self._model.prompts.get("query") or ""
        texts = [_readable(prompt + text) for text in raw_inputs]
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]
        vectors = torch.empty(len(ids), self.dimension)
        for batch, pooled, _ in self._forward_all(ids):
            vectors[batch] = pooled  # [b, D]
        return torch.nn.functional.normalize(vectors, dim=-1)

    def encode_passages(
        self,
        passages: Sequence[str],
        sentences: Sequence[Sequence[tuple[int, int]]],
        contexts: Sequence[str] | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """The vectors of passages and of their sentences.

        Args:
            passages: the texts.
            sentences: for each passage the spans of its sentences, as offsets into it. A passage without any counts as
                one sentence.
            contexts: for each passage where it stands (title, headings): read before it, part of no sentence.

        Returns:
            The passages' vectors [P, D], and for each passage those of its sentences [max(1, S), D]; float32, of unit
            length.
        """
        import torch

        prompt = self._model.prompts.get("document") or ""
        prefixes = [prompt + (f"{context}\n" if context else "") for context in contexts or [""] * len(passages)]
        encodings = self._tokenizer.encode_batch([_readable(p + t) for p, t in zip(prefixes, passages, strict=True)])
        spans = [
            [(len(prefix) + start, len(prefix) + end) for start, end in of_passage or [(0, len(text))]]
            for prefix, text, of_passage in zip(prefixes, passages, sentences, strict=True)
        ]
        # A passage longer than the model reads is cut into windows; its vectors are means over the tokens of them all.
        windows = [(i, window) for i, first in enumerate(encodings) for window in (first, *first.overflowing)]
        passage_sums = torch.zeros(len(passages), self.dimension)
        sentence_sums = [torch.zeros(len(of_passage), self.dimension) for of_passage in spans]
        for batch, pooled, tokens in self._forward_all([window.ids for _, window in windows]):
            for row, j in enumerate(batch):
                passage, window = windows[j]
                passage_sums[passage] += len(window.ids) * pooled[row]
                belongs = _membership(window.offsets, spans[passage])  # [S, tokens]
                sentence_sums[passage] += belongs @ tokens[row, : len(window.ids)]
        for passage, sums in enumerate(sentence_sums):
            without_tokens = ~sums.any(dim=-1)  # white space, or signs that the model does not know
            sums[without_tokens] = passage_sums[passage]
        return (
            torch.nn.functional.normalize(passage_sums, dim=-1),
            [torch.nn.functional.normalize(sums, dim=-1) for sums in sentence_sums],
        )

    def _forward_all(self, ids: Sequence[list[int]]) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Batches of indices into ``ids``, which are token sequences, with what :meth:`_forward` makes of each."""
        import torch

        from genaisys.models.processor import compute_alone

        def forward(batch: list[int]) -> tuple[list[int], Tensor, Tensor]:
            return batch, *self._forward([ids[i] for i in batch])

        batches = list(_batches([len(tokens) for tokens in ids]))
        cores = torch.get_num_threads()
        if not self._core_per_batch or cores == 1 or len(batches) < cores:
            yield from map(forward, batches)
            return
        # A batch for each core goes faster than a batch on all cores, where each step waits for the slowest of them:
        # a little on an idle machine, several times on a busy one.
        threads = ThreadPoolExecutor(cores, "encoder", initializer=compute_alone, initargs=(cores,))
        try:
            yield from threads.map(forward, batches)
        finally:  # also when Ctrl-C arrives
            threads.shutdown(cancel_futures=True)

    def _forward(self, ids: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Pooled vectors [B, D] and token vectors [B, T, D] of token sequences, float32 on the CPU."""
        import torch

        from genaisys.encoder_attention import round_up

        length = min(round_up(max(map(len, ids))), self.max_tokens)
        padding = self._model.tokenizer.pad_token_id or 0
        inputs = torch.tensor([tokens + [padding] * (length - len(tokens)) for tokens in ids])  # [B, T]
        mask = torch.tensor([[1] * len(tokens) + [0] * (length - len(tokens)) for tokens in ids])  # [B, T]
        device = self._model.device
        with torch.inference_mode():
            features = self._model[0]({"input_ids": inputs.to(device), "attention_mask": mask.to(device)})
            features["token_embeddings"] = features["token_embeddings"].float()
            for module in list(self._model)[1:]:
                features = module(features)
        return features["sentence_embedding"].float().cpu(), features["token_embeddings"].cpu()


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices in batches of similar lengths, longest first, of ``_TOKENS_PER_BATCH`` tokens with the padding."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    while order:
        size = max(1, _TOKENS_PER_BATCH // lengths[order[0]])
        yield order[:size]
        order = order[size:]


def _membership(tokens: Sequence[tuple[int, int]], sentences: Sequence[tuple[int, int]]) -> Tensor:
    """Which tokens belong to which sentences, by their spans; special tokens belong to none. -> [S, T]"""
    import torch

    token_start, token_end = torch.tensor(tokens).T  # [T]
    start, end = torch.tensor(sentences).T[..., None]  # [S, 1]
    return ((token_start < end) & (token_end > start) & (token_end > token_start)).float()


def _readable(text: str) -> str:
    """``text`` of the same length without lone surrogates, which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode("utf-8")
