"""Recipes that go on from a pretrained model: the kinds ``conversations``, ``preferences``, ``labels``, ``texts``
and ``verdicts``.

    kind: conversations
    model: smollm2-135m-instruct
    data: {files: [answers.jsonl]}
    lora: {rank: 8, alpha: 16}             # null: train all weights
    training: {steps: 100, batch_size: 8, learning_rate: 5e-4}

The output folder then has ``adapter/``, in PEFT's format, and ``model/``, the same merged into an ordinary checkpoint;
and of the training ``metrics.jsonl``, ``curves.png`` and ``checkpoints/``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from genaisys.hub import PartMissing
from genaisys.models.text_classifier import TextClassifier
from genaisys.models.transformer import TransformerLM
from genaisys.models.transformer.generation import NoTokenizer
from genaisys.molecules.conditions import opening
from genaisys.molecules.demands import DEMANDS, judge
from genaisys.molecules.generators import shipped
from genaisys.training.context import set_context
from genaisys.training.fields import RecipeWrong, chosen, filled
from genaisys.training.finetuning.adapter_files import require_adapter_format
from genaisys.training.finetuning.added_tokens import add_tokens, train_rows
from genaisys.training.finetuning.chat_tokens import ChatTokens, Fitted, Tokenised
from genaisys.training.finetuning.data import Data
from genaisys.training.finetuning.examples import conversation, labelled, preference
from genaisys.training.finetuning.labels import LabelledTexts, label_loss
from genaisys.training.finetuning.lora import Lora, add_lora
from genaisys.training.finetuning.molecule_prompts import told, untold
from genaisys.training.finetuning.preferences import Pairs, preference_loss
from genaisys.training.finetuning.rows import Conversations, learned_tokens
from genaisys.training.finetuning.tuning import Prepared, tune
from genaisys.training.finetuning.verdicts import verdict_loss
from genaisys.training.metrics import Record
from genaisys.training.processes import training_processes
from genaisys.training.recipe_files import find_recipe, read_recipe
from genaisys.training.settings import TrainingSettings
from genaisys.training.texts import TextData, sequences_of, training_and_held_out

_NLL, _NEXT = "NLL, nats a token", "top-1 accuracy of tokens"
Tell = Callable[[str], None]  # is given what is being done, for people

_JUDGED = 4096  # texts of which the share that is accepted is measured


@dataclass(frozen=True, kw_only=True)
class _Recipe(ABC):
    """What the recipes of all kinds hold.

    Attributes:
        model: a part, a shipped model of molecules, a hub id, folder or GGUF file to go on from.
        lora: the adapter; None: all weights are trained.
    """

    model: str
    training: TrainingSettings
    lora: Lora | None = field(default_factory=Lora)

    @abstractmethod
    def prepared(self, folder: Path, tell: Tell) -> Prepared:
        """Data, then the model, with its adapter; everything that can be wrong is found here."""

    def _with_tokens(self, tokens: Sequence[str]) -> TransformerLM:
        """The model, to which these are tokens whose rows are trained."""
        model = _language_model(self.model)
        if self.lora is not None:
            require_adapter_format(model)
        if tokens:
            numbers = add_tokens(model, tokens)
            if self.lora is not None:
                train_rows(model, numbers)
        return model

    def _with_adapter(self, model: TransformerLM) -> None:
        if self.lora is not None:
            add_lora(model, self.lora)


@dataclass(frozen=True, kw_only=True)
class ConversationRecipe(_Recipe):
    """Learn to speak as the assistant does in conversations.

    Attributes:
        added_tokens: texts that become tokens of their own.
    """

    data: Data
    added_tokens: tuple[str, ...] = ()

    def prepared(self, folder: Path, tell: Tell) -> Prepared:
        learned, held_out = self.data.read(conversation, folder)
        model, tokens = self._opened()
        fitted = Fitted()

        def tokenised(examples: list[Any]) -> Conversations:
            made = self.data.fitting([[example] for example in examples], tokens, fitted)
            return Conversations([conversation for (conversation,) in made])

        training, validation = tokenised(learned), tokenised(held_out)
        self._with_adapter(model)
        counts = {"conversations": len(learned), "held_out_conversations": len(held_out), **vars(fitted)}
        return Prepared(model, model, training, validation, learned_tokens, _NLL, _NEXT, self.data.described(), counts)

    def _opened(self) -> tuple[TransformerLM, ChatTokens]:
        model = self._with_tokens(self.added_tokens)
        return model, _chat_tokens(model)


@dataclass(frozen=True, kw_only=True)
class PreferenceRecipe(_Recipe):
    """Learn to prefer the better of two answers, by DPO.

    Attributes:
        beta: how strongly the model is kept near to where it began; a smaller one leaves it freer.
    """

    data: Data
    beta: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.beta < float("inf"):
            raise RecipeWrong(f"beta is {self.beta}: it must be above 0")
        if self.lora is None:
            raise RecipeWrong("preferences need lora: the model without its adapter is what it is compared with")

    def prepared(self, folder: Path, tell: Tell) -> Prepared:
        learned, held_out = self.data.read(preference, folder)
        model = _language_model(self.model)
        require_adapter_format(model)
        tokens, fitted = _chat_tokens(model), Fitted()

        def pairs(examples: list[Any]) -> Pairs:
            made = self.data.fitting([[example.chosen, example.rejected] for example in examples], tokens, fitted)
            return Pairs([(chosen, rejected) for chosen, rejected in made])

        training, validation = pairs(learned), pairs(held_out)
        self._with_adapter(model)
        counts = {"preferences": len(learned), "held_out_preferences": len(held_out), **vars(fitted)}
        loss, loss_is = preference_loss(self.beta), "DPO loss, nats a preference"
        accuracy_is, described = "share of chosen answers preferred", self.data.described()
        return Prepared(model, model, training, validation, loss, loss_is, accuracy_is, described, counts)


@dataclass(frozen=True, kw_only=True)
class LabelRecipe(_Recipe):
    """Learn the classes of texts."""

    data: Data

    def prepared(self, folder: Path, tell: Tell) -> Prepared:
        learned, held_out = self.data.read(labelled, folder)
        labels = sorted({example.label for example in (*learned, *held_out)})
        if len(labels) < 2:
            raise RecipeWrong(f"all texts have the label {labels[0]!r}: there is nothing to learn")
        model = _language_model(self.model)
        classifier = TextClassifier(model, labels)
        length = min(self.data.max_length, model.config.context_length)
        training, validation = (LabelledTexts(classifier, examples, length) for examples in (learned, held_out))
        self._with_adapter(model)
        counts = {"classes": len(labels), "texts": len(learned), "held_out_texts": len(held_out)}
        loss_is, accuracy_is, described = "-log p(label), nats a text", "accuracy of labels", self.data.described()
        return Prepared(classifier, model, training, validation, label_loss, loss_is, accuracy_is, described, counts)


@dataclass(frozen=True, kw_only=True)
class TextRecipe(_Recipe):
    """Go on learning a language from plain texts, or from molecules.

    Attributes:
        context_length: of a model with rotary positions it may be longer than it was; None: as it was.
        added_tokens: texts that become tokens of their own. Of those that are tokens the rows are trained as well.
    """

    data: TextData
    context_length: int | None = None
    added_tokens: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.data.described()  # is there such a data set?

    def prepared(self, folder: Path, tell: Tell) -> Prepared:
        texts = training_and_held_out(self.data, folder)
        model = self._with_tokens(self.added_tokens)
        if self.context_length is not None:
            set_context(model, self.context_length)
        training, validation = (self._rows(model, part) for part in (texts.learned, texts.held_out))
        self._with_adapter(model)
        molecules = len(texts.learned) + len(texts.held_out) if self.data.of_molecules else 0
        counts = texts.counts(left_out=max(molecules - len(training) - len(validation), 0))
        what, licence = self.data.described()
        data = f"{what} (licence: {licence})"
        return Prepared(model, model, training, validation, learned_tokens, _NLL, _NEXT, data, counts)

    def _rows(self, model: TransformerLM, texts: list[str]) -> Conversations:
        """Each text behind BOS, which is read and not learned."""
        assert model.tokenizer is not None
        if model.tokenizer.eos is None:
            raise NoTokenizer(f"{self.model} has no end token (EOS), so it cannot learn to stop")
        begin = opening(model) if self.data.of_molecules else [model.config.start]
        room = model.config.context_length - len(begin)
        rows = sequences_of(texts, self.data, model.tokenizer, room)
        return Conversations([Tokenised((*begin, *row), (False,) * len(begin) + (True,) * len(row)) for row in rows])


@dataclass(frozen=True, kw_only=True)
class VerdictRecipe(_Recipe):
    """Learn to write molecules that will do, from verdicts on those that the model writes.

    Attributes:
        data: molecules, of which a model with conditions is told; None: it is told nothing.
        demands: what else than to be a molecule is demanded: ``filters``, which are those of MOSES.
        draws: molecules that are written after each prompt; ``batch_size`` is the number of prompts.
        sigma: how much less likely what is refused shall be beside what is accepted, in nats.
        blend: the share of the learned weights in those that are kept; the rest are those that it began with.
    """

    data: TextData | None = None
    demands: tuple[str, ...] = ()
    draws: int = 16
    sigma: float = 4.0
    blend: float = 1.0

    def __post_init__(self) -> None:
        if self.draws < 2:
            raise RecipeWrong(f"draws is {self.draws}: it must be at least 2, of which one may be better")
        if not 0 < self.sigma < float("inf"):
            raise RecipeWrong(f"sigma is {self.sigma}: it must be above 0")
        if not 0 < self.blend <= 1:
            raise RecipeWrong(f"blend is {self.blend}: it is a share, above 0 and at most 1")
        if self.blend < 1 and self.lora is not None:
            raise RecipeWrong("blend below 1 needs lora: null, for it mixes whole weights")
        for name in self.demands:
            chosen(name, DEMANDS, "demands")
        if self.data is not None:
            self.data.described()  # is there such a data set?
            if self.data.randomised:
                raise RecipeWrong("data.randomised has no meaning here: nothing is learned but from verdicts")

    def prepared(self, folder: Path, tell: Tell) -> Prepared:
        model = self._with_tokens(())
        assert model.tokenizer is not None
        if not model.config.ends:
            raise NoTokenizer(f"{self.model} has no end token (EOS): it cannot write molecules")
        held_out = -(-_JUDGED // self.draws)
        with training_processes().local_main_process_first():  # which fetches and computes what the others then find
            accepts = judge(self.demands)
            if self.data is None:
                prompts, validation = untold(model, held_out)
                described = "what it writes itself, judged"
            else:
                prompts, validation = told(model, self.data, folder, held_out, tell)
                what, licence = self.data.described()
                described = (
                    f"what it writes itself, judged, when it is told what is true of {what} (licence: {licence})"
                )
        reference = deepcopy(model)
        self._with_adapter(model)
        decode = model.tokenizer.decode
        loss = verdict_loss(lambda text: accepts(decode(text)), reference, self.sigma, self.draws)
        counts = {"prompts": len(prompts), "held_out_prompts": len(validation), "texts_a_prompt": self.draws}
        loss_is, accepted = "log-variance loss, nats²", "share of texts accepted"
        return Prepared(model, model, prompts, validation, loss, loss_is, accepted, described, counts, self.blend)


KINDS: Mapping[str, type[_Recipe]] = {
    "conversations": ConversationRecipe,
    "preferences": PreferenceRecipe,
    "labels": LabelRecipe,
    "texts": TextRecipe,
    "verdicts": VerdictRecipe,
}


@dataclass(frozen=True)
class FineTuning:
    """A recipe that was read and found right.

    Attributes:
        name: its file's, without the ending.
        folder: its file's, where the files that it names are looked up.
        written: as it was written.
    """

    name: str
    recipe: _Recipe
    folder: Path
    written: Mapping[str, Any]

    @property
    def steps(self) -> int:
        """Of its training, at most."""
        return self.recipe.training.steps

    def run(self, output: Path, on_record: Callable[[Record], None] = lambda record: None) -> dict[str, Any]:
        """Fine-tune into the folder ``output``, or go on there, and report: the numbers, as JSON.

        Raises:
            GenaisysError: files of examples are broken, the model cannot be had, or the training fails.
        """
        settings = self.recipe.training
        torch.manual_seed(settings.seed)  # of the adapter's first weights
        prepared = self.recipe.prepared(self.folder, lambda what: on_record({"step": 0, "preparing": what}))
        return tune(self.name, prepared, settings, output, self.recipe.model, self.written, on_record)


def open_fine_tuning(name: str) -> FineTuning:
    """The recipe in the file ``name``, or the shipped one that is called so.

    Raises:
        RecipeWrong: there is none, or it cannot be followed; the message names the key.
    """
    file = find_recipe(name)
    written = read_recipe(file, "finetune")
    content = dict(written)
    kind = KINDS[content.pop("kind")]
    return FineTuning(file.stem, filled(kind, content, ""), file.parent, written)


def _language_model(name: str) -> TransformerLM:
    try:
        model = TransformerLM.from_pretrained(shipped(name) or name)
    except PartMissing as error:
        raise PartMissing(f"{error}; or if another recipe makes it, follow that one first, and from here") from error
    if model.tokenizer is None:
        raise NoTokenizer(f"{name} has no tokenizer: put a tokenizer.json into its folder")
    return model


def _chat_tokens(model: TransformerLM) -> ChatTokens:
    assert model.tokenizer is not None
    return ChatTokens(model.tokenizer, model.config)
