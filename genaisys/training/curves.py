"""Curves of a training, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from genaisys.training.metrics import Record

_SMOOTHING = 0.95  # of the losses of single batches, which are noisy


def draw_curves(records: Sequence[Record], file: Path, *, loss_is: str, accuracy_is: str) -> None:
    """Draw the loss, and accuracy where there is one, against the steps, as PNG.

    Args:
        records: the lines of ``metrics.jsonl``.
        loss_is, accuracy_is: what they are, the loss with its unit, for the axes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no window, and no state of pyplot's
    from matplotlib.figure import Figure

    steps = [record for record in records if "held_out" not in record]
    evaluations = [record for record in records if "held_out" in record]
    with_accuracy = any("accuracy" in record["held_out"] for record in evaluations)
    figure = Figure(figsize=(9 if with_accuracy else 5, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2 if with_accuracy else 1, squeeze=False)[0]
    axes[0].plot([record["step"] for record in steps], _smooth([record["loss"] for record in steps]), label="training")
    at = [record["step"] for record in evaluations]
    if evaluations:
        axes[0].plot(at, [record["held_out"]["loss"] for record in evaluations], marker=".", label="held out")
    axes[0].set(xlabel="step", ylabel=loss_is)
    axes[0].legend()
    if with_accuracy:
        axes[1].plot(at, [record["held_out"]["accuracy"] for record in evaluations], marker=".", color="C1")
        axes[1].set(xlabel="step", ylabel=f"{accuracy_is}, held out")
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.savefig(file, format="png", dpi=120)


def _smooth(values: Sequence[float]) -> list[float]:
    """Exponential moving average, without the pull of its beginning."""
    average, weight, smoothed = 0.0, 0.0, []
    for value in values:
        average = _SMOOTHING * average + (1 - _SMOOTHING) * value
        weight = _SMOOTHING * weight + (1 - _SMOOTHING)
        smoothed.append(average / weight)
    return smoothed
