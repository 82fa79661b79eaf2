"""How the study was set up, and who is in it: design, flow, age, sex, view and missing masks."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from flannel.comparison.tables.cells import UNDEFINED
from flannel.comparison.tables.layout import Line, Table
from flannel.data.manifest import load_manifest
from flannel.study.design import NOT_STATED, SETTING, design, flow_table, participants_table


def participants_tables(
    study: Path, diagnoses: Sequence[str], folds: Sequence[int], primary: str = ""
) -> list[Table]:
    """Lists design, flow and participants of a study; the last two need its manifest.

    Args:
        study: The study's folder.
        diagnoses: The label set.
        folds: Shown is the first; the numbers behind the tables are of all.
        primary: The primary comparison; "" for what compares nothing.
    """
    tables = [_design(study, primary)]
    path = study / "manifest.csv"
    if path.is_file():
        manifest = load_manifest(path)
        tables += [
            _flow(study, manifest, diagnoses, folds),
            _participants(study, manifest, diagnoses, folds),
        ]
    return tables


def _design(study: Path, primary: str) -> Table:
    items = design(study) | ({"primary comparison": primary} if primary else {})
    return Table(
        name="design",
        title="Design",
        caption=f"How the cohort was made and split. {SETTING}",
        head=("item", "this study"),
        lines=tuple(Line(item) for item in items.items()),
        numbers=pd.DataFrame(items.items(), columns=["item", "this_study"]),
    )


def _flow(
    study: Path, manifest: pd.DataFrame, diagnoses: Sequence[str], folds: Sequence[int]
) -> Table:
    """Counts radiographs, patients and groups from the data sets to the parts of each fold."""
    by_fold = {fold: flow_table(study, manifest, fold, diagnoses) for fold in folds}
    first = by_fold[folds[0]]
    lines = tuple(
        Line(
            (
                row["step"],
                _count(row["radiographs"]),
                *(_count(row[name], UNDEFINED) for name in first.columns[2:]),
            ),
            "strong" if row["step"] == "in the cohort" else "plain",
            opens=row["step"] == "in the cohort",
        )
        for _, row in first.iterrows()
    )
    return Table(
        name="flow",
        title="Flow of radiographs",
        caption=f"From the data sets to the parts of fold {folds[0]}. Groups join "
        "radiographs of one patient, of patients who could be the same, and copies. The diagnoses "
        f"count radiographs. {UNDEFINED}: not known; {NOT_STATED}: the manifest was made before "
        "this was written.",
        head=("", *first.columns[1:]),
        lines=lines,
        numbers=pd.concat([table.assign(fold=fold) for fold, table in by_fold.items()]),
        names=1,
    )


def _participants(
    study: Path, manifest: pd.DataFrame, diagnoses: Sequence[str], folds: Sequence[int]
) -> Table:
    path = study / "masks" / "masks.csv"
    masks = pd.read_csv(path, dtype=str, keep_default_na=False) if path.is_file() else None
    by_fold = {fold: participants_table(manifest, masks, fold, diagnoses) for fold in folds}
    first = by_fold[folds[0]]
    lines = [
        Line(
            (
                str(row["part"]),
                str(row["diagnosis"]),
                _count(row["radiographs"]),
                _count(row["patients"]),
                _ages(row),
                _counts(row, ("female", "male", "sex_unknown")),
                _counts(row, ("ap", "pa", "view_other")),
                _count(row["no_mask"]),
            ),
            opens=place > 0 and row["part"] != first["part"].iloc[place - 1],
        )
        for place, (_, row) in enumerate(first.iterrows())
    ]
    return Table(
        name="participants",
        title="Age, sex, view and missing masks",
        caption=f"Radiographs of fold {folds[0]}. Age in years: median (lowest to "
        "highest), and for how many it is known. Sex: female, male, not stated. View: AP, PA, "
        "other or not stated. An empty lung mask counts as none.",
        head=(
            "part", "diagnosis", "radiographs", "patients", "age", "female / male / not stated",
            "AP / PA / other", "no mask",
        ),
        lines=tuple(lines),
        numbers=pd.concat([table.assign(fold=fold) for fold, table in by_fold.items()]),
    )  # fmt: skip


def _count(value: float, unknown: str = NOT_STATED) -> str:
    return unknown if pd.isna(value) else f"{int(value):,}"


def _counts(row: pd.Series, names: tuple[str, ...]) -> str:
    return " / ".join(f"{int(row[name]):,}" for name in names)


def _ages(row: pd.Series) -> str:
    if not row["age_known"]:
        return NOT_STATED
    ends = f"{row['age_low']:g} to {row['age_high']:g}"
    return f"{row['age_median']:g} ({ends}), {int(row['age_known'])} known"
