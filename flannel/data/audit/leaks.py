"""Leaks: duplicates, and patients that are in several of training, validation and test."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from flannel.data.copies import near_duplicates
from flannel.data.folds import splits_of_fold
from flannel.data.likeness import joined_groups
from flannel.data.manifest import patients_of

SPLITS = ("train", "val", "test")
KINDS = ("patient", "group", "duplicate")


@dataclass(frozen=True)
class DuplicatePair:
    """Two files that show the same radiograph.

    Attributes:
        first: An image.
        second: Another one.
        identical: Whether the files are the same, byte by byte.
        likeness: Correlation of the two after one was laid over the other, 1 for equal hashes.
        differs: In what the two rows differ: `diagnosis`, `source`, `patient`, `group`.
    """

    first: str
    second: str
    identical: bool
    likeness: float
    differs: tuple[str, ...]


@dataclass(frozen=True)
class Leak:
    """A patient, group or duplicate that is in several of training, validation and test.

    Attributes:
        kind: `patient`, `group` or `duplicate`.
        name: Of the patient with the source, of the group, or of the duplicate's first image.
        images: Radiographs.
        folds: The folds in which this is so.
        parts: The parts that it is in, over these folds.
    """

    kind: str
    name: str
    images: int
    folds: tuple[int, ...]
    parts: tuple[str, ...]


@dataclass(frozen=True)
class FoldRow:
    """One fold: radiographs of each part, and how many share a patient with training.

    Attributes:
        fold: The fold.
        images: Radiographs by part.
        shared: Of the parts `val` and `test`, radiographs of a patient who is in a part that is
            learnt or chosen on: training for `val`, training or validation for `test`.
    """

    fold: int
    images: Mapping[str, int]
    shared: Mapping[str, int]


def duplicate_pairs(table: pd.DataFrame, hashes: Sequence[bytes]) -> list[DuplicatePair]:
    """Finds identical files and near duplicates, by what they differ in, the most alike first.

    A flat picture is like every other flat one, and near to none.

    Args:
        table: The radiographs.
        hashes: Of the same rows.
    """
    rows = table.assign(patient=patients_of(table)).to_dict("records")
    likeness_of = {(i, j): likeness for i, j, likeness in near_duplicates(hashes)}
    for same in table.groupby("sha256").indices.values():
        for i, j in combinations(sorted(same.tolist()), 2):
            likeness_of[i, j] = 1.0
    pairs = [
        DuplicatePair(
            first=rows[i]["image_id"],
            second=rows[j]["image_id"],
            identical=rows[i]["sha256"] == rows[j]["sha256"],
            likeness=likeness,
            differs=tuple(
                what
                for what in ("diagnosis", "source", "patient", "group")
                if rows[i][what] != rows[j][what]
            ),
        )
        for (i, j), likeness in likeness_of.items()
    ]
    return sorted(pairs, key=lambda p: (-len(p.differs), -p.likeness, p.first, p.second))


def fold_rows(table: pd.DataFrame) -> list[FoldRow]:
    """Counts every fold's parts, and who of validation and test was seen before."""
    patients = patients_of(table)
    rows = []
    for fold, splits in _assigned(table).items():
        known = {part: set(patients[splits == part]) for part in SPLITS}
        before = {"val": known["train"], "test": known["train"] | known["val"]}
        rows.append(
            FoldRow(
                fold=fold,
                images={part: int((splits == part).sum()) for part in SPLITS},
                shared={
                    part: int(patients[splits == part].isin(seen).sum())
                    for part, seen in before.items()
                },
            )
        )
    return rows


def find_leaks(table: pd.DataFrame, pairs: Sequence[DuplicatePair]) -> list[Leak]:
    """Lists every patient, group and duplicate that is in several parts of a fold.

    Args:
        table: The radiographs.
        pairs: Their duplicates.
    """
    place = {image_id: row for row, image_id in enumerate(table["image_id"])}
    linked = [(place[pair.first], place[pair.second], pair.likeness) for pair in pairs]
    ids = table["image_id"].tolist()
    owners = {
        "patient": patients_of(table),
        "group": table["group"],
        "duplicate": pd.Series(joined_groups(ids, ids, linked), index=table.index),
    }
    assigned = _assigned(table)
    leaks = []
    for kind, names in owners.items():
        crossing: dict[str, dict[int, set[str]]] = {}
        for fold, splits in assigned.items():
            used = splits != ""
            for name, parts in splits[used].groupby(names[used]).unique().items():
                if len(parts) > 1:
                    crossing.setdefault(str(name), {})[fold] = set(parts)
        sizes = Counter(names)
        for name, by_fold in sorted(crossing.items()):
            parts = set().union(*by_fold.values())
            in_order = tuple(part for part in SPLITS if part in parts)
            leaks.append(Leak(kind, name, sizes[name], tuple(by_fold), in_order))
    return leaks


def _assigned(table: pd.DataFrame) -> dict[int, pd.Series]:
    """Returns what each radiograph is for, by fold."""
    folds = sorted(int(fold) for fold in table["fold"].dropna().unique())
    return {fold: splits_of_fold(table, fold) for fold in folds}
