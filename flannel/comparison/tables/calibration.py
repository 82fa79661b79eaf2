"""Whether probabilities are calibrated, and what one threshold gives."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal

import numpy as np
import pandas as pd

from flannel.comparison.measurements import Measurements, Row
from flannel.comparison.tables.cells import (
    UNDEFINED,
    listed,
    measure_cell,
    number_cell,
    score_cell,
)
from flannel.comparison.tables.layout import Line, Table
from flannel.metrics.calibration import calibration_table
from flannel.metrics.clinical import FLOOR, Recalibration, predictive_values, recalibration
from flannel.metrics.operating_points import OperatingPoint, operating_point
from flannel.study.contents import ENSEMBLE
from flannel.study.predictions import probability_columns

SPECIFICITY = 0.95
PREVALENCES = (0.01, 0.1, 0.3)
"""At which predictive values are stated: that of a test set follows from how it was collected."""


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


def recalibration_table(measurements: Measurements) -> Table | None:
    """Lists calibration intercept and slope of each diagnosis, None without a network."""
    diagnoses = measurements.comparison.diagnoses
    lines: list[Line] = []
    numbers: list[dict[str, object]] = []
    for row in measurements.rows:
        if row.stage == "shortcut":
            continue
        by_diagnosis = {name: _recalibrations(row, name) for name in diagnoses}
        cells = [
            f"{number_cell(mean.intercept)} / {number_cell(mean.slope)}"
            for mean in (_mean(folds) for folds in by_diagnosis.values())
        ]
        opens = bool(lines) and lines[-1].cells[0] != row.arm
        lines.append(Line((row.arm, row.learner, *cells), _kind(row), opens))
        numbers += [
            {"arm": row.arm, "learner": row.learner, "class": name, "fold": fold, **asdict(fitted)}
            for name, folds in by_diagnosis.items()
            for fold, fitted in zip(row.tests, folds, strict=True)
        ]
    if not lines:
        return None
    return Table(
        name="recalibration",
        title="Calibration of each diagnosis: intercept / slope",
        caption="On the test radiographs, one diagnosis against the rest, as predicted; mean over "
        "folds. Best are 0 and 1. An intercept below 0: probabilities are too high; a slope below "
        f"1: too extreme. Probabilities nearer to 0 or 1 than {FLOOR:g} count as {FLOOR:g}. "
        f"{UNDEFINED}: the probabilities separate the diagnosis. Without intervals: with few "
        "radiographs these numbers are uncertain.",
        head=("arm", "learner", *diagnoses),
        lines=tuple(lines),
        numbers=pd.DataFrame(numbers),
    )


def _recalibrations(row: Row, diagnosis: str) -> list[Recalibration]:
    columns = probability_columns(row.measured.diagnoses)
    column = probability_columns([diagnosis])[0]
    return [
        recalibration(
            (table[column] / table[columns].sum(axis=1)).to_numpy(float),
            (table["diagnosis"] == diagnosis).to_numpy(),
        )
        for table in row.tests.values()
    ]


def _mean(folds: Sequence[Recalibration]) -> Recalibration:
    return Recalibration(
        float(np.mean([fold.intercept for fold in folds])),
        float(np.mean([fold.slope for fold in folds])),
    )


def operating_points_table(measurements: Measurements) -> Table | None:
    """Lists how many of the first diagnosis are found at 95 % specificity.

    Rows without validation radiographs, or none without the diagnosis, have no threshold and are
    left out; None if that is all of them. Of two diagnoses the first is the positive one, and its
    area under the ROC curve stands beside sensitivity and specificity.
    """
    covid, *others = measurements.comparison.diagnoses
    two = len(others) == 1
    areas = [("ROC-AUC", (covid, "roc_auc"))] if two else []
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
                    *(measure_cell(row.measured, *measure) for _, measure in areas),
                    *(score_cell(at.value, np.nan, (at.low, at.high)) for at in both),
                    listed(thresholds) or UNDEFINED,
                    *(_predictive(point, prevalence) for prevalence in PREVALENCES),
                ),
                _kind(row),
                opens,
            )
        )
        numbers += [
            {
                "arm": row.arm, "learner": row.learner, "fold": fold, "threshold": at.threshold,
                "sensitivity": at.sensitivity, "specificity": at.specificity,
                **{
                    f"{name}_at_{prevalence:g}": value
                    for prevalence in PREVALENCES
                    for name, value in zip(
                        ("ppv", "npv"),
                        predictive_values(at.sensitivity, at.specificity, prevalence),
                        strict=True,
                    )
                },
            }
            for fold, at in point.folds.items()
        ]  # fmt: skip
    if not lines:
        return None
    return Table(
        name="operating_points",
        title=f"{covid} at {_per_cent(SPECIFICITY)} specificity",
        caption=(f"Positive is {covid}, negative {others[0]}. " if two else "")
        + f"The threshold on the probability of {covid} was chosen on each fold's "
        f"validation radiographs, for a specificity of {_per_cent(SPECIFICITY)}. Shown is its "
        "result on the test radiographs: mean over folds, with the 95 % interval over groups of "
        "patients. "
        "PPV / NPV: positive and negative predictive value at the stated prevalence, from the mean "
        "sensitivity and specificity; the prevalence of the test set follows from how it was "
        "collected.",
        head=(
            "arm", "learner", *(name for name, _ in areas), "sensitivity", "specificity",
            "thresholds", *(f"PPV / NPV at {_per_cent(prevalence)}" for prevalence in PREVALENCES),
        ),
        lines=tuple(lines),
        numbers=pd.DataFrame(numbers),
    )  # fmt: skip


def _per_cent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")


def _predictive(point: OperatingPoint, prevalence: float) -> str:
    values = predictive_values(point.sensitivity.value, point.specificity.value, prevalence)
    return " / ".join(number_cell(value) for value in values)


def _kind(row: Row) -> Literal["plain", "strong"]:
    return "strong" if row.learner == ENSEMBLE else "plain"


def _named(row: Row, table: pd.DataFrame) -> pd.DataFrame:
    known = {"arm": row.arm, "learner": row.learner}
    return table.assign(**known)[[*known, *table.columns]]
