"""Table 3 of paper 004: the F1 of every diagnosis, with the published rows beside it."""

from collections.abc import Sequence
from importlib.resources import files

import pandas as pd

from flannel.comparison.measurements import Measurements, Row
from flannel.comparison.results import Comparison
from flannel.comparison.tables.cells import caption_of, listed, measure_cell, score_cell
from flannel.comparison.tables.layout import Line, Table
from flannel.data.diagnosis import FLANNEL
from flannel.metrics.classification import MACRO
from flannel.study.contents import ENSEMBLE, SHORTCUT, arm_place, learner_place

SHORTCUTS = f"The arm {SHORTCUT} holds baselines: random forests that see no lung pixels."
PUBLISHED = (
    "Rows of paper 004 and of its authors' final report are for orientation only: they were "
    "measured on other radiographs, and the two arms on different test images. The published base "
    "learners' scores used an argmax over text."
)


def table_3(measurements: Measurements) -> Table:
    """Lays our F1 beside the published ones, row by row (paper 004, Table 3)."""
    comparison = measurements.comparison
    names = (*comparison.diagnoses, MACRO)
    published = published_scores(comparison.diagnoses)
    beside = len(published) > 0
    lines: list[Line] = []
    numbers: list[pd.DataFrame] = []
    for arm in _arms(comparison.arms, published):
        first = len(lines)
        for learner in _learners(measurements, published, arm):
            row = measurements.row(arm, learner)
            if row is not None:
                lines.append(_our_line(row, names, opens=len(lines) == first > 0))
                numbers.append(_our_numbers(row))
            part = published[(published["arm"] == arm) & (published["learner"] == learner)]
            if len(part):
                lines.append(_published_line(part, names, opens=len(lines) == first > 0))
                numbers.append(part)
    return Table(
        name="table_3",
        title="F1 on the test radiographs" + ", and as published" * beside,
        caption=caption_of(comparison)
        + f" {SHORTCUTS}" * bool(measurements.shortcuts)
        + f" {PUBLISHED}" * beside,
        head=("arm", "learner", "from", *names),
        lines=tuple(lines),
        numbers=pd.concat(numbers, ignore_index=True),
        names=3,
    )


def scores_table(comparison: Comparison) -> pd.DataFrame:
    """Lists precision, recall and F1 by arm, learner, fold and class, "macro" included."""
    return pd.DataFrame(
        [
            {
                "arm": result.run.arm,
                "learner": result.run.learner,
                "fold": result.run.fold,
                "class": name,
                "precision": of_class.precision,
                "recall": of_class.recall,
                "f1": of_class.f1,
                "support": of_class.support,
            }
            for result in comparison.results
            for name, of_class in result.scores.by_class.items()
        ]
    )


def _our_line(row: Row, names: Sequence[str], opens: bool) -> Line:
    cells = [measure_cell(row.measured, name, "f1") for name in names]
    return Line(
        (row.arm, row.learner, _folds(row), *cells),
        "strong" if row.learner == ENSEMBLE else "plain",
        opens,
    )


def _folds(row: Row) -> str:
    folds = row.measured.folds
    return f"fold{'s' * (len(folds) > 1)} {listed(folds)}"


def _our_numbers(row: Row) -> pd.DataFrame:
    table = row.measured.table()
    table = table[table["measure"] == "f1"].drop(columns=["measure", "note"])
    return table.rename(columns={"mean": "f1"}).assign(
        arm=row.arm, learner=row.learner, source="this study"
    )[["arm", "learner", "class", "f1", "deviation", "low", "high", "folds", "source"]]


def _published_line(part: pd.DataFrame, names: Sequence[str], opens: bool) -> Line:
    by_class = part.set_index("class").reindex(list(names))
    cells = [
        score_cell(f1, deviation, digits=(4, 2))
        for f1, deviation in zip(by_class["f1"], by_class["deviation"], strict=True)
    ]
    arm, learner, source = part[["arm", "learner", "source"]].iloc[0]
    return Line((arm, learner, source, *cells), "soft", opens)


def _arms(ours: Sequence[str], published: pd.DataFrame) -> list[str]:
    return sorted({*ours, *published["arm"]}, key=arm_place)


def _learners(measurements: Measurements, published: pd.DataFrame, arm: str) -> list[str]:
    ours = [row.learner for row in measurements.rows if row.arm == arm]
    theirs = published.loc[published["arm"] == arm, "learner"]
    return sorted({*ours, *theirs}, key=learner_place)


def published_scores(diagnoses: Sequence[str]) -> pd.DataFrame:
    """Reads the published F1 scores: paper 004, Table 3, and its authors' final report.

    They were measured on other radiographs than any study here, the two arms on different test
    images, and precision and recall of the base learners came from an argmax over text: they
    are for orientation, not a measure of our numbers.

    Args:
        diagnoses: The label set of the study; the papers' numbers are of FLANNEL's four only.

    Returns:
        One row per arm, learner and class ("macro" included): `f1` in [0, 1], `deviation` the
        sample deviation over five folds, and `source`. The learner "FLANNEL_OldData" is the row of
        the FLANNEL paper of 2020. No row for another label set.
    """
    with (
        files("flannel.comparison.tables")
        .joinpath("published.csv")
        .open(encoding="utf-8") as stream
    ):
        table = pd.read_csv(stream)
    return table if tuple(diagnoses) == FLANNEL else table.head(0)
