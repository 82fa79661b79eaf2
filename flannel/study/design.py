"""What a reviewer asks for first: how a cohort was made and split, and who is in its parts."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from flannel.data.audit.tables import view_family
from flannel.data.folds import splits_of_fold
from flannel.data.manifest import patients_of
from flannel.data.provenance import Choices, Flow, provenance_of

NOT_STATED = "not stated"

UNITS = MappingProxyType(
    {
        "patient": "whole groups of patients, stratified by diagnosis",
        "nested": "whole groups of patients, stratified by diagnosis; each part is tested once",
        "leave-source-out": "whole sources: each is the test set once",
        "given": "test sets or folds of the sources, unchanged; the rest by groups of patients",
        "paper": "single radiographs: those of one patient can be in several parts",
        "external": "all radiographs are tested",
    }
)
"""What each split protocol keeps together."""

PARTS = MappingProxyType({"train": "training", "val": "validation", "test": "test"})

REFERENCE_STANDARD = "labels of the data sets, not read again"
SETTING = (
    "By PROBAST, the choice of participants is at high risk of bias: the radiographs were "
    "collected by diagnosis from different hospitals and ages, not from consecutive patients of "
    "one clinic."
)
"""True of every cohort of public radiographs, whatever was trained on it."""


def design(study: Path) -> dict[str, str]:
    """Returns how a study was set up, by item; what its files do not say is "not stated".

    Args:
        study: The study folder.

    Raises:
        ManifestError: If `manifest.json` cannot be read.
    """
    provenance = provenance_of(study)
    chosen = _choices(provenance.choices if provenance else None)
    flow = provenance.flow if provenance else None
    return {
        **chosen,
        "groups joined": _joined(flow),
        "reference standard": REFERENCE_STANDARD,
    }


def _choices(choices: Choices | None) -> dict[str, str]:
    if choices is None:
        names = ("split protocol", "what stays together", "seed of the split", "label mapping")
        return dict.fromkeys((*names, "selection", "near duplicates", "version"), NOT_STATED)
    run = f", imported folds of the run {choices.run}" if choices.run else ""
    return {
        "split protocol": f"{choices.protocol}{run}",
        "what stays together": UNITS.get(choices.protocol, NOT_STATED),
        "seed of the split": str(choices.seed),
        "label mapping": choices.mapping,
        "selection": choices.selection,
        "near duplicates": "joined into one group"
        if choices.near_duplicates
        else "not searched for",
        "version": choices.version or NOT_STATED,
    }


def _joined(flow: Flow | None) -> str:
    if flow is None:
        return NOT_STATED
    return f"{flow.joined_by_header} by Patient ID, {flow.joined_as_copies} as near duplicates"


def flow_table(
    study: Path, manifest: pd.DataFrame, fold: int, diagnoses: Sequence[str]
) -> pd.DataFrame:
    """Counts radiographs from the data sets as found to the parts of a fold.

    Args:
        study: The study folder.
        manifest: Its manifest.
        fold: The fold.
        diagnoses: The label set.

    Returns:
        step, radiographs, patients, groups, and a column per diagnosis; NaN where it is unknown,
        as the patients of what was left out.

    Raises:
        ManifestError: If `manifest.json` cannot be read.
    """
    provenance = provenance_of(study)
    flow = provenance.flow if provenance else None
    used = parts_of(manifest, fold)
    rows = [
        *_before(flow, len(manifest)),
        {"step": "in the cohort", **_counts(manifest, diagnoses)},
    ]
    rows += [
        {
            "step": PARTS.get(part, "in no part of this fold"),
            **_counts(manifest[used == part], diagnoses),
        }
        for part in (*PARTS, "")
        if (used == part).any()
    ]
    columns = ["step", "radiographs", "patients", "groups", *diagnoses]
    return pd.DataFrame(rows).reindex(columns=columns)


def _before(flow: Flow | None, included: int) -> Iterator[dict[str, object]]:
    """Yields what was found and left out; NaN where no count was written."""
    total = np.nan if flow is None else included + flow.radiographs
    yield {"step": "found in the data sets", "radiographs": total}
    if flow is None:
        yield {"step": "left out", "radiographs": np.nan}
        return
    for source, reasons in flow.left_out.items():
        for reason, count in reasons.items():
            yield {"step": f"left out, {source}: {reason}", "radiographs": count}
    if flow.unusable:
        yield {"step": "left out: file missing or unreadable", "radiographs": flow.unusable}
    if flow.not_selected:
        yield {"step": "left out by the selection", "radiographs": flow.not_selected}


def _counts(rows: pd.DataFrame, diagnoses: Sequence[str]) -> dict[str, int]:
    by_diagnosis = rows["diagnosis"].value_counts().reindex(diagnoses, fill_value=0)
    return {
        "radiographs": len(rows),
        "patients": int(patients_of(rows).nunique()),
        "groups": int(rows["group"].nunique()),
        **{str(name): int(count) for name, count in by_diagnosis.items()},
    }


def parts_of(manifest: pd.DataFrame, fold: int) -> pd.Series:
    """Returns what each radiograph is for in a fold; that of a cohort without folds is its split.

    Raises:
        ManifestError: If the manifest has folds, and not this one.
    """
    if manifest["fold"].isna().all():
        return manifest["split"]
    return splits_of_fold(manifest, fold)


def participants_table(
    manifest: pd.DataFrame, masks: pd.DataFrame | None, fold: int, diagnoses: Sequence[str]
) -> pd.DataFrame:
    """Counts age, sex, view and missing masks by part and diagnosis of a fold.

    Args:
        manifest: Of the study.
        masks: `masks.csv`; None where there are no masks.
        fold: The fold.
        diagnoses: The label set.

    Returns:
        part, diagnosis, radiographs, patients, age_known, age_median, age_low, age_high (years,
        NaN where none is known), female, male, sex_unknown, ap, pa, view_other, no_mask (NaN
        without masks). An empty mask counts as none.
    """
    used = parts_of(manifest, fold)
    masked = None if masks is None else set(masks["image_id"][masks["flag"] != "empty"])
    rows = []
    for part, words in PARTS.items():
        for diagnosis in diagnoses:
            table = manifest[(used == part) & (manifest["diagnosis"] == diagnosis)]
            if len(table):
                rows.append({"part": words, "diagnosis": diagnosis, **_participants(table, masked)})
    return pd.DataFrame(rows)


def _participants(table: pd.DataFrame, masked: set[str] | None) -> Mapping[str, float]:
    ages = ages_of(table).dropna()
    sexes, views = sexes_of(table), table["view"].map(view_family)
    return {
        "radiographs": len(table),
        "patients": patients_of(table).nunique(),
        "age_known": len(ages),
        "age_median": ages.median(),
        "age_low": ages.min(),
        "age_high": ages.max(),
        "female": (sexes == "female").sum(),
        "male": (sexes == "male").sum(),
        "sex_unknown": (sexes == "").sum(),
        "ap": (views == "AP").sum(),
        "pa": (views == "PA").sum(),
        "view_other": (~views.isin(("AP", "PA"))).sum(),
        "no_mask": np.nan if masked is None else (~table["image_id"].isin(masked)).sum(),
    }


def ages_of(table: pd.DataFrame) -> pd.Series:
    """Returns ages in years, NaN where none is known."""
    return pd.to_numeric(table["age"], errors="coerce")


def sexes_of(table: pd.DataFrame) -> pd.Series:
    """Returns `female`, `male`, or "" where neither is known."""
    first = table["sex"].str.strip().str.upper().str[:1]
    return first.map({"F": "female", "M": "male"}).fillna("")
