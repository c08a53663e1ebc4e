"""The transformer at the heart: one model, its checkpoints, and the engine that runs them."""

from genaisys.models.transformer.config import PRESETS, TransformerConfig, gpt, llama, teenygpt
from genaisys.models.transformer.model import TransformerLM

__all__ = ["PRESETS", "TransformerConfig", "TransformerLM", "gpt", "llama", "teenygpt"]
