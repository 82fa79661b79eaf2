"""Every measure of every row: over all diagnoses, and for the first of them."""

import re
from collections.abc import Sequence

import pandas as pd

from flannel.comparison.measurements import Measurements, Row
from flannel.comparison.tables.cells import caption_of, measure_cell
from flannel.comparison.tables.layout import Line, Table
from flannel.metrics.classification import CLASS_MEASURES, MACRO, OVERALL, OVERALL_MEASURES
from flannel.study.contents import ENSEMBLE

WORDS = {
    "f1": "F1",
    "roc_auc": "ROC-AUC",
    "average_precision": "average precision",
    "balanced_accuracy": "balanced accuracy",
    "mcc": "Matthews",
    "brier": "Brier",
}
"""Measures whose names in tables are not their names in code."""


def measures_tables(measurements: Measurements) -> list[Table]:
    """Lists all measures of all rows: one table over the diagnoses, one of the first diagnosis."""
    first = measurements.comparison.diagnoses[0]
    caption = caption_of(measurements.comparison)
    numbers = pd.concat(
        [row.measured.table().assign(arm=row.arm, learner=row.learner) for row in measurements.rows]
    )
    ahead = ["arm", "learner"]
    numbers = numbers[ahead + [name for name in numbers if name not in ahead]]
    over_all = [(MACRO, measure) for measure in CLASS_MEASURES] + [
        (OVERALL, measure) for measure in OVERALL_MEASURES if measure != "balanced_accuracy"
    ]
    return [
        Table(
            name="measures",
            title="Every measure, over the diagnoses",
            caption=f"{caption} Precision to average precision are macro means; macro recall is "
            "balanced accuracy. Brier: 0 is best; all others: 1 is.",
            head=(*ahead, *(measure_words(name, measure) for name, measure in over_all)),
            lines=row_lines(measurements.rows, over_all),
            numbers=numbers,
        ),
        Table(
            name="measures_" + re.sub(r"[\W_]", "", first.lower()),
            title=f"Every measure, {first} against the rest",
            caption=caption,
            head=(*ahead, *(measure_words(first, measure) for measure in CLASS_MEASURES)),
            lines=row_lines(measurements.rows, [(first, measure) for measure in CLASS_MEASURES]),
            numbers=numbers[numbers["class"] == first],
        ),
    ]


def measure_words(name: str, measure: str) -> str:
    """Names a number: `macro F1`, `accuracy`."""
    word = WORDS.get(measure, measure.replace("_", " "))
    return f"{name} {word}" if name == MACRO else word


def row_lines(rows: Sequence[Row], shown: Sequence[tuple[str, str]]) -> tuple[Line, ...]:
    """Writes a line per row, with a rule wherever another arm begins.

    Args:
        rows: In the order of the tables.
        shown: Class (or "macro", "overall") and measure of each column.
    """
    return tuple(
        Line(
            (
                row.arm,
                row.learner,
                *(measure_cell(row.measured, name, measure) for name, measure in shown),
            ),
            "strong" if row.learner == ENSEMBLE else "plain",
            opens=place > 0 and row.arm != rows[place - 1].arm,
        )
        for place, row in enumerate(rows)
    )
