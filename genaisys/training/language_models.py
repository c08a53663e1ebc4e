"""The recipe kind ``language model``: a transformer and its tokenizer, trained on texts from the beginning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

import torch

from genaisys.models.transformer import PRESETS, TransformerConfig, TransformerLM
from genaisys.tokenizers import Tokenizer, character_tokenizer, smiles_tokenizer, train_bpe
from genaisys.training.data import TokenSequences
from genaisys.training.fields import RecipeWrong, chosen, filled, require_known, typed
from genaisys.training.metrics import Record
from genaisys.training.pretraining import Pretraining, pretrain
from genaisys.training.processes import training_processes
from genaisys.training.settings import TrainingSettings
from genaisys.training.texts import TextData, sequences_of, training_and_held_out

_PARTS = ("data", "tokenizer", "model", "training")
_COMPUTED = ("vocabulary_size", "bos", "pad", "mask", "ends", "impossible")  # they come from the tokenizer
_OF_CHECKPOINTS = ("rotary_scaling",)  # it stretches what was trained before


@dataclass(frozen=True)
class _Characters:
    def made_from(self, texts: list[str], context_length: int) -> Tokenizer:
        return character_tokenizer(texts)


@dataclass(frozen=True)
class _BPE:
    vocabulary_size: int = 2048

    def made_from(self, texts: list[str], context_length: int) -> Tokenizer:
        return train_bpe(texts, vocabulary_size=self.vocabulary_size, context_length=context_length)


@dataclass(frozen=True)
class _Smiles:
    def made_from(self, texts: list[str], context_length: int) -> Tokenizer:
        return smiles_tokenizer(texts)


_TokenizerKind = _Characters | _BPE | _Smiles
TOKENIZERS: Mapping[str, type[_TokenizerKind]] = {"character": _Characters, "bpe": _BPE, "smiles": _Smiles}


@dataclass(frozen=True)
class LanguageModelTraining:
    """A recipe of this kind, found right.

    Attributes:
        sizes: what the preset is called with besides the tokenizer's numbers.
        folder: the recipe's, where its files are looked up.
        recipe: as it was written.
    """

    data: TextData
    tokenizer: _TokenizerKind
    preset: str
    sizes: Mapping[str, Any]
    settings: TrainingSettings
    folder: Path
    recipe: Mapping[str, Any]

    @classmethod
    def from_recipe(cls, content: Mapping[str, Any], folder: Path) -> LanguageModelTraining:
        """
        Raises:
            RecipeWrong: the message names the key.
        """
        require_known(content, _PARTS, "")
        for part in _PARTS:
            if not isinstance(content.get(part), Mapping):
                raise RecipeWrong(f"the recipe lacks {part}, or it holds no keys and values")
        tokenizer, model = dict(content["tokenizer"]), dict(content["model"])
        tokenizer_kind = chosen(tokenizer.pop("kind", None), TOKENIZERS, "tokenizer.kind")
        preset = model.pop("preset", None)
        chosen(preset, PRESETS, "model.preset")
        types = get_type_hints(TransformerConfig)
        known = [field.name for field in fields(TransformerConfig) if field.name not in (*_COMPUTED, *_OF_CHECKPOINTS)]
        require_known(model, known, "model")
        if "context_length" not in model:
            raise RecipeWrong("the recipe lacks model.context_length")
        training = cls(
            filled(TextData, content["data"], "data"),
            filled(tokenizer_kind, tokenizer, "tokenizer"),
            preset,
            {name: typed(value, types[name], f"model.{name}") for name, value in model.items()},
            filled(TrainingSettings, content["training"], "training"),
            folder,
            {"kind": "language model", **content},
        )
        training.data.described()  # is there such a data set?
        training.config(vocabulary_size=512)  # are there such models?
        return training

    def config(self, vocabulary_size: int, tokenizer: Tokenizer | None = None) -> TransformerConfig:
        """The shape of the model.

        Raises:
            RecipeWrong: there is no such model.
        """
        settings = dict(self.sizes)
        for name in ("context_length", "layers", "width", "heads", "kv_heads", "head_width", "hidden", "window"):
            if settings.get(name) is not None and settings[name] < 1:
                raise RecipeWrong(f"model.{name} is {settings[name]}: it must be at least 1")
        if not 0 <= settings.get("dropout", 0.0) < 1:
            raise RecipeWrong(f"model.dropout is {settings['dropout']}: it must be from 0 to below 1")
        if settings.get("causal_weight", 1.0) <= 0:
            raise RecipeWrong("model.causal_weight must be above 0: a language model that is to write needs it")
        if tokenizer is not None:
            eos, pad, bos, mask = tokenizer.eos, tokenizer.pad, tokenizer.bos, tokenizer.mask
        else:
            pad, bos, eos, mask = range(4)
        settings |= {"bos": bos, "pad": pad, "mask": mask, "ends": (eos,), "impossible": (pad, bos, mask)}
        width, heads = settings.get("width"), settings.get("heads")
        try:
            config = PRESETS[self.preset](vocabulary_size, settings.pop("context_length"), **settings)
        except (ValueError, TypeError) as error:
            raise RecipeWrong(f"there is no such model: {error}") from error
        if "head_width" not in settings and config.head_width * config.heads != config.width:
            raise RecipeWrong(
                f"model.width {width or config.width} is no multiple of model.heads {heads or config.heads}"
            )
        return config

    def run(self, name: str, output: Path, on_record: Callable[[Record], None]) -> dict[str, Any]:
        """Train, and write model, model card, curves and samples into ``output``; see :meth:`Recipe.run`."""
        processes = training_processes()
        with processes.local_main_process_first():  # which fetches what the others then find
            texts = training_and_held_out(self.data, self.folder)
        tokenizer = self.tokenizer.made_from(texts.learned, self.sizes["context_length"])
        torch.manual_seed(self.settings.seed)
        model = TransformerLM(self.config(tokenizer.vocabulary_size, tokenizer), tokenizer)
        training, validation = (self._sequences(part, tokenizer) for part in (texts.learned, texts.held_out))
        molecules = len(texts.learned) + len(texts.held_out) if self.data.of_molecules else 0
        counts = texts.counts(left_out=max(molecules - len(training) - len(validation), 0))
        described = self.data.described()
        prepared = Pretraining(model, tokenizer, training, validation, None, described, counts, self.recipe)
        return pretrain(name, prepared, self.settings, output, on_record)

    def _sequences(self, texts: list[str], tokenizer: Tokenizer) -> TokenSequences:
        assert tokenizer.pad is not None  # all tokenizers that we make have one
        length = self.sizes["context_length"] - 1  # BOS takes one place
        return TokenSequences(sequences_of(texts, self.data, tokenizer, length), tokenizer.pad)
