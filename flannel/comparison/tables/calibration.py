"""Whether probabilities are calibrated, and what one threshold gives."""

from typing import Literal

import numpy as np
import pandas as pd

from flannel.comparison.measurements import Measurements, Row
from flannel.comparison.tables.cells import UNDEFINED, listed, score_cell
from flannel.comparison.tables.layout import Line, Table
from flannel.metrics.calibration import calibration_table
from flannel.metrics.operating_points import operating_point
from flannel.study.contents import ENSEMBLE

SPECIFICITY = 0.95


def calibrations_table(measurements: Measurements) -> Table | None:
    """Lists calibration before and after one temperature per fold, None without validation rows."""
    lines: list[Line] = []
    numbers: list[pd.DataFrame] = []
    for row in measurements.rows:
        if not row.calibrations:
            continue
        measures = calibration_table(row.calibrations)
        cells = [
            score_cell(measure[moment], measure[f"{moment}_deviation"])
            for _, measure in measures.iterrows()
            for moment in ("before", "after")
        ]
        temperatures = [
            "at bound"
            if calibration.temperature.at_bound
            else f"{calibration.temperature.value:.2f}"
            for calibration in row.calibrations.values()
        ]
        opens = bool(lines) and lines[-1].cells[0] != row.arm
        lines.append(Line((row.arm, row.learner, *cells, listed(temperatures)), _kind(row), opens))
        numbers.append(_named(row, measures))
    if not lines:
        return None
    return Table(
        name="calibration",
        title="Calibration",
        caption="On the test radiographs, mean ± sample deviation over folds; 0 is best. Each "
        "fold's temperature was fitted on its validation radiographs; at bound: they do not "
        "determine it. ECE is the expected calibration error of the predicted diagnosis.",
        head=(
            "arm", "learner", "ECE", "with temperature", "Brier", "with temperature", "log loss",
            "with temperature", "temperatures",
        ),
        lines=tuple(lines),
        numbers=pd.concat(numbers, ignore_index=True),
    )  # fmt: skip


def operating_points_table(measurements: Measurements) -> Table | None:
    """Lists how many of the first diagnosis are found at 95 % specificity.

    Rows without validation radiographs, or none without the diagnosis, have no threshold and are
    left out; None if that is all of them.
    """
    covid = measurements.comparison.diagnoses[0]
    lines: list[Line] = []
    numbers: list[dict[str, object]] = []
    for row in measurements.rows:
        if any((rows["diagnosis"] == covid).all() for rows in row.validations.values()):
            continue  # no row without the diagnosis, or no row at all: nothing sets a limit
        point = operating_point(
            row.tests, row.validations, measurements.draws, covid, row.measured.diagnoses,
            SPECIFICITY,
        )  # fmt: skip
        both = (point.sensitivity, point.specificity)
        thresholds = [f"{at.threshold:.3g}" for at in point.folds.values()]
        opens = bool(lines) and lines[-1].cells[0] != row.arm
        lines.append(
            Line(
                (
                    row.arm,
                    row.learner,
                    *(score_cell(at.value, np.nan, (at.low, at.high)) for at in both),
                    listed(thresholds) or UNDEFINED,
                ),
                _kind(row),
                opens,
            )
        )
        numbers += [
            {
                "arm": row.arm, "learner": row.learner, "fold": fold, "threshold": at.threshold,
                "sensitivity": at.sensitivity, "specificity": at.specificity,
            }
            for fold, at in point.folds.items()
        ]  # fmt: skip
    if not lines:
        return None
    return Table(
        name="operating_points",
        title=f"{covid} at {SPECIFICITY:.0%} specificity",
        caption=f"The threshold on the probability of {covid} was chosen on each fold's "
        f"validation radiographs, for a specificity of {SPECIFICITY:.0%}. Shown is its result on "
        "the test radiographs: mean over folds, with the 95 % interval over groups of patients.",
        head=("arm", "learner", "sensitivity", "specificity", "thresholds"),
        lines=tuple(lines),
        numbers=pd.DataFrame(numbers),
    )


def _kind(row: Row) -> Literal["plain", "strong"]:
    return "strong" if row.learner == ENSEMBLE else "plain"


def _named(row: Row, table: pd.DataFrame) -> pd.DataFrame:
    known = {"arm": row.arm, "learner": row.learner}
    return table.assign(**known)[[*known, *table.columns]]
