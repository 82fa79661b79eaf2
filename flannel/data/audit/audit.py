"""The audit: what is in a cohort, what leaks between its splits, which shortcuts it offers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from flannel.data.audit.evidence import Evidence, gather_evidence
from flannel.data.audit.leaks import (
    DuplicatePair,
    FoldRow,
    Leak,
    duplicate_pairs,
    find_leaks,
    fold_rows,
)
from flannel.data.audit.shortcuts import Shortcut, find_shortcuts
from flannel.data.audit.tables import (
    CountRow,
    DetailRow,
    LabelCount,
    PeopleRow,
    SizeRow,
    count_rows,
    counted_by,
    detail_rows,
    frequencies,
    in_order,
    label_rows,
    people_rows,
    size_rows,
)
from flannel.data.likeness import joined_groups
from flannel.data.manifest import patients_of
from flannel.data.store import Store


@dataclass(frozen=True)
class Audit:
    """All numbers of the audit; the pictures are made from manifest and store.

    Attributes:
        images: Radiographs in manifest and store.
        patients: Different patients, by source and `patient_id`.
        sources: Radiographs by source.
        diagnoses: Radiographs by diagnosis, in the order of the label set.
        patients_by_diagnosis: Patients by diagnosis.
        masks: Radiographs with a lung mask.
        not_stored: Images of the manifest that the store does not hold.
        counts: As in Table 2 of paper 004.
        details: By source, diagnosis, view and split.
        origin: Radiographs by diagnosis and source.
        pairs: Identical files and near duplicates.
        folds: Every fold; empty if none is assigned.
        leaks: What crosses the parts of a fold.
        sizes: By source.
        people: By source and diagnosis.
        licences: Radiographs by source and licence.
        labels: The label mappings.
        grey_values: Mean share of each of 64 bands of grey, by source.
        shortcuts: How well targets are predicted without the lungs.
    """

    images: int
    patients: int
    sources: Mapping[str, int]
    diagnoses: Mapping[str, int]
    patients_by_diagnosis: Mapping[str, int]
    masks: int
    not_stored: tuple[str, ...]
    counts: tuple[CountRow, ...]
    details: tuple[DetailRow, ...]
    origin: Mapping[str, Mapping[str, int]]
    pairs: tuple[DuplicatePair, ...]
    folds: tuple[FoldRow, ...]
    leaks: tuple[Leak, ...]
    sizes: tuple[SizeRow, ...]
    people: tuple[PeopleRow, ...]
    licences: Mapping[str, Mapping[str, int]]
    labels: tuple[LabelCount, ...]
    grey_values: Mapping[str, tuple[float, ...]]
    shortcuts: tuple[Shortcut, ...]


def audit_cohort(
    manifest: pd.DataFrame, store: Store, seed: int = 1, label_set: Sequence[str] = ()
) -> Audit:
    """Counts, compares and tries out everything about a cohort.

    Args:
        manifest: The radiographs; those that the store lacks are named and left out.
        store: Their grey values and, if there are some, lung masks.
        seed: Of the forests that look for shortcuts.
        label_set: The study's, in order; diagnoses that it lacks come behind those that it has.
    """
    stored = manifest["image_id"].isin(store.image_ids)
    not_stored = tuple(manifest["image_id"][~stored])
    table = manifest[stored].reset_index(drop=True)
    evidence = gather_evidence(table, store)
    pairs = duplicate_pairs(table, evidence.hashes)
    place = {image_id: row for row, image_id in enumerate(table["image_id"])}
    near = [(place[pair.first], place[pair.second], pair.likeness) for pair in pairs]
    groups = joined_groups(table["group"].tolist(), table["sha256"].tolist(), near)
    patients, counts = patients_of(table), frequencies(table["diagnosis"])
    by_diagnosis = patients.groupby(table["diagnosis"]).nunique()
    origin = counted_by(table["diagnosis"], table["source"])
    places = {diagnosis: place for place, diagnosis in enumerate(label_set)}
    diagnoses = sorted(in_order(counts), key=lambda name: places.get(name, len(places)))
    return Audit(
        images=len(table),
        patients=patients.nunique(),
        sources=frequencies(table["source"]),
        diagnoses={diagnosis: counts[diagnosis] for diagnosis in diagnoses},
        patients_by_diagnosis={d: int(by_diagnosis[d]) for d in diagnoses},
        masks=int(evidence.has_mask.sum()),
        not_stored=not_stored,
        counts=tuple(count_rows(table)),
        details=tuple(detail_rows(table)),
        origin={diagnosis: origin[diagnosis] for diagnosis in diagnoses},
        pairs=tuple(pairs),
        folds=tuple(fold_rows(table)),
        leaks=tuple(find_leaks(table, pairs)),
        sizes=tuple(size_rows(table)),
        people=tuple(people_rows(table)),
        licences=counted_by(table["source"], table["licence"]),
        labels=tuple(label_rows(table["finding"], table["diagnosis"])),
        grey_values=_grey_values(table, evidence),
        shortcuts=tuple(find_shortcuts(table, evidence, groups, seed)),
    )


def _grey_values(table: pd.DataFrame, evidence: Evidence) -> dict[str, tuple[float, ...]]:
    return {
        source: tuple(evidence.histogram[rows].mean(axis=0).tolist())
        for source, rows in sorted(table.groupby("source").indices.items())
    }
