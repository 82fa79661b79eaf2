"""What a clinic asks of probabilities: calibration by diagnosis, net benefit, predictive values."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from flannel.metrics.classification import MeasureError

FLOOR = 1e-3
"""Probabilities nearer to 0 or 1 count as this near: no vote at all has infinite log odds."""

TINY = 1e-12
STEEPEST = 50.0
"""A slope beyond this is none: the diagnosis is separated from the others."""


@dataclass(frozen=True)
class Recalibration:
    """How one diagnosis' probabilities would have to change to be calibrated.

    Attributes:
        intercept: Calibration in the large: what to add to the log odds so that as many
            radiographs are expected as there are. 0 is best; below 0 probabilities are too high.
        slope: Of the true diagnosis on the log odds. 1 is best; below 1 they are too extreme.
    """

    intercept: float
    slope: float


def recalibration(
    probability: Float[np.ndarray, " images"], positive: Bool[np.ndarray, " images"]
) -> Recalibration:
    """Fits intercept and slope (Cox, 1958; Van Calster et al., 2019), each by maximum likelihood.

    The intercept is that of a model whose slope is held at 1.

    Args:
        probability: Of one diagnosis, in [0, 1]; clipped at `FLOOR`.
        positive: Which radiographs have it.

    Returns:
        NaN where there is no radiograph with or without the diagnosis; the slope is also NaN where
        the probabilities separate the two, or are all alike.
    """
    # SciPy takes long to import, and `--help` needs the command table only.
    from scipy.optimize import brentq, minimize
    from scipy.special import expit

    share = positive.mean() if len(positive) else 0.0
    if share in (0, 1):
        return Recalibration(np.nan, np.nan)
    clipped = np.clip(probability.astype(float), FLOOR, 1 - FLOOR)
    odds = np.log(clipped / (1 - clipped))
    intercept = brentq(lambda add: float((expit(odds + add) - positive).sum()), -30, 30)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        scores = parameters[0] + parameters[1] * odds
        errors = expit(scores) - positive
        value = np.maximum(scores, 0) - scores * positive + np.log1p(np.exp(-np.abs(scores)))
        return float(value.mean()), np.array([errors.mean(), (errors * odds).mean()])

    apart = odds[positive].min() >= odds[~positive].max()
    apart = apart or odds[positive].max() <= odds[~positive].min()
    if apart or np.ptp(odds) == 0:
        return Recalibration(float(intercept), np.nan)
    fitted = minimize(loss, np.array([intercept, 1.0]), jac=True, method="BFGS", tol=1e-9)
    slope = float(fitted.x[1])
    return Recalibration(float(intercept), slope if abs(slope) < STEEPEST else np.nan)


def net_benefit(
    probability: Float[np.ndarray, " images"],
    positive: Bool[np.ndarray, " images"],
    thresholds: Float[np.ndarray, " thresholds"],
) -> Float[np.ndarray, " thresholds"]:
    """Returns the net benefit of acting on probabilities from a threshold on.

    TP / n - FP / n * t / (1 - t) (Vickers and Elkin, 2006): the share of radiographs that are
    rightly acted on, less those that are wrongly acted on, weighed by the odds of the threshold.

    Args:
        probability: Of one diagnosis; ones everywhere give the benefit of acting on all.
        positive: Which radiographs have it.
        thresholds: In [0, 1).

    Raises:
        MeasureError: If there is no radiograph, or a threshold lies outside [0, 1).
    """
    if not len(positive) or not ((thresholds >= 0) & (thresholds < 1)).all():
        raise MeasureError(
            f"{len(positive)} radiographs and thresholds from {thresholds.min()} to "
            f"{thresholds.max()}; expected some radiographs, and thresholds in [0, 1)."
        )
    acted = probability[None, :] >= thresholds[:, None]  # (thresholds, images)
    right, wrong = (acted & positive).mean(axis=1), (acted & ~positive).mean(axis=1)
    return right - wrong * thresholds / (1 - thresholds)


def predictive_values(
    sensitivity: float, specificity: float, prevalence: float
) -> tuple[float, float]:
    """Returns positive and negative predictive value at a prevalence, by Bayes' rule.

    Args:
        sensitivity: In [0, 1].
        specificity: In [0, 1].
        prevalence: In (0, 1).

    Returns:
        The share with the diagnosis among the suspected, and without it among the others; NaN
        where none is suspected, or all are.
    """
    suspected = sensitivity * prevalence + (1 - specificity) * (1 - prevalence)
    positive = sensitivity * prevalence / suspected if suspected > TINY else np.nan
    negative = specificity * (1 - prevalence) / (1 - suspected) if 1 - suspected > TINY else np.nan
    return positive, negative
