"""How far a number varies: from training to training, fold to fold, and sample of patients."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from flannel.errors import FlannelError


@dataclass(frozen=True)
class VarianceParts:
    """Standard deviations of a number, by what they come from.

    Attributes:
        mean: Over folds, of the mean over each fold's trainings.
        lowest: Of all trainings.
        highest: Of all trainings.
        training: From training to training in one fold, with other seeds; NaN with one in each.
        folds: From fold to fold beyond that, at least 0; where a fold has one training, that of
            both together. NaN with one fold.
        folds_alone: Whether `folds` is without the deviation of training.
        patients: Of the mean, from sample to sample of patients.
    """

    mean: float
    lowest: float
    highest: float
    training: float
    folds: float
    folds_alone: bool
    patients: float


def variance_parts(
    values: Mapping[int, Float[np.ndarray, " seeds"]], drawn: Float[np.ndarray, " resamples"]
) -> VarianceParts:
    """Parts the variance of a number by the moments of a one-way analysis of variance.

    The mean square within folds is the variance of training. The variance of the folds' means,
    less the part that training has in it, is that of folds (Searle, Casella and McCulloch, 1992,
    section 3.6, with each fold's mean weighted alike).

    Args:
        values: Of each fold, one per seed; no NaN.
        drawn: The mean in resamples of groups of patients, NaN where it is undefined.

    Raises:
        FlannelError: If there is no value.
    """
    if not values or not all(len(each) for each in values.values()):
        raise FlannelError("values is empty; expected at least one training in each fold.")
    means = np.array([each.mean() for each in values.values()])
    counts = np.array([len(each) for each in values.values()])
    everything = np.concatenate(list(values.values()))
    freedom = len(everything) - len(means)
    within = sum(float(((each - each.mean()) ** 2).sum()) for each in values.values())
    training = within / freedom if freedom else np.nan
    between = float(means.var(ddof=1)) if len(means) > 1 else np.nan
    if freedom:
        between = max(between - training * float((1 / counts).mean()), 0.0)
    return VarianceParts(
        mean=float(means.mean()),
        lowest=float(everything.min()),
        highest=float(everything.max()),
        training=float(np.sqrt(training)),
        folds=float(np.sqrt(between)),
        folds_alone=bool(freedom),
        patients=float(np.nanstd(drawn, ddof=1)) if np.isfinite(drawn).sum() > 1 else np.nan,
    )
