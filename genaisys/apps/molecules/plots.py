"""Small plots as SVG: how properties and similarities are spread, among known molecules and those that are shown."""

from __future__ import annotations

from collections.abc import Sequence

from genaisys.molecules.distributions import Distribution

_BARS = 12  # of what is shown: there are only tens of molecules
_TWENTIETHS = 20  # of what lies from 0 to 1
_HEIGHT = 100


def silhouette(distribution: Distribution) -> str:
    """The path of the known molecules' histogram, one unit a bin wide, in a box ``bins`` x 100."""
    return _steps([_HEIGHT * count / max(distribution.counts) for count in distribution.counts], 1)


def comparison(distribution: Distribution, values: Sequence[float]) -> str:
    """The known molecules as an area, those with these ``values`` as bars, on one scale: shares a unit of the axis."""
    bins = len(distribution.counts)
    merged = max(1, bins // _BARS)
    width = (distribution.high - distribution.low) / bins
    found = _counts([(value - distribution.low) / width / merged for value in values], -(-bins // merged))
    bars = [count / len(values) / merged for count in found]
    known = [count / sum(distribution.counts) for count in distribution.counts]
    top = max(*known, *bars)
    return (
        f"<svg class='plot' viewBox='0 0 {bins} {_HEIGHT}' preserveAspectRatio='none' aria-hidden='true'>"
        f"<path class='known' d='{_steps([_HEIGHT * share / top for share in known], 1)}'/>"
        f"<path class='shown' d='{_steps([_HEIGHT * share / top for share in bars], merged)}'/></svg>"
    )


def similarities(values: Sequence[float]) -> str:
    """What lies from 0 to 1 as bars, of which the highest reaches the top."""
    bars = _counts([value * _TWENTIETHS for value in values], _TWENTIETHS)
    return (
        f"<svg class='plot' viewBox='0 0 {_TWENTIETHS} {_HEIGHT}' preserveAspectRatio='none' aria-hidden='true'>"
        f"<path class='shown' d='{_steps([_HEIGHT * count / max(bars) for count in bars], 1)}'/></svg>"
    )


def marked(distribution: Distribution, value: float) -> str:
    """The known molecules as an area, with a line where ``value`` lies."""
    bins = len(distribution.counts)
    place = min(max((value - distribution.low) / (distribution.high - distribution.low), 0), 1) * bins
    return (
        f"<svg class='plot' viewBox='0 0 {bins} {_HEIGHT}' preserveAspectRatio='none' aria-hidden='true'>"
        f"<path class='known' d='{silhouette(distribution)}'/>"
        f"<path class='here' d='M{place:.2f} 0V{_HEIGHT}'/></svg>"
    )


def _counts(places: Sequence[float], bars: int) -> list[int]:
    """How many lie in each bar, which is one wide; what lies outside is in the first or the last."""
    counts = [0] * bars
    for place in places:
        counts[min(max(int(place), 0), bars - 1)] += 1
    return counts


def _steps(heights: Sequence[float], width: int) -> str:
    bars = "".join(f"V{_HEIGHT - height:.1f}H{(number + 1) * width}" for number, height in enumerate(heights))
    return f"M0 {_HEIGHT}{bars}V{_HEIGHT}Z"
