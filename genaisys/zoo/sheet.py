"""A picture of a trained model: its data, its samples, and what else it can do, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genaisys.models.autoregressive.order import out_of_order
from genaisys.models.base import Completes, GenerativeModel, Representation
from genaisys.models.latent.diagnostics import variances_of_means
from genaisys.models.latent.hierarchy import HierarchicalVAE
from genaisys.models.latent.plots import plot_codes, plot_levels, plot_variances
from genaisys.models.latent.vae import VAE
from genaisys.models.spaces import Integers
from genaisys.training.metrics import Record
from genaisys.zoo.data import Parts
from genaisys.zoo.evaluation import drawn

_INK, _GIVEN = "#1f2933", (0.84, 0.90, 0.98)  # of texts; of what is given
_ROWS, _COLUMNS = 8, 8  # of the panels with images
_CODES = 500  # images


def draw_sheet(
    model: GenerativeModel,
    data: Parts,
    result: Mapping[str, Any],
    records: Sequence[Record],
    file: Path,
    effort: Mapping[str, Any] | None = None,
) -> None:
    """Draw the sheet as PNG.

    Args:
        result: what was measured, for the heading.
        records: the lines of ``metrics.jsonl``; none: no curve is drawn.
        effort: what ``sample`` is called with.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no window, and no state of pyplot's
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    panels: list[tuple[str, Callable[[Any], None]]] = []
    if len(data.space.shape) == 1 and data.space.dimensions == 2:
        points = {"data": data.test, "samples": drawn(model, min(1000, len(data.test)), effort or {})}
        panels.append(("Data and samples", lambda axes: _scatter(axes, points)))
    else:
        count = _ROWS * _COLUMNS
        panels.append(("Data", _images(data, data.test[:count])))
        panels.append(("Samples", _images(data, drawn(model, count, effort or {}))))
        if isinstance(model, Completes):
            panels.append(
                ("Completions: blue is given, the last of each row is real", _images(data, *completions(model, data)))
            )
        # Between codes that are integers, which are nearly the pixels themselves, there is nothing to see.
        if isinstance(model, Representation) and model.encode(data.test[:1]).is_floating_point():
            panels.append(("From one image to another", _images(data, interpolations(model, data))))
            panels.append(("Along the code's most varied numbers", _images(data, traversals(model, data))))
    panels += _of_codes(model, data.test[:_CODES])
    if any("held_out" in record or "loss" in record for record in records):
        panels.append(("Training", lambda axes: _curves(axes, records)))
    columns = 2 if len(panels) in (2, 4) else min(3 if len(panels) < 7 else 4, len(panels))
    rows = -(-len(panels) // columns)
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    figure = Figure(figsize=(4.4 * columns, 4.6 * rows + 1.0), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle(_heading(result), x=0.02, ha="left", fontsize=10.5, color=_INK, linespacing=1.5)
    places = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, (title, draw) in zip(places, panels, strict=False):
        axes.set_title(title, loc="left", fontsize=10, color=_INK)
        draw(axes)
    for axes in places[len(panels) :]:
        axes.axis("off")
    figure.savefig(file, format="png", dpi=120)


def _of_codes(model: GenerativeModel, x: Tensor) -> list[tuple[str, Callable[[Any], None]]]:
    """Where the codes of a VAE lie and which it uses; a hierarchy's levels."""
    if isinstance(model, HierarchicalVAE):
        return [("What each level tells", lambda axes: plot_levels(axes, model, x))]
    if not isinstance(model, VAE) or variances_of_means(model, x).numel() < 2:
        return []
    panels: list[tuple[str, Callable[[Any], None]]] = [
        ("Codes over the prior", lambda axes: plot_codes(axes, model, x))
    ]
    if variances_of_means(model, x).numel() > 2:
        panels.append(("Dimensions in use", lambda axes: plot_variances(axes, model, x)))
    return panels


# -- what is shown


@torch.no_grad()
def completions(model: GenerativeModel, data: Parts) -> tuple[Tensor, Tensor]:
    """For each row what is given, completions of it, and the original last; and which pixels are given.

    [rows * columns, *shape] each
    """
    assert isinstance(model, Completes)
    dimensions, shape = data.space.dimensions, tuple(data.space.shape)
    half = out_of_order(torch.arange(dimensions)[None] < dimensions // 2, shape)[0]  # [*shape]
    originals = data.test[:_ROWS]
    given = torch.where(half, originals, torch.zeros_like(originals) + _least(data))
    drawn = model.complete(
        given.repeat_interleave(_COLUMNS - 2, 0), half, generator=torch.Generator().manual_seed(0)
    ).unflatten(0, (len(originals), _COLUMNS - 2))
    shown = torch.cat([given[:, None], drawn.cpu(), originals[:, None]], 1)  # [rows, columns, *shape]
    known = torch.zeros(shown.shape, dtype=torch.bool)
    known[:, :-1] = half
    return shown.flatten(0, 1), known.flatten(0, 1)


@torch.no_grad()
def interpolations(model: GenerativeModel, data: Parts) -> Tensor:
    """Straight lines between the codes of two images, one a row. [rows * columns, *shape]"""
    assert isinstance(model, Representation)
    codes = model.encode(data.test[: 2 * _ROWS])
    rows = len(codes) // 2
    share = torch.linspace(0, 1, _COLUMNS, dtype=torch.double).view(1, -1, *[1] * (codes.dim() - 1))
    path = codes[:rows, None] * (1 - share) + codes[rows : 2 * rows, None] * share  # [rows, columns, *code]
    return model.decode(path.flatten(0, 1).to(codes.dtype)).cpu()


@torch.no_grad()
def traversals(model: GenerativeModel, data: Parts) -> Tensor:
    """A code of which one number changes, from -2.5 to 2.5 standard deviations, one a row. [rows * columns, *shape]"""
    assert isinstance(model, Representation)
    codes = model.encode(data.test[:200])
    flat = codes.double().flatten(1)
    spread = flat.std(0)  # [code]
    varied = spread.argsort(descending=True)[:_ROWS]
    path = flat.mean(0).repeat(len(varied), _COLUMNS, 1)  # [rows, columns, code]
    for row, number in enumerate(varied):
        path[row, :, number] += torch.linspace(-2.5, 2.5, _COLUMNS) * spread[number]
    return model.decode(path.view(-1, *codes.shape[1:]).to(codes.dtype)).cpu()


def _least(data: Parts) -> int:
    return data.space.low if isinstance(data.space, Integers) else 0


# -- how it is drawn


def _images(data: Parts, x: Tensor, known: Tensor | None = None) -> Callable[[Any], None]:
    return lambda axes: _show(axes, tiled(brightness(data, x), _COLUMNS, known))


def brightness(data: Parts, x: Tensor) -> Tensor:
    """Images from 0 to 1, whose rows and columns are the last two axes; all before are channels.

    [N, *shape] -> [N, C, H, W]
    """
    x = x.double()
    if isinstance(data.space, Integers):
        x = (x - data.space.low) / max(1, data.space.high - data.space.low)
    else:
        low, high = data.test.min(), data.test.max()
        x = ((x - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    height, width = (1, *x.shape[1:])[-2:]
    return x.reshape(len(x), -1, height, width)


def tiled(images: Tensor, columns: int, known: Tensor | None = None) -> Tensor:
    """Images in rows with a gap between them, dark on light where they are grey. [N, C, H, W] -> [*, *, 3]

    Args:
        known: what is given, to be tinted. [N, *shape]
    """
    count, channels, height, width = images.shape
    gap = max(1, height // 8)
    coloured = images if channels == 3 else 1 - images[:, :1].expand(-1, 3, -1, -1)
    if known is not None:
        tint = torch.tensor(_GIVEN, dtype=images.dtype).view(1, 3, 1, 1)
        coloured = torch.where(known.view(count, -1, height, width)[:, :1], coloured * tint, coloured)
    rows = -(-count // columns)
    canvas = torch.full((3, rows * (height + gap) - gap, columns * (width + gap) - gap), 0.93, dtype=images.dtype)
    for number, image in enumerate(coloured):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        canvas[:, top : top + height, left : left + width] = image
    return canvas.movedim(0, -1)


def _show(axes: Any, picture: Tensor) -> None:
    axes.imshow(picture.numpy(), interpolation="nearest")
    axes.axis("off")


def _scatter(axes: Any, points: Mapping[str, Tensor]) -> None:
    for label, x in points.items():
        axes.scatter(*x.flatten(1).T.numpy(), s=4, alpha=0.5, label=label)
    axes.legend(frameon=False)
    axes.set_aspect("equal", "datalim")


def _curves(axes: Any, records: Sequence[Record]) -> None:
    steps = [record for record in records if "held_out" not in record and record.get("loss") is not None]
    evaluations = [record for record in records if "held_out" in record]
    axes.plot(
        [record["step"] for record in steps], [record["loss"] for record in steps], lw=0.6, alpha=0.35, label="a batch"
    )
    if evaluations:
        held_out = [record["held_out"]["loss"] for record in evaluations]
        axes.plot([record["step"] for record in evaluations], held_out, marker=".", label="held out")
        best = min(held_out)
        axes.axhline(best, lw=0.6, ls=":", color=_INK)
        span = max(held_out[0] - best, 1e-6)
        axes.set_ylim(best - 0.6 * span, best + 1.2 * span)
    axes.set(xlabel="step", ylabel="loss")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)


def _heading(result: Mapping[str, Any]) -> str:
    likelihood = []
    if result["test_nats"] is not None:
        likelihood.append(f"{result['test_nats']:.2f} nats, {result['likelihood']}")
    if result["bits_per_dim"] is not None:
        likelihood.append(f"{result['bits_per_dim']:.3f} bits/dim")
    cost = [f"{result['parameters']:,} parameters", f"{result['seconds'] / 60:.1f} min of training"]
    samples = [f"Fréchet distance {result['fd']:.2f}", f"MMD² {1e3 * result['mmd2']:.1f}e-3"]
    samples += [f"{name} {result[name]:.2f}" for name in ("precision", "recall") if result[name] is not None]
    between = "   ·   "
    title = f"{result['name']} on {result['data']}, seed {result['seed']}"
    return "\n".join([title, between.join(likelihood + cost), between.join(samples)])
