"""The same measures on each source, view, age band and sex for itself."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from flannel.comparison.measurements import Measurements, Row
from flannel.comparison.tables.cells import UNDEFINED, measure_cell
from flannel.comparison.tables.layout import Line, Table
from flannel.data.manifest import load_manifest
from flannel.metrics.classification import MACRO, OVERALL
from flannel.metrics.intervals import Measured, by_part, measured
from flannel.study.contents import ENSEMBLE
from flannel.study.design import ages_of, sexes_of

PARTED_BY = ("source", "view")
AGE_BANDS = (0, 18, 65, np.inf)
AGES = ("under 18", "18 to 64", "65 and over")
UNKNOWN_AGE = "age not stated"
UNKNOWN_SEX = "sex not stated"


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
    rows = [*_networks(measurements), *measurements.shortcuts]
    return _parted(
        measurements, load_manifest(path), rows, PARTED_BY, "parts", "By source and by view"
    )


def subgroups_table(measurements: Measurements) -> Table | None:
    """Measures ensembles on each band of age and each sex within each source.

    Within a source, because age and source go together: children are from one hospital, adults
    from others.

    Returns:
        None without a manifest, or where neither age nor sex of a test radiograph is known.
    """
    path = measurements.comparison.study / "manifest.csv"
    if not path.is_file():
        return None
    manifest = load_manifest(path)
    bands = pd.cut(ages_of(manifest), AGE_BANDS, right=False, labels=list(AGES)).astype(object)
    ages = bands.where(bands.notna(), UNKNOWN_AGE)
    sexes = sexes_of(manifest).replace("", UNKNOWN_SEX)
    results = measurements.comparison.results
    tested = manifest["image_id"].isin({x for r in results for x in r.predictions["image_id"]})
    known = {
        name: column
        for name, column, unknown in (("age", ages, UNKNOWN_AGE), ("sex", sexes, UNKNOWN_SEX))
        if (column[tested] != unknown).any()
    }
    if not known:
        return None
    within = {name: manifest["source"] + ", " + column for name, column in known.items()}
    return _parted(
        measurements, manifest.assign(**within), _networks(measurements), list(known),
        "subgroups", "By age and sex, within each source",
    )  # fmt: skip


def _networks(measurements: Measurements) -> list[Row]:
    """Returns the ensembles, or where there is none the base learners."""
    return measurements.ensembles or [row for row in measurements.rows if row.stage == "base"]


def _parted(
    measurements: Measurements,
    manifest: pd.DataFrame,
    rows: Sequence[Row],
    columns: Sequence[str],
    name: str,
    title: str,
) -> Table | None:
    """Measures rows on each value of each column of a manifest."""
    diagnoses = measurements.comparison.diagnoses
    first = diagnoses[0]
    shown = ((MACRO, "f1"), (first, "f1"), (OVERALL, "accuracy"))
    lines: list[Line] = []
    numbers: list[pd.DataFrame] = []
    for column in columns:
        parted = [(row, by_part(row.tests, manifest, column)) for row in rows]
        for value in sorted({value for _, parts in parted for value in parts}):
            opens = bool(lines)
            for row, parts in parted:
                if value not in parts:
                    continue
                of_part = measured(parts[value], measurements.draws, diagnoses, ranks=False)
                present = _present(parts[value])
                cells = [measure_cell(of_part, who, measure) for who, measure in shown]
                if len(present) == 1:  # F1 of one class alone is no more than its recall
                    cells = [f"only {present[0]}", UNDEFINED, cells[2]]
                known = (column, value, _images(parts[value]), str(len(present)))
                lines.append(
                    Line(
                        (*known, row.arm, row.learner, *cells),
                        "strong" if row.learner == ENSEMBLE else "plain",
                        opens,
                    )
                )
                numbers.append(_numbers(of_part, row, column, value))
                opens = False
    if not lines:
        return None
    return Table(
        name=name,
        title=title,
        caption="Macro F1 is over the diagnoses that a part holds, so only rows within a part can "
        "be compared; in brackets the 95 % interval over groups of patients. Where a part holds "
        "one diagnosis only, that is named instead, and accuracy is the share found.",
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


def _present(tables: Mapping[int, pd.DataFrame]) -> list[str]:
    return sorted({name for table in tables.values() for name in table["diagnosis"]})


def _numbers(of_part: Measured, row: Row, column: str, value: str) -> pd.DataFrame:
    known = {"part": column, "which": value, "arm": row.arm, "learner": row.learner}
    table = of_part.table().assign(**known)
    return table[[*known, *(name for name in table if name not in known)]]
