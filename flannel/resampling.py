"""Whole groups of patients drawn anew (bootstrap), and the interval between percentiles.

Radiographs of one patient are not independent, so that a resample holds all radiographs of a group
or none (Efron and Tibshirani, 1993, chapters 6 and 13). The groups are drawn once for everything
that is compared, so that two rows differ in nothing but their predictions.

A number without a single error has an interval without width: a limit of the method, no certainty.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Int

from flannel.errors import FlannelError

RESAMPLES = 2000
LEVEL = 0.95
UNDEFINED_SHARE = 0.05
"""With more resamples than this in which a number is undefined, it has no interval."""

FEW_GROUPS = 10
"""With fewer groups that have a diagnosis, an interval of its numbers is a rough guess: four groups
can be drawn in 35 ways, ten in 92,378."""


@dataclass(frozen=True)
class GroupDraws:
    """How often every group of patients is drawn in every resample.

    Attributes:
        groups: The groups, sorted.
        counts: Draws; each row sums to the number of groups.
    """

    groups: tuple[str, ...]
    counts: Float32[np.ndarray, "resamples groups"]


def draw_groups(groups: Iterable[str], resamples: int = RESAMPLES, seed: int = 1) -> GroupDraws:
    """Draws as many groups as there are, with replacement, again and again.

    Args:
        groups: The groups of all test radiographs that are to be compared; repeats do not count.
        resamples: How often.
        seed: The same seed and groups give the same draws.

    Raises:
        FlannelError: If there is no group.
    """
    names = tuple(sorted(set(groups)))
    if not names:
        raise FlannelError("groups is empty; expected the groups of at least one test radiograph.")
    shares = np.full(len(names), 1 / len(names))
    drawn = np.random.default_rng(seed).multinomial(len(names), shares, size=resamples)
    return GroupDraws(names, drawn.astype(np.float32))


@dataclass(frozen=True)
class Interval:
    """A number with its 95 % interval; all NaN where `note` says that it is undefined."""

    value: float
    low: float
    high: float
    note: str = ""


def few_groups(diagnosis: str, groups: int) -> str:
    """Warns of a diagnosis that too few groups have; says nothing where they are enough."""
    if groups >= FEW_GROUPS:
        return ""
    return f"a rough interval: {groups} group{'s' * (groups != 1)} of patients with {diagnosis}"


def owners(groups: pd.Series, draws: GroupDraws) -> Int[np.ndarray, " images"]:
    """Gives each image's place among the drawn groups.

    Raises:
        ValueError: If an image's group is not drawn.
    """
    places = pd.Index(draws.groups).get_indexer(groups)
    if (places < 0).any():
        raise ValueError(
            f"The group {groups.iloc[int(np.argmin(places))]!r} is not among the "
            f"{len(draws.groups)} drawn ones; draw the groups of all tables."
        )
    return places


def percentiles(drawn: Float[np.ndarray, " resamples"]) -> tuple[float, float, str]:
    """Gives the ends of the 95 % interval, or NaN and why there is none."""
    there = np.isfinite(drawn)
    lost = int((~there).sum())
    if lost > UNDEFINED_SHARE * len(drawn):
        return np.nan, np.nan, f"no interval: undefined in {lost} of {len(drawn)} resamples"
    low, high = np.quantile(drawn[there], ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high), ""
