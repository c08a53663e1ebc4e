"""What every generative model owes, and the capabilities that a model may have besides.

A model owes a training loss and samples. Whatever else it can do it says by its type: ``isinstance(model, Density)``
tells whether it has likelihoods, and no method exists only to raise. `docs/models.md` explains it in one page.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from genaisys.errors import GenaisysError
from genaisys.models.spaces import Space

if TYPE_CHECKING:
    from genaisys.models.presets import Preset


class ConditionWrong(GenaisysError):
    """A conditional model was given no condition or not one for each example, or another model was given one."""


class TooFewSamples(GenaisysError):
    """Fewer samples are asked for than there can be."""


class GenerativeModel(nn.Module, ABC):
    """A distribution over data of one space, which can be learned and sampled.

    Attributes:
        space: shape and support of the data.
        conditional: whether each example has a condition, such as its class, which it is learned and sampled by.
        preset: how it was built, if by :func:`genaisys.models.presets.build`: what its files tell.
    """

    space: Space
    conditional: bool = False
    preset: Preset | None = None

    @abstractmethod
    def loss(self, x: Tensor, *, condition: Any = None) -> Tensor:
        """The training objective per example; its mean over a batch is what training minimises. -> [B]

        Args:
            condition: of each example, where the model is conditional. [B, *]

        Raises:
            OutOfSpace: ``x`` is not of the model's space.
            ConditionWrong: see :meth:`validated`.
        """

    def validated(self, x: Tensor, condition: Any = None) -> Tensor:
        """``x`` as the space has it, and as many conditions as the model needs. [B, *shape] -> [B, *shape]

        Raises:
            OutOfSpace: ``x`` is not of the model's space.
            ConditionWrong: there is no condition for a conditional model, or one for another, or not one an example.
        """
        x = self.space.validated(x)
        self._require_conditions(condition, len(x))
        return x

    def _require_conditions(self, condition: Any, n: int) -> None:
        if (condition is not None) != self.conditional:
            raise ConditionWrong(
                "this model needs a condition: give condition=, one for each example"
                if self.conditional
                else "this model is not conditional: leave condition= out"
            )
        if condition is None:
            return
        if not isinstance(condition, Tensor):
            raise ConditionWrong(f"expected a tensor of conditions, got {type(condition).__name__}")
        if condition.shape[:1] != (n,):
            raise ConditionWrong(f"expected {n} conditions, one for each example, got {list(condition.shape)}")

    def sample(
        self, n: int, *, condition: Any = None, generator: torch.Generator | None = None, **effort: Any
    ) -> Tensor:
        """``n`` samples in the units of the data, without gradients and in eval mode. -> [n, *shape]

        Args:
            condition: of each sample, where the model is conditional. [n, *]
            generator: makes the samples repeatable, and leaves all other random numbers as they were.
            effort: what the model's own ``_sample`` takes: the number of steps, a temperature …

        Raises:
            TooFewSamples: ``n`` is below 0.
            ConditionWrong: see :meth:`validated`.
        """
        require_samples(n, least=0)
        self._require_conditions(condition, n)
        with inference(self, generator):
            return self._sample(n, condition=condition, **effort)

    @abstractmethod
    def _sample(self, n: int, *, condition: Any) -> Tensor:
        """As ``sample``, with PyTorch's own random numbers; a model may take more arguments. -> [n, *shape]"""

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors``, which :func:`genaisys.models.load_model` reads.

        Raises:
            NotAPreset: the model was put together by hand, so that no file could say how to build it again.
            CheckpointNotWritten: the folder cannot be written to.
        """
        from genaisys.models.presets import save

        save(self, Path(folder))


Likelihood = Literal["exact", "lower bound", "estimate", "unnormalised"]


class Density(ABC):
    """A capability: the likelihood of given data, in nats.

    Attributes:
        likelihood: what ``log_prob`` is: the exact value, a lower bound, an estimate, or right up to a constant.
    """

    likelihood: Likelihood

    @abstractmethod
    def log_prob(self, x: Tensor, *, condition: Any = None) -> Tensor:
        """``log p(x)`` in nats, of discrete data wherever the space is discrete. -> [B]

        A bound takes ``samples=``, of which more make it tighter: the importance-weighted bound (Burda et al. 2016).

        Raises:
            OutOfSpace: ``x`` is not of the model's space.
            ConditionWrong: see :meth:`GenerativeModel.validated`.
            TooFewSamples: a bound of none.
        """


class Representation(ABC):
    """A capability: data have a code, from which they can be made again."""

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """The code of data, without randomness: of a distribution, its mean. -> [B, *code]"""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Data of a code, without randomness. [B, *code] -> [B, *shape]

        Raises:
            OutOfSpace: ``z`` has not the shape of a code.
        """


class Completes(ABC):
    """A capability: what is missing in an example is drawn from its exact conditional distribution.

    Attributes:
        completes: whether anything may be missing, or all after a beginning in the model's own order.
    """

    completes: Literal["any part", "an end"]

    @abstractmethod
    def complete(self, x: Tensor, observed: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Samples of ``p(x_missing | x_observed)``, with what is observed in its place. -> [B, *shape]

        Args:
            x: [B, *shape]; what is missing may have any value of the space.
            observed: True where ``x`` is given. [*shape] or [B, *shape]

        Raises:
            OutOfSpace: ``x`` is not of the model's space, ``observed`` is no mask of it, or more is missing than an end
                where only that is completed.
        """


class Queries(Completes):
    """A capability: probabilities of a part of the variables, the others summed out (book section 2.1.5).

    Evidence is ``log_prob``. A conditional is a difference: ``log p(a | b) = log p(a, b) - log p(b)``.
    """

    @abstractmethod
    def log_marginal(self, x: Tensor, observed: Tensor) -> Tensor:
        """``log p(x_observed)`` in nats, exact; with nothing observed it is 0. -> [B]

        Args: as in :meth:`Completes.complete`.
        """


class MostProbable(ABC):
    """A capability: the likeliest completion, exactly (MAP)."""

    @abstractmethod
    def most_probable(self, x: Tensor, observed: Tensor) -> Tensor:
        """``argmax p(x_missing | x_observed)``, with what is observed in its place. -> [B, *shape]"""


class Lossless(ABC):
    """A capability: data become bytes, about ``-log2 p(x)`` bits, and the same data again, in any process."""

    @abstractmethod
    def compress(self, x: Tensor) -> bytes:
        """
        Raises:
            OutOfSpace: ``x`` is not of the model's space.
        """

    @abstractmethod
    def decompress(self, data: bytes) -> Tensor:
        """-> [B, *shape], int64

        Raises:
            NotCompressed: the bytes are none of this model's.
        """


def require_samples(number: int, least: int) -> None:
    """
    Raises:
        TooFewSamples: it is less.
    """
    if number < least:
        raise TooFewSamples(f"expected a number of samples from {least} up, got {number}")


@contextmanager
def inference(model: nn.Module, generator: torch.Generator | None = None) -> Iterator[None]:
    """Without gradients, in eval mode; afterwards each module is in train or eval mode as it was.

    With a generator, PyTorch's own random numbers are drawn by a seed of it meanwhile, and are then as before: so
    ``torch.distributions``, which takes no generator, is repeatable too.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=_devices(model), enabled=generator is not None):
            if generator is not None:
                torch.manual_seed(int(torch.randint(2**62, (), generator=generator, device=generator.device)))
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def _devices(model: nn.Module) -> list[torch.device]:
    """The devices besides the processor that have random numbers of their own."""
    return sorted({tensor.device for tensor in model.parameters() if tensor.device.type == "cuda"}, key=str)
