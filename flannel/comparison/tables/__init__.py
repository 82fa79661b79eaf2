"""The tables, and how they are written in Markdown, CSV and LaTeX."""

from collections.abc import Sequence

from flannel.comparison.costs import Cost
from flannel.comparison.measurements import Measurements
from flannel.comparison.tables.calibration import (
    calibrations_table,
    operating_points_table,
    recalibration_table,
)
from flannel.comparison.tables.cohort import table_1, table_2
from flannel.comparison.tables.cost import cost_table
from flannel.comparison.tables.f1 import table_3
from flannel.comparison.tables.layout import Table
from flannel.comparison.tables.measures import measures_tables
from flannel.comparison.tables.pairs import declared, differences_table, tests_table
from flannel.comparison.tables.participants import participants_tables
from flannel.comparison.tables.parts import parts_table, subgroups_table
from flannel.comparison.tables.recipes import recipes_table, runs_table
from flannel.comparison.tables.trainings import trainings_table

__all__ = ["all_tables"]


def all_tables(measurements: Measurements, costs: Sequence[Cost]) -> list[Table]:
    """Makes every table that the study has numbers for, the paper's three first."""
    comparison = measurements.comparison
    study = comparison.study
    tables = [
        table_1(study),
        table_2(study),
        *participants_tables(study, comparison.diagnoses, comparison.folds, declared(comparison)),
        table_3(measurements),
        *measures_tables(measurements),
        differences_table(measurements),
        tests_table(measurements),
        trainings_table(measurements),
        parts_table(measurements),
        subgroups_table(measurements),
        calibrations_table(measurements),
        recalibration_table(measurements),
        operating_points_table(measurements),
        cost_table(costs),
        recipes_table(comparison),
        runs_table([result.run for result in comparison.trainings]),
    ]
    return [table for table in tables if table is not None]
