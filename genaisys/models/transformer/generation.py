"""Generating with a :class:`TransformerLM`, exactly as it is: in float32, from its weights of this moment.

To generate much with a large model, load an :class:`Engine`, which packs the weights once and to int8.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from genaisys.errors import GenaisysError
from genaisys.models.memory import give_back_freed_memory
from genaisys.models.transformer.checkpoint import open_checkpoint
from genaisys.models.transformer.config import TransformerConfig, llama
from genaisys.models.transformer.engine import MEMORY_LIMIT, SLOTS, Engine
from genaisys.models.transformer.generated import Generated
from genaisys.models.transformer.inference import PackedTransformer
from genaisys.models.transformer.model import TransformerLM
from genaisys.models.transformer.sampling import Sampling
from genaisys.tokenizers import Tokenizer


def generate(model: TransformerLM, requests: Iterable[tuple[Sequence[int], Sampling]]) -> list[Generated]:
    """A text for each prompt, in their order."""
    weights = {name: tensor.cpu() for name, tensor in model.state_dict().items()}  # a trained model may be on a GPU
    packed = PackedTransformer(model.config, weights, quantise=False)
    return Engine(packed, model.tokenizer).run(requests)


def load_engine(name: str | Path, *, slots: int = SLOTS, memory_limit: int = MEMORY_LIMIT) -> Engine:
    """An engine for the checkpoint called ``name``, a part, hub id, folder or GGUF file, with int8 weights.

    Raises:
        PartMissing, PartDamaged: see :func:`genaisys.hub.local_path`.
        CheckpointBroken: the weights cannot be used.
    """
    checkpoint = open_checkpoint(name)
    packed = PackedTransformer(checkpoint.config, checkpoint, quantise=True)
    engine = Engine(packed, checkpoint.tokenizer(), slots=slots, memory_limit=memory_limit)
    give_back_freed_memory()
    return engine


def compile_kernel() -> None:
    """Compile the kernel for int8 weights now, some seconds' work, so that nobody waits for it at the first answer."""
    config = llama(8, 8, layers=1, width=64, heads=1)
    model = TransformerLM(config)
    Engine(PackedTransformer(config, model.state_dict(), quantise=True)).run([([0], Sampling(max_new_tokens=1))])


class NoTokenizer(GenaisysError):
    """The model has no tokenizer, and was given a text."""


def prompt_tokens(prompt: str | Sequence[int], config: TransformerConfig, tokenizer: Tokenizer | None) -> list[int]:
    """The tokens of a prompt: ids as they are; a text as data, after BOS where the model reads BOS before every text.

    Raises:
        NoTokenizer: a text, and nothing that makes tokens of it.
    """
    if not isinstance(prompt, str):
        return list(prompt)
    if tokenizer is None:
        raise NoTokenizer("the model has no tokenizer: give it token ids, or put a tokenizer.json into its folder")
    tokens = tokenizer.encode(prompt)
    begins = config.bos in config.impossible or not tokens
    return [config.start, *tokens] if begins else tokens
