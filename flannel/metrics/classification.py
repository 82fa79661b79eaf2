"""What is measured: counts and rankings of predicted numbers, per diagnosis and over all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Num

from flannel.data.diagnosis import index_of
from flannel.errors import FlannelError
from flannel.study.predictions import probability_columns

MACRO = "macro"
OVERALL = "overall"
COUNTED = ("precision", "recall", "f1", "specificity")
"""Measures of one diagnosis against the rest that the confusion matrix settles."""

RANKED = ("roc_auc", "average_precision")
"""Measures of one diagnosis against the rest for which the order of the probabilities counts."""

CLASS_MEASURES = (*COUNTED, *RANKED)
OVERALL_MEASURES = ("accuracy", "balanced_accuracy", "mcc", "brier")

ABSENT = "no radiograph is {}"
"""Why a diagnosis has no number."""


class MeasureError(FlannelError):
    """Raised when predictions cannot be measured or compared."""


@dataclass(frozen=True)
class ClassScores:
    """What the predictions are worth for one diagnosis against the rest, or the macro mean.

    All are in [0, 1], and NaN where they are undefined: everything but specificity for a diagnosis
    that no radiograph has (`support` 0), precision also for one that is never predicted,
    specificity and ROC-AUC where every radiograph has it. A macro mean is over the diagnoses that
    occur, and undefined if it is for one of these.
    """

    precision: float
    recall: float
    f1: float
    support: int
    specificity: float
    roc_auc: float
    average_precision: float


@dataclass(frozen=True)
class Scores:
    """What one run's predictions are worth on one set of radiographs.

    Attributes:
        by_class: Scores by diagnosis, in the label set's order, then "macro".
        accuracy: Share of radiographs whose most probable diagnosis is the true one, in [0, 1].
        balanced_accuracy: Mean recall of the diagnoses that occur, which is macro recall.
        mcc: Matthews' correlation for several classes (Gorodkin, 2004), in [-1, 1]; NaN if all
            radiographs have one diagnosis, or all predictions are one.
        brier: Mean over the radiographs of the squared distance between probabilities and truth
            (Brier, 1950), in [0, 2] for probabilities that sum to 1; 0 is best.
        confusion: Counts, rows true and columns predicted, in the label set's order.
        undefined: Why a measure is NaN, by class (or "macro", "overall") and measure.
    """

    by_class: dict[str, ClassScores]
    accuracy: float
    balanced_accuracy: float
    mcc: float
    brier: float
    confusion: Int[np.ndarray, "classes classes"]
    undefined: Mapping[tuple[str, str], str]

    def value(self, name: str, measure: str) -> float:
        """Returns one number by class (or "macro", "overall") and measure."""
        return float(getattr(self if name == OVERALL else self.by_class[name], measure))


def scores(
    truth: Sequence[str],
    probabilities: Float[np.ndarray, "images classes"],
    diagnoses: Sequence[str],
) -> Scores:
    """Measures predictions against the truth, one diagnosis against the rest.

    Unlike the original's code (`measure.py`), whose argmax runs over text read back from a file
    (docs/text_argmax.md), the predicted diagnosis is the argmax over numbers; a tie goes to the
    first in the label set.

    Args:
        truth: The diagnosis of each radiograph.
        probabilities: Predicted scores, any scale, one column per diagnosis.
        diagnoses: The label set, in order.

    Raises:
        MeasureError: If there is no radiograph, the shapes do not fit, a score is not finite, or a
            diagnosis is outside the label set.
    """
    true = checked_truth(truth, probabilities, diagnoses)
    confusion = np.zeros((len(diagnoses), len(diagnoses)), int)
    np.add.at(confusion, (true, probabilities.argmax(axis=1)), 1)
    support = confusion.sum(axis=1)
    by_class = counted(confusion, support > 0)
    ranked = [ranking(probabilities[:, i], true == i) for i in range(len(diagnoses))]
    for measure, columns in zip(RANKED, zip(*ranked, strict=True), strict=True):
        values = np.array([ranked.value for ranked in columns])
        by_class[measure] = with_macro(values, support > 0)
    names = (*diagnoses, MACRO)
    counts = [*support.tolist(), int(support.sum())]
    scores_of = {
        name: ClassScores(
            support=counts[i],
            **{measure: float(by_class[measure][i]) for measure in CLASS_MEASURES},
        )
        for i, name in enumerate(names)
    }
    mcc = float(matthews(confusion))
    return Scores(
        by_class=scores_of,
        accuracy=float(np.trace(confusion) / len(true)),
        balanced_accuracy=scores_of[MACRO].recall,
        mcc=mcc,
        brier=float(squared_distances(true, probabilities).mean()),
        confusion=confusion,
        undefined=_reasons(scores_of, mcc, len(true)),
    )


def checked_truth(
    truth: Sequence[str],
    probabilities: Float[np.ndarray, "images classes"],
    diagnoses: Sequence[str],
) -> Int[np.ndarray, " images"]:
    """Returns the true diagnoses as places in the label set, if the predictions fit them.

    Raises:
        MeasureError: As `scores`.
    """
    expected = (len(truth), len(diagnoses))
    if len(truth) == 0 or probabilities.shape != expected:
        raise MeasureError(
            f"probabilities has the shape {probabilities.shape}, expected {expected}: one row for "
            f"each of the {len(truth)} true diagnoses (at least one), one column per class."
        )
    if not np.isfinite(probabilities).all():
        raise MeasureError("probabilities holds values that are not numbers: predict again.")
    return np.array([index_of(name, diagnoses) for name in truth])


def counted(
    confusion: Num[np.ndarray, "*draws classes classes"], occurring: Bool[np.ndarray, " classes"]
) -> dict[str, Float[np.ndarray, "*draws classes+1"]]:
    """Returns precision, recall, F1 and specificity of each class, and behind them the macro mean.

    F1 is 2 TP / (2 TP + FP + FN), which equals 2 PR / (P + R) and is 0, not undefined, where a
    class occurs and is never predicted.

    Args:
        confusion: Counts or weights, rows true and columns predicted; one matrix per draw.
        occurring: The classes over which the macro mean goes.
    """
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    true, predicted = confusion.sum(axis=-1), confusion.sum(axis=-2)
    total = confusion.sum(axis=(-2, -1))[..., None]
    absent = true == 0
    measures = {
        "precision": np.where(absent, np.nan, ratio(right, predicted)),
        "recall": ratio(right, true),
        "f1": np.where(absent, np.nan, ratio(2 * right, true + predicted)),
        "specificity": ratio(total - true - predicted + right, total - true),
    }
    return {measure: with_macro(values, occurring) for measure, values in measures.items()}


def matthews(confusion: Num[np.ndarray, "*draws classes classes"]) -> Float[np.ndarray, "*draws"]:
    """Returns Matthews' correlation of several classes (Gorodkin, 2004), NaN where it is 0 / 0."""
    matrix = confusion.astype(np.float64)
    true, predicted, total = matrix.sum(axis=-1), matrix.sum(axis=-2), matrix.sum(axis=(-2, -1))
    right = np.trace(matrix, axis1=-2, axis2=-1)
    spread = (total**2 - (predicted**2).sum(axis=-1)) * (total**2 - (true**2).sum(axis=-1))
    return ratio(right * total - (true * predicted).sum(axis=-1), np.sqrt(spread))


@dataclass(frozen=True)
class Ranked:
    """A measure of how a score ranks radiographs.

    Attributes:
        value: In [0, 1]; NaN where it is undefined.
        changes: By how much each radiograph changes the value, per unit of its weight (the
            influence function). They sum to 0.
    """

    value: float
    changes: Float[np.ndarray, " images"]


def ranking(
    score: Float[np.ndarray, " images"], positive: Bool[np.ndarray, " images"]
) -> tuple[Ranked, Ranked]:
    """Returns ROC-AUC and average precision of a score.

    The area counts half for a pair of equal scores (Mann and Whitney); its changes are the
    placements of DeLong, DeLong and Clarke-Pearson (1988). Average precision is the sum over the
    distinct scores of precision times the gain in recall, without interpolation.

    Args:
        score: The higher, the more the class is suspected; any scale.
        positive: Which images have the class.
    """
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=-np.inf))  # image of each distinct score
    place = np.empty(len(score), int)
    place[order] = np.searchsorted(last, np.arange(len(score)))  # each image's distinct score
    above = last + 1.0  # images, by distinct score, those that share it too
    hits_above = np.cumsum(positive[order], dtype=float)[last]
    everything, hits = (np.diff(summed, prepend=0) for summed in (above, hits_above))
    positives, total = hits_above[-1], above[-1]
    # Of the negatives, those below a score and half of those that share it.
    beaten = (total - positives) - (above - hits_above) + (everything - hits) / 2
    beaten_by = hits_above - hits / 2  # positives above a score and half of those that share it
    area = float(ratio(hits @ beaten, positives * (total - positives)))
    precision = hits_above / above
    average = float(ratio(hits @ precision, positives))
    placements = np.where(
        positive,
        ratio(beaten, total - positives)[place],
        ratio(beaten_by, positives)[place],
    )
    of_area = ratio(placements - area, np.where(positive, positives, total - positives))
    # A radiograph changes the precision at its own score and at every lower one.
    gain, loss = (
        np.cumsum(part[::-1])[::-1][place] for part in (hits / above, hits * precision / above)
    )
    of_average = ratio(positive * (precision[place] - average + gain) - loss, positives)
    return Ranked(area, of_area), Ranked(average, of_average)


def squared_distances(
    true: Int[np.ndarray, " images"], probabilities: Float[np.ndarray, "images classes"]
) -> Float[np.ndarray, " images"]:
    """Returns the squared distance of each image's probabilities from the truth (Brier, 1950)."""
    return ((probabilities - np.eye(probabilities.shape[1])[true]) ** 2).sum(axis=1)


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divides, and gives NaN where the divisor is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), whole)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole != 0)


def with_macro(
    values: Float[np.ndarray, "*draws classes"], occurring: Bool[np.ndarray, " classes"]
) -> Float[np.ndarray, "*draws classes+1"]:
    """Puts the plain mean over the occurring classes behind their values."""
    return np.concatenate([values, values[..., occurring].mean(axis=-1, keepdims=True)], axis=-1)


def _reasons(
    by_class: Mapping[str, ClassScores], mcc: float, images: int
) -> dict[tuple[str, str], str]:
    """Returns the reason for every measure that is NaN."""
    reasons = {}
    for name, of_class in by_class.items():
        for measure in CLASS_MEASURES:
            if not np.isnan(getattr(of_class, measure)):
                continue
            if name == MACRO:
                lacking = [
                    other
                    for other, its in by_class.items()
                    if its.support and other != MACRO and np.isnan(getattr(its, measure))
                ]
                reasons[name, measure] = f"undefined for {', '.join(lacking)}"
            elif of_class.support == 0:
                reasons[name, measure] = ABSENT.format(name)
            elif of_class.support == images:
                reasons[name, measure] = f"every radiograph is {name}"
            else:
                reasons[name, measure] = f"{name} is never predicted"
    if np.isnan(mcc):
        reasons[OVERALL, "mcc"] = "all diagnoses, or all predictions, are one and the same"
    return reasons


def measured_splits(table: pd.DataFrame, diagnoses: Sequence[str]) -> dict[str, dict[str, object]]:
    """Sums a predictions table up for `metrics.json`: by split, macro F1, accuracy, F1 by class.

    Args:
        table: A predictions table.
        diagnoses: The label set.
    """
    summary: dict[str, dict[str, object]] = {}
    for split, rows in table.groupby("split"):
        measured = scores(
            list(rows["diagnosis"]), rows[probability_columns(diagnoses)].to_numpy(), diagnoses
        )
        summary[str(split)] = {
            "images": len(rows),
            "macro_f1": measured.by_class[MACRO].f1,
            "accuracy": measured.accuracy,
            "f1": {name: measured.by_class[name].f1 for name in diagnoses},
        }
    return summary


def macro_f1_line(measured: Mapping[str, Any]) -> str:
    """Returns the macro F1 of each split in words, from `measured_splits` or `metrics.json`."""
    return ", ".join(f"{split} macro F1 {row['macro_f1']:.4f}" for split, row in measured.items())
