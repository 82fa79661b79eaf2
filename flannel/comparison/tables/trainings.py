"""How far scores and differences vary from training to training, fold to fold, and patients."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations

import numpy as np
import pandas as pd

from flannel.comparison.measurements import Measurements
from flannel.comparison.results import Comparison, Result
from flannel.comparison.tables.cells import difference_cell, score_cell
from flannel.comparison.tables.layout import Line, Table
from flannel.metrics.classification import MACRO
from flannel.metrics.intervals import Measured, measured
from flannel.metrics.variance import VarianceParts, variance_parts
from flannel.study.contents import ENSEMBLE, SHORTCUT
from flannel.study.repeats import recipe_of, seed_of

Training = tuple[int, int]
"""Fold and seed."""

CAPTION = (
    "Macro F1 of all trainings (folds × seeds): the mean, the lowest and highest training, and "
    "standard deviations apart. Training: other seeds in one fold, which change initial weights, "
    "order, augmentation and patches. Folds: other training radiographs, beyond what training "
    "varies. Patients: the mean in resamples of groups of patients. Lines with → are differences, "
    "second arm minus first, of trainings of one fold and seed."
)


def trainings_table(measurements: Measurements) -> Table | None:
    """Parts the variance of macro F1 and of the arms' differences in it.

    Returns:
        None where no recipe was trained with several seeds.
    """
    by_recipe = _by_recipe(measurements.comparison)
    if all(len({seed for _, seed in results}) < 2 for results in by_recipe.values()):
        return None
    rows = {key: _measured(measurements, results) for key, results in by_recipe.items()}
    lines: list[Line] = []
    numbers: list[dict[str, object]] = []
    for name, learner, trainings, parts in _parts(rows, by_recipe):
        text = _difference if "→" in name else score_cell
        folds = {fold for fold, _ in trainings}
        seeds = {seed for _, seed in trainings}
        lines.append(
            Line(
                (
                    name,
                    learner,
                    f"{len(trainings)} ({len(folds)} × {len(seeds)})",
                    text(parts.mean),
                    f"{text(parts.lowest)} to {text(parts.highest)}",
                    score_cell(parts.training),
                    score_cell(parts.folds) + ("" if parts.folds_alone else " with training")
                    if np.isfinite(parts.folds)
                    else score_cell(np.nan),
                    score_cell(parts.patients),
                ),
                "strong" if learner == ENSEMBLE else "plain",
                opens=bool(lines) and lines[-1].cells[0] != name,
            )
        )
        numbers.append(
            {"arm": name, "learner": learner, "trainings": len(trainings), "folds": len(folds)}
            | {"seeds": len(seeds)}
            | {f"macro_f1_{part}": value for part, value in asdict(parts).items()}
        )
    return Table(
        name="trainings",
        title="Variance of training, folds and patients",
        caption=CAPTION,
        head=(
            "arm", "learner", "trainings", "macro F1", "lowest to highest", "± training", "± folds",
            "± patients",
        ),
        lines=tuple(lines),
        numbers=pd.DataFrame(numbers),
        names=3,
    )  # fmt: skip


def _by_recipe(comparison: Comparison) -> dict[tuple[str, str], dict[Training, Result]]:
    """Returns the trainings of each arm and recipe; shortcut baselines are not trained anew."""
    by_recipe: dict[tuple[str, str], dict[Training, Result]] = {}
    for result in comparison.trainings:
        run = result.run
        if run.arm != SHORTCUT:
            trainings = by_recipe.setdefault((run.arm, recipe_of(run.learner)), {})
            trainings[run.fold, seed_of(run.learner)] = result
    return by_recipe


def _measured(
    measurements: Measurements, results: Mapping[Training, Result]
) -> tuple[list[Training], Measured]:
    """Measures the trainings of a recipe in the resamples of the comparison."""
    order = sorted(results)
    tables = {place: results[training].predictions for place, training in enumerate(order)}
    diagnoses = measurements.comparison.diagnoses
    return order, measured(tables, measurements.draws, diagnoses, ranks=False)


def _parts(
    rows: Mapping[tuple[str, str], tuple[list[Training], Measured]],
    by_recipe: Mapping[tuple[str, str], Mapping[Training, Result]],
) -> Iterator[tuple[str, str, Sequence[Training], VarianceParts]]:
    """Yields arm or arms, recipe, trainings and variance: scores first, then differences."""
    for (arm, recipe), (trainings, row) in rows.items():
        places = range(len(trainings))
        yield arm, recipe, trainings, _variance(trainings, *_of(row, places))
    arms = list(dict.fromkeys(arm for arm, _ in rows))
    for (first, second), recipe in (
        (pair, recipe)
        for pair in combinations(arms, 2)
        for recipe in dict.fromkeys(recipe for _, recipe in rows)
    ):
        if (first, recipe) not in rows or (second, recipe) not in rows:
            continue
        (before, first_row), (after, second_row) = rows[first, recipe], rows[second, recipe]
        shared = [training for training in before if training in by_recipe[second, recipe]]
        if not shared:
            continue
        low, low_drawn = _of(first_row, [before.index(training) for training in shared])
        high, high_drawn = _of(second_row, [after.index(training) for training in shared])
        parts = _variance(shared, high - low, high_drawn - low_drawn)
        yield f"{first} → {second}", recipe, shared, parts


def _difference(value: float) -> str:
    return difference_cell(value, (np.nan, np.nan))


def _of(row: Measured, places: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns macro F1 of trainings, and of each in every resample, (trainings, resamples)."""
    values = row.values(MACRO, "f1", list(places))
    return values, row.resampled[MACRO, "f1"][list(places)]


def _variance(
    trainings: Sequence[Training], values: np.ndarray, drawn: np.ndarray
) -> VarianceParts:
    folds = np.array([fold for fold, _ in trainings])
    each = {int(fold): values[folds == fold] for fold in np.unique(folds)}
    means = [drawn[folds == fold].mean(axis=0) for fold in each]
    return variance_parts(each, np.mean(means, axis=0))
