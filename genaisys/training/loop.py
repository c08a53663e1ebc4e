"""The one training loop, for every model of the toolkit.

    result = train(model, TokenSequences(...), TokenSequences(...), TrainingSettings(steps=1000), folder)

What a model is trained with is a function of it and a batch (see :mod:`genaisys.training.objectives`):

    def objective(model, batch) -> Sums(total, weight, {"name of a metric": its sum})

The gradient of ``total`` is summed over all micro-batches and processes, then divided by the sum of the weights. So the
same batch gives the same step however it is cut, also where its sequences are of unequal length.

The folder then holds ``metrics.jsonl``, ``run.json`` and ``checkpoints/``. Only parameters with ``requires_grad`` are
trained, averaged and written into checkpoints (and buffers, which any model may change). What to save in the end is
the caller's: the model then has the weights that were best on the held-out data.

Started again with the same arguments, a training goes on from its last checkpoint, along the very same trajectory (on
a CPU bit for bit). It uses the one device of its process; under ``torchrun`` there are several, which share each batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast, gather, reduce, send_to_device, set_seed
from torch import Tensor, nn

from genaisys.errors import GenaisysError
from genaisys.models.memory import keep_freed_memory
from genaisys.training.checkpoints import Checkpoint, Checkpoints
from genaisys.training.data import Examples, OfUnequalLength, Order
from genaisys.training.ema import EMA
from genaisys.training.evaluation import Means, evaluate, modes_kept, require_enough
from genaisys.training.interruption import TrainingInterrupted, interruption
from genaisys.training.metrics import MetricsLog, Record
from genaisys.training.objectives import Objective, Sums, evaluation_of, objective_of
from genaisys.training.optimizer import learning_rate, optimizer_of
from genaisys.training.processes import training_processes
from genaisys.training.random_states import random_states, set_random_states
from genaisys.training.run_folder import claimed
from genaisys.training.settings import SettingsWrong, TrainingSettings


class TrainingDiverged(GenaisysError):
    """The loss or its gradient is not finite any more; the last checkpoint is from before that."""


@dataclass(frozen=True)
class TrainingResult:
    """How a training has ended.

    Attributes:
        step: the last one.
        best_step: the one whose weights the model has; the last where nothing was held out.
        held_out: ``loss`` and metrics of these weights on the held-out data.
    """

    step: int
    best_step: int
    held_out: dict[str, float]


def train(
    model: nn.Module,
    training: Examples,
    held_out: Examples | None,
    settings: TrainingSettings,
    folder: Path,
    *,
    objective: Objective | None = None,
    evaluation: Objective | None = None,
    described: Mapping[str, Any] | None = None,
    on_record: Callable[[Record], None] = lambda record: None,
) -> TrainingResult:
    """Train ``model`` in place; it stays on the device, and in train or eval mode as it was.

    All random number generators are seeded with ``settings.seed``. The model's first weights are the caller's.

    Args:
        objective: what is minimised; None: the model's own loss, per token for a TransformerLM and else per example.
        evaluation: what is measured on held-out data, its mean being the held-out loss; None: the objective, with
            accuracy besides for a TransformerLM.
        described: what else must be equal for the folder's checkpoints to belong to this training, as JSON.
        on_record: is given every line of ``metrics.jsonl`` as it is written.

    Raises:
        RunDiffers: ``folder`` holds another training, one that is running, or files that are no training's.
        SettingsWrong: there are no examples, or fewer in a batch than there are processes.
        TrainingDiverged: a loss is not finite.
        TrainingInterrupted: by Ctrl-C or SIGTERM, after a checkpoint was written.
        CheckpointsDamaged, CheckpointNotKept: see :mod:`genaisys.training.checkpoints`.
        MetricsForeign: ``metrics.jsonl`` has a line of something else.
    """
    keep_freed_memory()
    processes = training_processes()
    if not len(training):
        raise SettingsWrong("there are no examples to train with")
    if settings.batch_size < processes.num_processes:
        raise SettingsWrong(f"batch_size {settings.batch_size} is less than one for each of the processes")
    if held_out is not None:
        require_enough(held_out)
    run = {"settings": asdict(settings), "processes": processes.num_processes, **(described or {})}
    with claimed(folder, run) if processes.is_main_process else nullcontext(), modes_kept(model):
        model.to(processes.device).train()
        set_seed(settings.seed + processes.process_index)
        return _Training(
            processes,
            model,
            training,
            held_out,
            settings,
            folder,
            objective or objective_of(model),
            evaluation or objective or evaluation_of(model),
            on_record,
        ).run()


@dataclass
class _Progress:
    """What changes besides tensors."""

    step: int = 0
    best_step: int | None = None
    best: dict[str, float] = field(default_factory=dict)
    evaluations_since_best: int = 0
    seconds: float = 0.0

    @property
    def best_loss(self) -> float:
        return self.best.get("loss", math.inf)


class _Training:
    def __init__(
        self,
        processes: PartialState,
        model: nn.Module,
        training: Examples,
        held_out: Examples | None,
        settings: TrainingSettings,
        folder: Path,
        objective: Objective,
        evaluation: Objective,
        on_record: Callable[[Record], None],
    ) -> None:
        self.processes, self.model, self.settings = processes, model, settings
        self.training, self.held_out, self.folder = training, held_out, folder
        self.objective, self.evaluation, self.on_record = objective, evaluation, on_record
        self.parameters = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.changing = self.parameters | _buffers(model)
        for tensor in self.changing.values():
            tensor.data.copy_(broadcast(tensor.data))  # all processes begin with the weights of the first
        self.optimizer = optimizer_of(model, self.parameters.values(), settings)
        self.ema = EMA(self.parameters, settings.ema_decay) if settings.ema_decay is not None else None
        self.order = Order(len(training), settings.seed)
        self.checkpoints = Checkpoints(folder / "checkpoints")
        self.progress = _Progress()

    # -- the loop

    def run(self) -> TrainingResult:
        self._resume()
        log = MetricsLog(self.folder / "metrics.jsonl", self.progress.step, self.processes.is_main_process)
        with log as self.log, interruption() as wished:
            self._loop(wished)
        self._take_best()
        step, best_step = self.progress.step, self.progress.best_step
        return TrainingResult(step, step if best_step is None else best_step, dict(self.progress.best))

    def _loop(self, wished: Callable[[], bool]) -> None:
        began = time.monotonic() - self.progress.seconds
        while not self._finished():
            step = self.progress.step + 1
            interrupted = self._step(step, wished)
            self.progress.step = step
            self.progress.seconds = time.monotonic() - began
            if due := step % self.settings.evaluate_every == 0 or step == self.settings.steps:
                self._evaluate()
            if due or interrupted:
                self._write_checkpoint()
            if interrupted and not self._finished():
                raise TrainingInterrupted(
                    f"stopped after step {step} of {self.settings.steps}, which is kept in {self.folder}; "
                    "the same command goes on from there"
                )

    def _finished(self) -> bool:
        patience = self.settings.patience
        out_of_patience = patience is not None and self.progress.evaluations_since_best >= patience
        return self.progress.step >= self.settings.steps or out_of_patience

    def _step(self, step: int, wished: Callable[[], bool]) -> bool:
        """One step of the optimizer; whether training is to stop after it."""
        means = Means()
        for batch in self._micro_batches(step):
            with self._arithmetic():
                sums = Sums(*self.objective(self.model, batch))
            sums.total.backward()
            means.add(sums)
        interrupted = means.over_processes(wished())  # all processes stop after the same step
        self._require_finite("loss", means.total, step)
        self._average_gradients(means.weight)
        clip_norm = math.inf if self.settings.clip_norm is None else self.settings.clip_norm
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), clip_norm).item()
        self._require_finite("gradient", norm, step)
        rate = learning_rate(step, self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema:
            self.ema.update(step)
        self._record({"step": step, **means.values(), "learning_rate": rate, "gradient_norm": norm})
        return interrupted

    def _micro_batches(self, step: int) -> Iterator[Any]:
        size = self.settings.batch_size
        numbers = self.order.take((step - 1) * size, size)
        mine = numbers[self.processes.process_index :: self.processes.num_processes]
        if isinstance(self.training, OfUnequalLength):
            mine.sort(key=self.training.length)
        at_once = self.settings.micro_batch_size or len(mine)
        for start in range(0, len(mine), at_once):
            yield send_to_device(self.training.batch(mine[start : start + at_once]), self.processes.device)

    def _average_gradients(self, weight: float) -> None:
        """Sum the gradients over processes, and divide by the weight of the whole batch.

        They are summed here, and not by DistributedDataParallel, because that hooks into ``forward`` alone: an
        objective may call any method of the model, and leave parameters out.
        """
        for parameter in self.parameters.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in self.parameters.values() if parameter.grad is not None]
        if self.processes.num_processes > 1:
            total: Tensor = reduce(torch.cat([gradient.flatten() for gradient in gradients]), "sum")
            for gradient, summed in zip(gradients, total.split([*map(Tensor.numel, gradients)]), strict=True):
                gradient.copy_(summed.view_as(gradient))
        torch._foreach_div_(gradients, weight or 1.0)  # nothing was counted: then they are zero

    def _arithmetic(self) -> torch.autocast:
        return torch.autocast(self.processes.device.type, torch.bfloat16, enabled=self.settings.precision == "bfloat16")

    def _require_finite(self, what: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            kept = self.checkpoints.steps()
            raise TrainingDiverged(
                f"the {what} is not finite at step {step}: try a lower learning_rate or more warmup_steps, in another "
                f"folder; {f'the checkpoint of step {kept[-1]} is kept' if kept else 'there was no checkpoint yet'}"
            )

    def _record(self, record: Record) -> None:
        self.log.add(record)
        self.on_record(record)

    # -- held-out data

    def _evaluate(self) -> None:
        if self.held_out is None:
            return
        progress, at_once = self.progress, self.settings.micro_batch_size or self.settings.batch_size
        with self.ema.applied() if self.ema else nullcontext(), self._arithmetic():
            measured = evaluate(self.model, self.held_out, self.evaluation, batch_size=at_once)
        self._require_finite("held-out loss", measured["loss"], progress.step)
        progress.evaluations_since_best += 1
        if measured["loss"] < progress.best_loss:
            progress.best_step, progress.best, progress.evaluations_since_best = progress.step, measured, 0
        self._record({"step": progress.step, "held_out": measured, "seconds": round(progress.seconds, 3)})

    def _take_best(self) -> None:
        """Give the model the weights of the best evaluation, or else the last, averaged if there is an average."""
        best_step = self.progress.best_step
        if best_step is not None and best_step != self.progress.step:
            tensors = self.checkpoints.read(best_step).tensors
            _copy(tensors["model"], self.changing)
            _copy(tensors.get("ema", {}), self.parameters)
        elif self.ema:
            _copy(self.ema.average, self.parameters)

    # -- checkpoints

    def _write_checkpoint(self) -> None:
        states = {name: gather(state[None].to(self.processes.device)) for name, state in random_states().items()}
        if self.processes.is_main_process:
            self.log.to_disk()
            tensors: dict[str, Mapping[str, Tensor]] = {
                "model": self.changing,
                "optimizer": _optimizer_tensors(self.optimizer),
                "random": {name: state.cpu() for name, state in states.items()},  # [processes, bytes]
            }
            if self.ema:
                tensors["ema"] = self.ema.average
            position = {"examples_seen": self.progress.step * self.settings.batch_size}
            self.checkpoints.write(Checkpoint(asdict(self.progress) | position, tensors))
        self.processes.wait_for_everyone()

    def _resume(self) -> None:
        checkpoint = self.checkpoints.last()
        self.processes.wait_for_everyone()
        if checkpoint is None:
            return
        state = dict(checkpoint.state)
        state.pop("examples_seen")
        self.progress = _Progress(**state)
        _copy(checkpoint.tensors["model"], self.changing)
        _load_optimizer(self.optimizer, checkpoint.tensors["optimizer"])
        if self.ema:
            _copy(checkpoint.tensors["ema"], self.ema.average)
        states = checkpoint.tensors["random"]
        set_random_states({name: state[self.processes.process_index] for name, state in states.items()})


def _buffers(model: nn.Module) -> dict[str, Tensor]:
    stored = model.state_dict(keep_vars=True)
    return {name: buffer for name, buffer in model.named_buffers() if name in stored}


@torch.no_grad()
def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for name, tensor in source.items():
        target[name].copy_(tensor)


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {f"{number}.{name}": tensor for number, tensors in state.items() for name, tensor in tensors.items()}


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
