"""The tide clock in the hall: when is the lower path to the tide pools under water?

The height of the tide at Cape Merrow is a sum of four cosines, fitted by Liv Castellane to the gauge at the jetty
(January 2014 to December 2022). Heights are in metres above chart datum, times in hours since noon on 1 January 2023.
"""

import math

MEAN_LEVEL = 2.31  # metres
PATH_FLOODS_AT = 3.05  # metres; the lowest step of the lower path

# name: (amplitude in metres, period in hours, phase in radians)
CONSTITUENTS = {
    "M2": (1.46, 12.4206, 0.81),  # the Moon
    "S2": (0.49, 12.0000, 1.93),  # the Sun
    "N2": (0.28, 12.6583, 0.22),  # the changing distance of the Moon
    "K1": (0.11, 23.9345, 2.75),  # the tilt of the Earth's axis
}


def height(hours: float) -> float:
    """The height of the sea, in metres above chart datum."""
    return MEAN_LEVEL + sum(
        amplitude * math.cos(2 * math.pi * hours / period - phase) for amplitude, period, phase in CONSTITUENTS.values()
    )


def path_is_flooded(hours: float) -> bool:
    return height(hours) >= PATH_FLOODS_AT


def next_dry_time(hours: float, step: float = 0.05) -> float:
    """The next time at which the path is dry, found by looking every three minutes."""
    while path_is_flooded(hours):
        hours += step
    return hours
