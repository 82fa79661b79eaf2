"""What is measured: precision, recall and F1 per diagnosis from predicted numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from flannel.data.diagnosis import FLANNEL, index_of
from flannel.predictions import probability_columns

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

MACRO = "macro"


@dataclass(frozen=True)
class ClassScores:
    """Precision, recall and F1 in [0, 1] of one diagnosis against the rest, or their macro mean.

    All three are NaN for a diagnosis that no radiograph has (`support` 0).
    """

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Scores:
    """What one run's predictions are worth on one set of radiographs.

    Attributes:
        by_class: Scores by diagnosis, in the label set's order, then "macro": the plain mean over
            the diagnoses that occur.
        accuracy: Share of radiographs whose most probable diagnosis is the true one, in [0, 1].
        confusion: Counts, rows true and columns predicted, in the label set's order.
    """

    by_class: dict[str, ClassScores]
    accuracy: float
    confusion: Int[np.ndarray, "classes classes"]


def scores(
    truth: Sequence[str],
    probabilities: Float[np.ndarray, "images classes"],
    diagnoses: Sequence[str] = FLANNEL,
) -> Scores:
    """Measures predictions against the truth, one diagnosis against the rest.

    Unlike the original's code (`measure.py`), whose argmax runs over text read back from a file,
    the predicted diagnosis is the argmax over numbers; a tie goes to the first in the label set.

    Args:
        truth: The diagnosis of each radiograph.
        probabilities: Predicted scores, any scale, one column per diagnosis.
        diagnoses: The label set, in order.

    Raises:
        ValueError: If there is no radiograph, the shapes do not fit, a score is not finite, or a
            diagnosis is outside the label set.
    """
    expected = (len(truth), len(diagnoses))
    if len(truth) == 0 or probabilities.shape != expected:
        raise ValueError(
            f"probabilities has the shape {probabilities.shape}, expected {expected}: one row for "
            f"each of the {len(truth)} true diagnoses (at least one), one column per class."
        )
    if not np.isfinite(probabilities).all():
        raise ValueError("probabilities holds values that are not numbers: predict again.")
    true = np.array([index_of(name, diagnoses) for name in truth])
    predicted = probabilities.argmax(axis=1)
    labels = np.arange(len(diagnoses))
    precision, recall, f1, support = precision_recall_fscore_support(
        true, predicted, labels=labels, zero_division=0
    )
    by_class = {
        name: ClassScores(float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]))
        if support[i]
        else ClassScores(np.nan, np.nan, np.nan, 0)
        for i, name in enumerate(diagnoses)
    }
    by_class[MACRO] = _macro(list(by_class.values()))
    return Scores(
        by_class=by_class,
        accuracy=float((true == predicted).mean()),
        confusion=confusion_matrix(true, predicted, labels=labels),
    )


def _macro(classes: list[ClassScores]) -> ClassScores:
    """Averages over the diagnoses that occur, each with the same weight."""
    present = [one for one in classes if one.support]
    return ClassScores(
        precision=float(np.mean([one.precision for one in present])),
        recall=float(np.mean([one.recall for one in present])),
        f1=float(np.mean([one.f1 for one in present])),
        support=sum(one.support for one in present),
    )


def classification_metrics(classes: int, prefix: str) -> "MetricCollection":
    """Makes the metrics that a learner logs while it trains: `<prefix>macro_f1` and `accuracy`.

    Args:
        classes: Number of diagnoses.
        prefix: What the logged names begin with, such as "val/".
    """
    # Imported here, so that a comparison from files alone does not wait for torch.
    from torchmetrics import MetricCollection
    from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

    return MetricCollection(
        {
            "macro_f1": MulticlassF1Score(num_classes=classes, average="macro"),
            "accuracy": MulticlassAccuracy(num_classes=classes, average="micro"),
        },
        prefix=prefix,
    )


def measured_splits(
    table: pd.DataFrame, diagnoses: Sequence[str] = FLANNEL
) -> dict[str, dict[str, object]]:
    """Sums a predictions table up for `metrics.json`: by split, macro F1, accuracy, F1 by class.

    Args:
        table: A predictions table.
        diagnoses: The label set.
    """
    summary: dict[str, dict[str, object]] = {}
    for split, rows in table.groupby("split"):
        found = scores(
            list(rows["diagnosis"]), rows[probability_columns(diagnoses)].to_numpy(), diagnoses
        )
        summary[str(split)] = {
            "images": len(rows),
            "macro_f1": found.by_class[MACRO].f1,
            "accuracy": found.accuracy,
            "f1": {name: found.by_class[name].f1 for name in diagnoses},
        }
    return summary
