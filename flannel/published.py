"""The F1 scores that were published, as data with their source."""

from importlib.resources import files

import pandas as pd


def published_scores() -> pd.DataFrame:
    """Reads the published F1 scores: paper 004, Table 3, and its authors' final report.

    They were measured on other radiographs than any study here, the two arms on different test
    images, and precision and recall of the base learners came from an argmax over text: they stand
    beside our numbers for orientation, not as a measure of them.

    Returns:
        One row per arm, learner and class ("macro" included): `f1` in [0, 1], `deviation` the
        sample deviation over five folds, and `source`. The learner "FLANNEL_OldData" is the row of
        the FLANNEL paper of 2020.
    """
    with files("flannel").joinpath("published.csv").open(encoding="utf-8") as stream:
        return pd.read_csv(stream)
