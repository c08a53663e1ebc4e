"""Classes of texts: a linear layer on the features that a language model has of a text's last token.

    p(y | x) = softmax(W f(x) + b)_y        f(x): what the model's own head reads at the last token

The book's fine-tuning with an added net (section 11.2.2).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from genaisys.hub.checkpoints import CheckpointBroken, CheckpointNotWritten
from genaisys.models.transformer import TransformerLM
from genaisys.models.transformer.generation import prompt_tokens

_HEAD, _LABELS = "classifier.safetensors", "labels.json"


class TextClassifier(nn.Module):
    """A language model with a classification head. All classes are equally likely until it has learned.

    Attributes:
        backbone: the language model.
        labels: the names of the classes.
    """

    def __init__(self, backbone: TransformerLM, labels: Sequence[str]) -> None:
        super().__init__()
        self.backbone = backbone
        self.labels = tuple(labels)
        self.head = nn.Linear(backbone.config.width, len(self.labels))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def class_log_prob(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """``log p(y | x)`` of texts padded on the right. [B, T], [B] -> [B, C]"""
        features = self.backbone.features(tokens)
        last = features[torch.arange(len(tokens), device=tokens.device), lengths - 1]  # [B, width]
        return self.head(last).float().log_softmax(-1)

    def tokens_of(self, text: str) -> list[int]:
        """A text as it is read: its last tokens, where it is longer than the context.

        Raises:
            NoTokenizer: the backbone has none.
        """
        config = self.backbone.config
        return prompt_tokens(text, config, self.backbone.tokenizer)[-config.context_length :]

    @torch.no_grad()
    def probabilities(self, text: str) -> dict[str, float]:
        """``p(y | text)`` by the names of the classes.

        Raises:
            NoTokenizer: the backbone has none.
        """
        tokens = torch.tensor([self.tokens_of(text)], device=self.head.weight.device)
        log_prob = self.class_log_prob(tokens, torch.tensor([tokens.shape[1]], device=tokens.device))
        return dict(zip(self.labels, log_prob[0].exp().tolist(), strict=True))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the backbone's checkpoint, and the head and the names of its classes beside it.

        Raises:
            CheckpointNotWritten: the disk is full, or the folder cannot be written to.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            save_file(
                {name: tensor.detach().contiguous() for name, tensor in self.head.named_parameters()}, folder / _HEAD
            )
            (folder / _LABELS).write_text(json.dumps(self.labels, ensure_ascii=False) + "\n", encoding="utf-8")
        except (OSError, SafetensorError) as error:
            raise CheckpointNotWritten(f"the classifier cannot be saved in {folder}: {error}") from error
        self.backbone.save_pretrained(folder)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> TextClassifier:
        """The classifier in ``folder``, in eval mode.

        Raises:
            GenaisysError: see :meth:`TransformerLM.from_pretrained`.
            CheckpointBroken: the head or its labels are lacking or broken.
        """
        folder = Path(folder)
        try:
            labels = json.loads((folder / _LABELS).read_bytes())
            head = load_file(folder / _HEAD)
        except (OSError, ValueError, SafetensorError) as error:
            raise CheckpointBroken(f"there is no classifier in {folder}: {' '.join(str(error).split())}") from error
        if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
            raise CheckpointBroken(f"{folder / _LABELS} is broken: it holds no names of classes")
        model = cls(TransformerLM.from_pretrained(folder), labels)
        shapes = {name: parameter.shape for name, parameter in model.head.named_parameters()}
        if {name: tensor.shape for name, tensor in head.items()} != shapes:
            raise CheckpointBroken(f"{folder / _HEAD} does not fit the model and the labels beside it")
        model.head.load_state_dict(head)
        return model.eval()
