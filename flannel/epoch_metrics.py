"""What a learner measures after every epoch: macro F1, accuracy, and the F1 of each diagnosis."""

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score
from torchmetrics.functional.classification import multiclass_stat_scores


class DiagnosisF1(MulticlassF1Score):
    """F1 of one diagnosis against the rest: a single number, as a curve needs it.

    Args:
        classes: Number of diagnoses.
        index: Which of them.
    """

    def __init__(self, classes: int, index: int) -> None:
        super().__init__(num_classes=classes, average="none")
        self.index = index

    def compute(self) -> Tensor:
        """Gives the F1 in [0, 1]; 0 where nothing is counted."""
        return super().compute()[self.index]


def classification_metrics(prefix: str, diagnoses: Sequence[str]) -> MetricCollection:
    """Makes the metrics: `<prefix>macro_f1`, `<prefix>accuracy` and `<prefix>f1_<diagnosis>`.

    Args:
        prefix: What the logged names begin with, such as "val/".
        diagnoses: The label set, in order.
    """
    classes = len(diagnoses)
    each = {f"f1_{name}": DiagnosisF1(classes, index) for index, name in enumerate(diagnoses)}
    return MetricCollection(
        {
            "macro_f1": MulticlassF1Score(num_classes=classes, average="macro"),
            "accuracy": MulticlassAccuracy(num_classes=classes, average="micro"),
            **each,
        },
        prefix=prefix,
    )


def split_metrics(
    prefix: str,
    scores: Float[Tensor, "rows classes"],
    target: Int[Tensor, " rows"],
    diagnoses: Sequence[str],
) -> dict[str, Float[Tensor, ""]]:
    """Gives what `classification_metrics` does, of all rows at once and from one count.

    For an ensemble, whose epoch takes milliseconds: metrics that collect and reset cost one more.

    Args:
        prefix: What the names begin with, such as "val/".
        scores: Any scale; the largest of a row is the prediction.
        target: Class indices.
        diagnoses: The label set, in order.
    """
    counts = multiclass_stat_scores(scores, target, len(diagnoses), average=None)
    right, false_positive, _, false_negative, support = counts.T
    both = 2 * right + false_positive + false_negative  # 0 if a diagnosis is neither true nor told
    f1 = 2 * right / both.clamp(min=1)
    return {
        f"{prefix}macro_f1": f1.sum() / (both > 0).sum(),
        f"{prefix}accuracy": right.sum() / support.sum(),
        **{f"{prefix}f1_{name}": value for name, value in zip(diagnoses, f1.unbind(), strict=True)},
    }
