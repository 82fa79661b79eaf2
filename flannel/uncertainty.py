"""95 % intervals over groups of patients: a range, a one-sided bound, or none with a reason.

Radiographs of one patient resemble each other, so whole groups of patients are drawn anew, and a
resample holds all radiographs of a group or none (Efron and Tibshirani, 1993, chapters 6 and 13).
Everything that is compared is measured in the same resamples.

Percentiles of the resamples are too short for a number that few groups decide: five groups without
an error are without an error in every resample. So only numbers over all diagnoses get percentiles.
Shares of radiographs, areas under the ROC curve and differences of these get intervals that count
groups. `benchmarks/coverage.py` simulates how often each covers the truth; docs/statistics.md has
its table.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8

from flannel.errors import FlannelError

RESAMPLES = 2000
LEVEL = 0.95
NORMAL = 1.959964
"""The two-sided quantile of the normal distribution at `LEVEL`."""

UNDEFINED_SHARE = 0.05
"""With more resamples than this in which a number is undefined, it has no interval."""

FEWEST_GROUPS = 5
"""With fewer groups that have a diagnosis, its numbers have no interval."""

AT_ONCE = 2**24
"""Counts that are multiplied at once, 64 MB in float32: a bound on memory."""


@dataclass(frozen=True)
class GroupDraws:
    """How often every group of patients is drawn in every resample.

    Attributes:
        groups: The groups, sorted.
        counts: Draws; each row sums to the number of groups.
    """

    groups: tuple[str, ...]
    counts: UInt8[np.ndarray, "resamples groups"]

    def sums(
        self, by_group: Float[np.ndarray, "groups numbers"]
    ) -> Float[np.ndarray, "resamples numbers"]:
        """Returns the sum of every number over the groups of each resample, in bounded memory."""
        rows = _rows_at_once(len(self.groups))
        return np.concatenate(
            [
                self.counts[start : start + rows].astype(by_group.dtype) @ by_group
                for start in range(0, len(self.counts), rows)
            ]
        )

    def places(self, groups: Shaped[np.ndarray, " images"]) -> Int[np.ndarray, " images"]:
        """Returns each image's place among the drawn groups.

        Raises:
            ValueError: If an image's group is not drawn.
        """
        known = {name: place for place, name in enumerate(self.groups)}
        places = np.array([known.get(name, -1) for name in groups], int)
        if (places < 0).any():
            raise ValueError(
                f"The group {groups[int(np.argmin(places))]!r} is not among the "
                f"{len(self.groups)} drawn ones; draw the groups of all tables."
            )
        return places


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
    generator = np.random.default_rng(seed)
    counts = np.empty((resamples, len(names)), np.uint8)  # no group is drawn over 255 times
    rows = _rows_at_once(len(names))
    for start in range(0, resamples, rows):
        part = counts[start : start + rows]
        part[:] = generator.multinomial(len(names), shares, size=len(part))
    return GroupDraws(names, counts)


@dataclass(frozen=True)
class Interval:
    """A number with its 95 % interval.

    Attributes:
        value: The number; NaN where it is undefined.
        low: Lower end. Both ends are NaN where there is no interval.
        high: Upper end.
        note: Why the number or its interval is missing, or why it is a bound on one side.
    """

    value: float
    low: float
    high: float
    note: str = ""

    @property
    def exists(self) -> bool:
        """Whether there is an interval, on two sides or one."""
        return not np.isnan(self.low)

    @property
    def at_least(self) -> bool:
        """Whether it is a lower bound: the number is the highest that is possible."""
        return self.exists and self.high == self.value

    @property
    def at_most(self) -> bool:
        """Whether it is an upper bound: the number is the lowest that is possible."""
        return self.exists and self.low == self.value


@dataclass(frozen=True)
class Extent:
    """How many radiographs and groups of patients a number is measured on.

    Attributes:
        images: Radiographs.
        groups: Groups that have one.
        effective: As how many groups of equal size they count (Kish, 1965): 20 groups of which
            one has half of the radiographs count as fewer than 4.
    """

    images: float
    groups: int
    effective: float

    @classmethod
    def of(cls, by_group: Shaped[np.ndarray, " groups"]) -> "Extent":
        """Counts the radiographs of each group."""
        squares = float((np.asarray(by_group, float) ** 2).sum())
        images = float(by_group.sum())
        return cls(images, int((by_group > 0).sum()), images**2 / squares if squares else 0.0)


def few_groups(groups: int, which: str = "") -> str:
    """Returns why so few groups give no interval; nothing where they are enough.

    Args:
        groups: How many there are.
        which: Such as `with COVID-19`.
    """
    if groups >= FEWEST_GROUPS:
        return ""
    owners = f"{groups} group{'s' * (groups != 1)} of patients {which}".rstrip()
    return f"no interval: {owners}, expected at least {FEWEST_GROUPS}"


def percentiles(value: float, drawn: Float[np.ndarray, " resamples"], groups: float) -> Interval:
    """Returns the expanded percentiles of a number's resamples (Hesterberg, 2015, section 5.3).

    They lie further out than 2.5 and 97.5 %, as Student's t does than the normal distribution.

    Args:
        value: A number over all diagnoses.
        drawn: The number in every resample.
        groups: As how many groups the rarest diagnosis counts.
    """
    from scipy.special import ndtr

    lost = undefined(drawn)
    if lost:
        return Interval(value, np.nan, np.nan, lost)
    end = float(ndtr(-NORMAL * _widening(groups)))
    low, high = np.nanquantile(drawn, (end, 1 - end))
    if high - low < 1e-12:
        return Interval(value, np.nan, np.nan, "no interval: the same in every resample")
    return Interval(value, float(low), float(high))


def share_interval(
    value: float, drawn: Float[np.ndarray, " resamples"], extent: Extent
) -> Interval:
    """Returns the interval of a share of radiographs, such as accuracy or recall.

    Jeffreys' interval for as many independent trials as would have the variance of the resamples
    (Korn and Graubard, 1998, with Jeffreys' instead of the exact interval), fewer where few groups
    tell the variance. A share of 0 or 1 has
    a bound on one side instead, at `LEVEL`, with each group as one trial (the rule of three).

    Args:
        value: The share, in [0, 1].
        drawn: The share in every resample.
        extent: The radiographs of which it is a share.
    """
    from scipy.special import betaincinv

    if value <= 0 or value >= 1:
        reach = (1 - LEVEL) ** (1 / extent.effective)
        count = f"in {extent.groups} groups of patients"
        if value >= 1:
            return Interval(value, float(reach), value, f"no error {count}")
        return Interval(value, value, float(1 - reach), f"none right {count}")
    lost = undefined(drawn)
    if lost:
        return Interval(value, np.nan, np.nan, lost)
    variance = float(np.nanvar(drawn))
    trials = extent.images
    if variance > 0:
        trials = min(trials, value * (1 - value) / variance)
    trials /= _widening(extent.effective) ** 2
    right, wrong = value * trials + 0.5, (1 - value) * trials + 0.5
    low, high = (betaincinv(right, wrong, end) for end in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Interval(value, float(low), float(high))


def area_interval(
    value: float, drawn: Float[np.ndarray, " resamples"], ill: Extent, well: Extent
) -> Interval:
    """Returns the interval of an area under the ROC curve.

    Newcombe's score-type interval (2006, part 2, method 5) with groups instead of radiographs:
    its variance depends on the area and not on the scores, so it is not too short where few
    groups happen to rank alike. It is widened where the resamples vary by more than that.

    Args:
        value: The area, in [0, 1].
        drawn: The area in every resample.
        ill: The radiographs with the diagnosis.
        well: Those without it.
    """
    lost = undefined(drawn)
    if lost:
        return Interval(value, np.nan, np.nan, lost)
    areas = 1 / (1 + np.exp(-np.linspace(-16, 16, 4000)))
    size = (ill.effective + well.effective) / 2 - 1

    def variance(area: np.ndarray) -> np.ndarray:
        spread = 1 + size * ((1 - area) / (2 - area) + area / (1 + area))
        return area * (1 - area) * spread / (ill.effective * well.effective)

    inside = np.clip(value, areas[0], areas[-1])
    wider = max(1.0, float(np.nanvar(drawn) / variance(inside))) if 0 < value < 1 else 1.0
    near = areas[np.abs(value - areas) <= NORMAL * np.sqrt(wider * variance(areas))]
    low, high = (near[0], near[-1]) if len(near) else (value, value)
    counted = f"{ill.groups} groups of patients"
    if value >= 1:
        return Interval(value, float(low), value, f"no error in {counted}")
    if value <= 0:
        return Interval(value, value, float(high), f"none right in {counted}")
    return Interval(value, min(float(low), value), max(float(high), value))


@dataclass(frozen=True)
class Difference:
    """A difference with its 95 % interval and the p value that belongs to it.

    Attributes:
        interval: Second minus first.
        p: Two-sided; NaN where there is no interval.
    """

    interval: Interval
    p: float


def paired_difference(
    value: float, drawn: Float[np.ndarray, " resamples"], groups: float, change: float = 1.0
) -> Difference:
    """Returns a difference of two shares, by Student's t.

    Bonett and Price (2012) add one pair that only the first got right and one that only the second
    got right; here each is a group of patients. So two rows that are right on the same radiographs
    have an interval around 0 that gets shorter with the number of groups.

    Args:
        value: The difference, in [-1, 1].
        drawn: The difference in every resample.
        groups: Groups of patients.
        change: How much a number changes if all groups turn from right to wrong.
    """
    from scipy.special import stdtr, stdtrit

    lost = undefined(drawn)
    if lost:
        return Difference(Interval(value, np.nan, np.nan, lost), np.nan)
    freedom = groups + 2 - 1
    squares = groups**2 * float(np.nanvar(drawn)) + 2 * change**2
    error = float(np.sqrt(squares / (groups + 2) / freedom))
    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * error
    p = 2 * float(stdtr(freedom, -abs(value) / error))
    return Difference(Interval(value, max(-1.0, value - half), min(1.0, value + half)), p)


def resampled_difference(
    value: float, drawn: Float[np.ndarray, " resamples"], groups: float
) -> Difference:
    """Returns a difference of two numbers over all diagnoses, by percentiles.

    Its p value is twice the smaller share of resamples on either side of 0, the measured one
    counted in, and at most 1 (Davison and Hinkley, 1997, chapter 4), and as much larger as the
    percentiles are expanded.
    """
    from scipy.special import ndtr, ndtri

    interval = percentiles(value, drawn, groups)
    if not interval.exists:
        return Difference(interval, np.nan)
    there = drawn[np.isfinite(drawn)]
    rarer = min(int((there <= 0).sum()), int((there >= 0).sum()))
    share = min(0.5, (rarer + 1) / (len(there) + 1))
    return Difference(interval, 2 * float(ndtr(ndtri(share) / _widening(groups))))


def undefined(drawn: Float[np.ndarray, " resamples"]) -> str:
    """Returns why too many undefined resamples give no interval; nothing where they are few."""
    lost = int((~np.isfinite(drawn)).sum())
    if lost <= UNDEFINED_SHARE * len(drawn):
        return ""
    return f"no interval: undefined in {lost} of {len(drawn)} resamples"


def _widening(groups: float) -> float:
    """Returns by how much Student's interval of so many groups is wider than the normal one."""
    from scipy.special import stdtrit

    groups = max(groups, 2.0)
    quantile = float(stdtrit(groups - 1, (1 + LEVEL) / 2))
    return quantile / NORMAL * float(np.sqrt(groups / (groups - 1)))


def _rows_at_once(groups: int) -> int:
    return max(1, AT_ONCE // groups)
