"""The cells and captions of the tables."""

from collections.abc import Sequence

import numpy as np

from flannel.comparison.results import Comparison
from flannel.metrics.intervals import Measured

UNDEFINED = "–"


def caption_of(comparison: Comparison) -> str:
    """Returns what a cell is: on how many radiographs, which folds, with what interval."""
    sizes = comparison.test_sizes
    if len(comparison.folds) == 1:
        spread = f"Fold {comparison.folds[0]} only, one training each, so no deviation is given"
    elif len(sizes) == 1:
        spread = "Mean ± sample deviation over folds, which share one test set"
    else:
        spread = "Mean ± sample deviation over folds, each with a test set of its own"
    scope = f" {comparison.scope}" if comparison.scope else ""
    return (
        f"{listed(sizes)} test radiographs, one diagnosis against the rest. {spread}; in brackets "
        f"the 95 % interval over groups of patients, or a bound (≥, ≤) where none or all are "
        f"wrong.{scope}"
    )


def measure_cell(row: Measured, name: str, measure: str) -> str:
    """Writes one number of a row: mean, deviation over folds and interval."""
    values, interval = row.values(name, measure), row.interval(name, measure)
    deviation = values.std(ddof=1) if len(values) > 1 else np.nan
    return score_cell(interval.value, deviation, (interval.low, interval.high))


def score_cell(
    mean: float,
    deviation: float = np.nan,
    interval: tuple[float, float] = (np.nan, np.nan),
    digits: tuple[int, int] = (3, 3),
) -> str:
    """Writes a score: `0.924 ± 0.010 [0.901, 0.945]`, without what there is not.

    Args:
        mean: A dash where it is NaN.
        deviation: Sample deviation over folds; NaN where there is one fold.
        interval: The 95 % interval; NaN where there is none.
        digits: Decimal places of the mean and its interval, and of the deviation.
    """
    if np.isnan(mean):
        return UNDEFINED
    text = _number(mean, digits[0])
    if not np.isnan(deviation):
        text += f" ± {_number(deviation, digits[1])}"
    return text + interval_text(mean, interval, digits[0])


def difference_cell(difference: float, interval: tuple[float, float]) -> str:
    """Writes a difference with its sign: `+0.030 [−0.010, 0.070]`."""
    if np.isnan(difference):
        return UNDEFINED
    sign = "+" if difference > 0 else ""
    return sign + _number(difference, 3) + interval_text(difference, interval, 3)


def interval_text(value: float, interval: tuple[float, float], digits: int) -> str:
    """Writes an interval in brackets after a space, a bound with its sign, or nothing."""
    low, high = interval
    if np.isnan(low) or np.isnan(high):
        return ""
    if value in interval:  # no radiograph is wrong, or none right: a bound on the other side
        sign, bound = ("≥", low) if value == high else ("≤", high)
        return f" [{sign} {_number(bound, digits)}]"
    return f" [{_number(low, digits)}, {_number(high, digits)}]"


def listed(names: Sequence[object]) -> str:
    """Joins names with commas."""
    return ", ".join(str(name) for name in names)


def _number(value: float, digits: int) -> str:
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def number_cell(value: float) -> str:
    """Writes a number with two places, a dash where it is NaN."""
    return UNDEFINED if np.isnan(value) else _number(value, 2)


def p_cell(value: float) -> str:
    """Writes a p value with three places."""
    if np.isnan(value):
        return UNDEFINED
    return "<0.001" if value < 0.001 else f"{value:.3f}"
