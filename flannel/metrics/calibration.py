"""Whether a probability means what it says: reliability, calibration error, one temperature.

Everything that is fitted, here a temperature and the floor that belongs to it, is fitted on
validation rows; test rows are only measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from flannel.data.diagnosis import index_of
from flannel.metrics.classification import MeasureError, squared_distances
from flannel.study.predictions import probability_columns

BINS = 10
ROUNDING = 1e-6
"""By how much a confidence may exceed the upper edge of its bin: a share of 3 in 10 votes, in
float32 or in a table of 8 digits, is a little more than 0.3."""
TEMPERATURES = (0.05, 20.0)
"""Between which a temperature is sought."""

MEASURES = ("ece", "brier", "log_loss")


@dataclass(frozen=True)
class Bin:
    """The radiographs whose confidence lies in (low, high]; the first bin holds 0 too.

    Attributes:
        low: Lower edge.
        high: Upper edge.
        images: How many there are.
        confidence: Their mean confidence, NaN if there are none.
        share: The share for which it came true, likewise.
    """

    low: float
    high: float
    images: int
    confidence: float
    share: float


def reliability(
    confidence: Float[np.ndarray, " images"],
    happened: Bool[np.ndarray, " images"],
    bins: int = BINS,
) -> tuple[Bin, ...]:
    """Returns the reliability curve: how often predictions of some confidence are right.

    Args:
        confidence: In [0, 1].
        happened: Whether it came true.
        bins: Number of bins, equally wide.

    Raises:
        MeasureError: If a confidence lies outside [0, 1].
    """
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise MeasureError(
            f"confidence runs from {confidence.min()} to {confidence.max()}; expected [0, 1]."
        )
    confidence = np.asarray(confidence, np.float64)
    edges = np.linspace(0, 1, bins + 1)
    places = np.digitize(confidence - ROUNDING, edges[1:-1], right=True)
    curve = []
    for place in range(bins):
        inside = places == place
        some = bool(inside.any())
        curve.append(
            Bin(
                low=float(edges[place]),
                high=float(edges[place + 1]),
                images=int(inside.sum()),
                confidence=float(confidence[inside].mean()) if some else np.nan,
                share=float(happened[inside].mean()) if some else np.nan,
            )
        )
    return tuple(curve)


def calibration_error(bins: Sequence[Bin]) -> float:
    """Returns the expected calibration error (Guo et al., 2017, equation 3), in [0, 1].

    It depends on the bins, and is above 0 by chance alone where they hold few radiographs: look at
    them, and take no interval from resampling it.
    """
    images = sum(part.images for part in bins)
    return (
        sum(part.images * abs(part.confidence - part.share) for part in bins if part.images)
        / images
    )


def top_label(
    true: Int[np.ndarray, " images"], probabilities: Float[np.ndarray, "images classes"]
) -> tuple[Float[np.ndarray, " images"], Bool[np.ndarray, " images"]]:
    """Returns the probability of the predicted diagnosis, and whether that is the true one."""
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == true


@dataclass(frozen=True)
class Temperature:
    """One number that makes probabilities more or less sure (Guo et al., 2017, section 4.2).

    Attributes:
        value: Above 1 less sure, below 1 surer.
        floor: Probabilities below it count as it: the logarithm of a share of no vote at all
            would be infinite.
        at_bound: Whether the search ended at a bound of `TEMPERATURES`, as it does where every
            validation radiograph is right: then the value says nothing.
    """

    value: float
    floor: float
    at_bound: bool

    def apply(
        self, probabilities: Float[np.ndarray, "images classes"]
    ) -> Float[np.ndarray, "images classes"]:
        """Returns softmax(log p / T), which changes no order within a radiograph."""
        return _tempered(_logarithms(probabilities, self.floor), 1 / self.value)


def fit_temperature(
    true: Int[np.ndarray, " images"],
    probabilities: Float[np.ndarray, "images classes"],
    floor: float | None = None,
) -> Temperature:
    """Fits the temperature that makes the true diagnoses of validation rows most likely.

    The logarithm of a probability stands for the logit: for a softmax they differ by a number per
    radiograph, which changes nothing. So shares of votes and ensembles are scaled like networks.

    Args:
        true: PatchLocations in the label set.
        probabilities: Of validation rows, which need not sum to 1.
        floor: By default half of the smallest probability above 0 that occurs: with K votes, half
            a vote.

    Raises:
        MeasureError: If there are no rows, or one has no probability above 0, or one below 0.
    """
    # scipy.optimize takes long to import, and `--help` needs the command table only.
    from scipy.optimize import minimize_scalar

    if len(true) == 0:
        raise MeasureError("There are no validation rows to fit a temperature on.")
    _check(probabilities)
    if floor is None:  # a number whose half is 0 has a logarithm, and its half has none
        floor = max(float(probabilities[probabilities > 0].min()) / 2, np.finfo(float).tiny)
    logarithms = _logarithms(probabilities, floor)

    def loss(of_log: float) -> float:
        return _log_loss(true, _tempered(logarithms, float(np.exp(-of_log))))

    bounds = tuple(np.log(TEMPERATURES))
    optimum = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    near = min(abs(optimum.x - bound) for bound in bounds) < 1e-3
    return Temperature(float(np.exp(optimum.x)), floor, bool(near))


@dataclass(frozen=True)
class CalibrationScores:
    """How well the probabilities of some radiographs are calibrated; less is better.

    Attributes:
        ece: Expected calibration error of the predicted diagnosis, in [0, 1].
        brier: Mean squared distance from the truth over all diagnoses, in [0, 2].
        log_loss: Mean negative logarithm of the true diagnosis' probability.
        bins: The bins of `ece`.
    """

    ece: float
    brier: float
    log_loss: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Calibration:
    """The test rows of one fold, as they are and with the temperature of its validation rows."""

    temperature: Temperature
    before: CalibrationScores
    after: CalibrationScores


def calibrate(
    test: pd.DataFrame, validation: pd.DataFrame, diagnoses: Sequence[str]
) -> Calibration:
    """Fits a temperature on a fold's validation rows, and measures its test rows without and with.

    Probabilities that do not sum to 1, as means of sigmoids, are divided by their sum first. The
    floor counts for the logarithmic loss before, too, which would be infinite otherwise.

    Args:
        test: Test rows of a predictions table.
        validation: Validation rows of the same run.
        diagnoses: The label set.

    Raises:
        MeasureError: If there are no rows, or a row's probabilities are below 0 or all 0.
    """
    temperature = fit_temperature(*_numbers(validation, diagnoses))
    true, probabilities = _numbers(test, diagnoses)
    if len(true) == 0:
        raise MeasureError("There are no test rows to measure calibration on.")
    _check(probabilities)
    sums = probabilities.sum(axis=1, keepdims=True)
    kept = Temperature(1.0, temperature.floor, at_bound=False)
    scores = []
    for of_brier, of_loss in (
        (probabilities / sums, kept.apply(probabilities)),
        (temperature.apply(probabilities),) * 2,
    ):
        curve = reliability(*top_label(true, of_brier))
        scores.append(
            CalibrationScores(
                ece=calibration_error(curve),
                brier=float(squared_distances(true, of_brier).mean()),
                log_loss=_log_loss(true, of_loss),
                bins=curve,
            )
        )
    return Calibration(temperature, *scores)


def calibration_table(folds: Mapping[int, Calibration]) -> pd.DataFrame:
    """Averages over folds: measure, before, before_deviation, after, after_deviation, folds.

    Args:
        folds: By fold; the sample deviation is NaN where there is one.
    """
    rows = []
    for measure in MEASURES:
        row: dict[str, object] = {"measure": measure}
        for moment in ("before", "after"):
            values = pd.Series(
                [getattr(getattr(calibration, moment), measure) for calibration in folds.values()],
                dtype=float,
            )
            row |= {moment: values.mean(), f"{moment}_deviation": values.std()}
        rows.append({**row, "folds": ", ".join(str(fold) for fold in folds)})
    return pd.DataFrame(rows)


def _numbers(rows: pd.DataFrame, diagnoses: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    true = np.array([index_of(name, diagnoses) for name in rows["diagnosis"]], int)
    return true, rows[probability_columns(diagnoses)].to_numpy(float)


def _check(probabilities: np.ndarray) -> None:
    if (probabilities < 0).any() or not (probabilities > 0).any(axis=1).all():
        raise MeasureError(
            "A row of probabilities holds a number below 0, or none above 0: are these logits? "
            "Predict again."
        )


def _logarithms(probabilities: np.ndarray, floor: float) -> np.ndarray:
    return np.log(np.maximum(probabilities, floor))


def _tempered(logarithms: np.ndarray, factor: float) -> np.ndarray:
    scaled = factor * logarithms
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _log_loss(true: np.ndarray, probabilities: np.ndarray) -> float:
    of_truth = probabilities[np.arange(len(true)), true]
    return float(-np.log(np.maximum(of_truth, np.finfo(float).tiny)).mean())
