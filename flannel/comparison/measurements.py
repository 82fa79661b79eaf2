"""A comparison, measured once: every row with its intervals, and the pairs worth comparing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from types import MappingProxyType
from typing import Literal

import numpy as np
import pandas as pd

from flannel.comparison.results import Comparison
from flannel.metrics.calibration import Calibration, calibrate
from flannel.metrics.classification import MACRO
from flannel.metrics.intervals import Measured, measured
from flannel.metrics.paired_tests import paired_tests
from flannel.metrics.significance import differences, holm
from flannel.progress import progress
from flannel.study.contents import ENSEMBLE, OUT_OF_FOLD, SHORTCUT, Stage
from flannel.uncertainty import GroupDraws, draw_groups

Family = Literal["primary", "arms", "learners", "forms", "shortcuts"]

FAMILIES: Mapping[Family, str] = MappingProxyType(
    {
        "primary": "primary",
        "arms": "arms",
        "learners": "base learners",
        "forms": "forms",
        "shortcuts": "shortcut baselines",
    }
)
"""Families of comparisons, in the order of the tables, and their words there."""

PRIMARY = ("global", "patched")
"""The arms whose FLANNEL ensembles are the primary comparison, in macro F1."""


@dataclass(frozen=True, eq=False)
class Row:
    """One row of the tables: a learner, ensemble or shortcut baseline, in an arm, over its folds.

    Attributes:
        stage: What left its files.
        arm: The study arm.
        learner: The base learner, the ensemble's form, or what the baseline sees.
        tests: Test rows of the predictions by fold.
        validations: Validation rows by fold.
        measured: What the test rows are worth.
    """

    stage: Stage
    arm: str
    learner: str
    tests: Mapping[int, pd.DataFrame]
    validations: Mapping[int, pd.DataFrame]
    measured: Measured

    @property
    def name(self) -> str:
        """The row in words, such as `patched FLANNEL`."""
        return f"{self.arm} {self.learner}"

    @cached_property
    def calibrations(self) -> dict[int, Calibration]:
        """Each fold's probabilities without and with the temperature of its validation rows.

        Folds whose predictions hold no validation row are left out.
        """
        return {
            fold: calibrate(self.tests[fold], rows, self.measured.diagnoses)
            for fold, rows in self.validations.items()
            if len(rows)
        }


@dataclass(frozen=True, eq=False)
class Pair:
    """Two rows on the same radiographs; a difference is the second minus the first.

    Attributes:
        first: The first row.
        second: The second row.
        family: Which comparisons it belongs to: those that p values are corrected for together.
    """

    first: Row
    second: Row
    family: Family

    @cached_property
    def differences(self) -> pd.DataFrame:
        """Every number's difference with interval and p value (`significance.differences`)."""
        return differences(self.first.measured, self.second.measured)

    @cached_property
    def tests(self) -> pd.DataFrame:
        """McNemar's and DeLong's tests (`paired_tests.paired_tests`)."""
        return paired_tests(self.first.tests, self.second.tests, self.first.measured.diagnoses)

    @property
    def shared_folds(self) -> list[int]:
        """The folds that both rows have: the trainings that the difference is of."""
        return [fold for fold in self.first.measured.folds if fold in self.second.measured.folds]

    def of(self, name: str, measure: str = "f1") -> pd.Series:
        """Returns one difference by class (or "macro", "overall") and measure."""
        table = self.differences
        return table[(table["class"] == name) & (table["measure"] == measure)].iloc[0]


@dataclass(frozen=True)
class Measurements:
    """The rows of a comparison, all measured in the same resamples of groups of patients.

    Attributes:
        comparison: What was measured.
        draws: The resamples.
        rows: In the order of the tables.
    """

    comparison: Comparison
    draws: GroupDraws
    rows: tuple[Row, ...]

    def row(self, arm: str, learner: str) -> Row | None:
        """Returns a row, None where the study has none."""
        rows = [row for row in self.rows if (row.arm, row.learner) == (arm, learner)]
        return rows[0] if rows else None

    @property
    def ensembles(self) -> list[Row]:
        """FLANNEL's rows, one per arm."""
        return [row for row in self.rows if row.learner == ENSEMBLE]

    @property
    def shortcuts(self) -> list[Row]:
        """The rows of the shortcut baselines: forests that see no lungs."""
        return [row for row in self.rows if row.arm == SHORTCUT]

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """The pairs worth comparing, those that share a fold, by family.

        The primary comparison, which is FLANNEL on patches against FLANNEL on whole radiographs;
        arm against arm for every learner, whole radiographs first; FLANNEL against each of its base
        learners; each other form of an ensemble against FLANNEL, and one that learns out of fold
        against itself in sample; and FLANNEL, or where there is none each learner, against the
        shortcut baselines.
        """
        families: Mapping[Family, Iterator[tuple[Row, Row]]] = {
            "arms": self._arms(),
            "learners": self._learners(),
            "forms": self._forms(),
            "shortcuts": self._shortcuts(),
        }
        pairs = [
            Pair(first, second, "primary" if _is_primary(first, second) else family)
            for family, rows in families.items()
            for first, second in rows
            if set(first.measured.folds) & set(second.measured.folds)
        ]
        return tuple(sorted(pairs, key=lambda pair: list(FAMILIES).index(pair.family)))

    @property
    def primary(self) -> Pair | None:
        """The primary comparison, None where an arm of it is missing."""
        return next((pair for pair in self.pairs if pair.family == "primary"), None)

    @cached_property
    def corrected(self) -> Mapping[Pair, float]:
        """The p value of each pair's difference in macro F1, by Holm's correction in its family."""
        return {
            pair: p
            for family in FAMILIES
            for pair, p in self._corrected([x for x in self.pairs if x.family == family])
        }

    @staticmethod
    def _corrected(pairs: Sequence[Pair]) -> Iterator[tuple[Pair, float]]:
        p_values = np.array([float(pair.of(MACRO)["p"]) for pair in pairs])
        yield from zip(pairs, holm(p_values).tolist(), strict=True)

    def _learners(self) -> Iterator[tuple[Row, Row]]:
        for ensemble in self.ensembles:
            for row in self.rows:
                if row.stage == "base" and row.arm == ensemble.arm:
                    yield row, ensemble

    def _arms(self) -> Iterator[tuple[Row, Row]]:
        arms = [arm for arm in self.comparison.arms if arm != SHORTCUT]
        for place, arm in enumerate(arms):
            for other in arms[place + 1 :]:
                for row in self.rows:
                    twin = self.row(other, row.learner)
                    if row.arm == arm and twin is not None:
                        yield row, twin

    def _forms(self) -> Iterator[tuple[Row, Row]]:
        for row in self.rows:
            paper = self.row(row.arm, ENSEMBLE)
            if row.stage == "ensemble" and paper is not None and paper is not row:
                yield paper, row
            in_sample = self.row(row.arm, row.learner.removesuffix(f" {OUT_OF_FOLD}"))
            if in_sample is not None and in_sample is not row and in_sample is not paper:
                yield in_sample, row

    def _shortcuts(self) -> Iterator[tuple[Row, Row]]:
        networks = self.ensembles or [row for row in self.rows if row.stage == "base"]
        for baseline in self.shortcuts:
            for row in networks:
                yield baseline, row


def _is_primary(first: Row, second: Row) -> bool:
    return (first.arm, second.arm) == PRIMARY and first.learner == second.learner == ENSEMBLE


def measure_comparison(comparison: Comparison) -> Measurements:
    """Measures every row of a comparison in the same resamples of groups of patients."""
    groups = {group for result in comparison.results for group in result.predictions["group"]}
    draws = draw_groups(groups)
    pairs = product(comparison.arms, comparison.learners)
    there = [(arm, learner) for arm, learner in pairs if comparison.of(arm, learner)]
    rows = []
    for arm, learner in progress(there, len(there), "Measuring arms and learners"):
        results = comparison.of(arm, learner)
        tests = {result.run.fold: result.predictions for result in results}
        validations = {result.run.fold: result.validation for result in results}
        whole = measured(tests, draws, comparison.diagnoses)
        rows.append(Row(results[0].run.stage, arm, learner, tests, validations, whole))
    return Measurements(comparison, draws, tuple(rows))
