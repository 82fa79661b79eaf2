"""The same measures on each source and each view for itself."""

from collections.abc import Mapping

import pandas as pd

from flannel.comparison.measurements import Measurements, Row
from flannel.comparison.tables.cells import measure_cell
from flannel.comparison.tables.layout import Line, Table
from flannel.data.manifest import load_manifest
from flannel.metrics.classification import MACRO, OVERALL
from flannel.metrics.intervals import Measured, by_part, measured
from flannel.study.contents import ENSEMBLE

PARTED_BY = ("source", "view")


def parts_table(measurements: Measurements) -> Table | None:
    """Measures ensembles and shortcut baselines on each source and on each view.

    Source and diagnosis go together in every public cohort: a score over all sources may be one of
    recognising the source. Where there is no ensemble, the base learners are shown.

    Returns:
        None without a manifest.
    """
    path = measurements.comparison.study / "manifest.csv"
    if not path.is_file():
        return None
    manifest = load_manifest(path)
    first = measurements.comparison.diagnoses[0]
    shown = ((MACRO, "f1"), (first, "f1"), (OVERALL, "accuracy"))
    networks = measurements.ensembles or [row for row in measurements.rows if row.stage == "base"]
    lines: list[Line] = []
    numbers: list[pd.DataFrame] = []
    for column in PARTED_BY:
        parted = [
            (row, by_part(row.tests, manifest, column)) for row in networks + measurements.shortcuts
        ]
        for value in sorted({value for _, parts in parted for value in parts}):
            opens = bool(lines)
            for row, parts in parted:
                if value not in parts:
                    continue
                of_part = measured(
                    parts[value], measurements.draws, measurements.comparison.diagnoses, ranks=False
                )
                cells = [measure_cell(of_part, name, measure) for name, measure in shown]
                known = (column, value, _images(parts[value]), _present(parts[value]))
                lines.append(
                    Line(
                        (*known, row.arm, row.learner, *cells),
                        "strong" if row.learner == ENSEMBLE else "plain",
                        opens,
                    )
                )
                numbers.append(_numbers(of_part, row, column, value))
                opens = False
    return Table(
        name="parts",
        title="By source and by view",
        caption="Macro F1 is over the diagnoses that a part holds, so only rows within a part can "
        "be compared; in brackets the 95 % interval over groups of patients.",
        head=(
            "part", "which", "radiographs", "diagnoses", "arm", "learner", "macro F1",
            f"{first} F1", "accuracy",
        ),
        lines=tuple(lines),
        numbers=pd.concat(numbers, ignore_index=True),
        names=6,
    )  # fmt: skip


def _images(tables: Mapping[int, pd.DataFrame]) -> str:
    """Returns how many radiographs the folds tested, as one number or a range."""
    sizes = sorted({len(table) for table in tables.values()})
    return " to ".join(str(size) for size in dict.fromkeys((sizes[0], sizes[-1])))


def _present(tables: Mapping[int, pd.DataFrame]) -> str:
    return str(len({name for table in tables.values() for name in table["diagnosis"]}))


def _numbers(of_part: Measured, row: Row, column: str, value: str) -> pd.DataFrame:
    known = {"part": column, "which": value, "arm": row.arm, "learner": row.learner}
    table = of_part.table().assign(**known)
    return table[[*known, *(name for name in table if name not in known)]]
