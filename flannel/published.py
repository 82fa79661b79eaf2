"""The F1 scores that were published, as data with their source."""

from collections.abc import Sequence
from importlib.resources import files

import pandas as pd

from flannel.data.diagnosis import FLANNEL


def published_scores(diagnoses: Sequence[str]) -> pd.DataFrame:
    """Reads the published F1 scores: paper 004, Table 3, and its authors' final report.

    They were measured on other radiographs than any study here, the two arms on different test
    images, and precision and recall of the base learners came from an argmax over text: they stand
    beside our numbers for orientation, not as a measure of them.

    Args:
        diagnoses: The label set of the study; the papers' numbers are of FLANNEL's four only.

    Returns:
        One row per arm, learner and class ("macro" included): `f1` in [0, 1], `deviation` the
        sample deviation over five folds, and `source`. The learner "FLANNEL_OldData" is the row of
        the FLANNEL paper of 2020. No row for another label set.
    """
    with files("flannel").joinpath("published.csv").open(encoding="utf-8") as stream:
        table = pd.read_csv(stream)
    return table if tuple(diagnoses) == FLANNEL else table.head(0)
