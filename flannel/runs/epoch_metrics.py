"""What a learner measures after every epoch: macro F1, accuracy, and the F1 of each diagnosis."""

from collections.abc import Sequence

from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score


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
        """Returns the F1 in [0, 1]; 0 where nothing is counted."""
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
