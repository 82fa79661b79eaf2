"""Split protocols: who is tested on, and in which fold everybody else validates."""

import warnings
from typing import Literal

import numpy as np
import pandas as pd

from flannel.data.manifest import ManifestError

Protocol = Literal["patient", "paper", "given"]
TEST_PARTS = 5
"""One of five parts is the test set: 20 %, as in the paper (Section 2)."""

ATTEMPTS = 50


def assign_folds(
    table: pd.DataFrame, protocol: Protocol = "patient", seed: int = 407, folds: int = 5
) -> pd.DataFrame:
    """Fills the columns `split` and `fold` of a manifest.

    The result depends on the images and the seed, not on the order of the rows. The test set is
    one fixed fifth for all folds, and each fold validates on an equal slice of the rest: with
    five folds 64 / 16 / 20 %, as the paper.

    Args:
        table: A manifest.
        protocol: `patient` draws whole groups, stratified by diagnosis. Unlike the paper, because
            there about 40 % of the test images share a patient with the training images. `paper`
            shuffles single images once and cuts (paper 004, Section 2). `given` takes the
            source's own test set as it is, whatever the groups, where the source has one; the
            rest is drawn by whole groups.
        seed: Seed of the draw.
        folds: How many validation slices.

    Returns:
        A copy with `split` in test / development and `fold` 0 to folds - 1, empty for test.

    Raises:
        ManifestError: If a diagnosis has fewer groups than folds + 1, no draw gives every
            diagnosis to every part, `given` finds no test set of a source or a table whose
            splits were assigned before, or the protocol is unknown.
        ValueError: If there are fewer than two folds.
    """
    if folds < 2:
        raise ValueError(f"folds is {folds}; expected at least 2, the papers use 5.")
    ordered = table.sort_values("image_id")
    match protocol:
        case "paper":
            parts = _paper_parts(len(ordered), seed, folds)
        case "patient":
            parts = _patient_parts(ordered, seed, folds)
        case "given":
            parts = _given_parts(ordered, seed, folds)
        case _:
            raise ManifestError(
                f"Split protocol {protocol!r} is unknown; choose patient, paper or given."
            )
    assigned = table.copy()
    part = pd.Series(parts, index=ordered.index).reindex(table.index)
    assigned["split"] = np.where(part < 0, "test", "development")
    assigned["fold"] = part.where(part >= 0).astype("Int64")
    return assigned


def splits_of_fold(table: pd.DataFrame, fold: int) -> pd.Series:
    """Gives what each radiograph is for in one fold: "train", "val" or "test".

    Args:
        table: A manifest with folds.
        fold: The fold, from 0.

    Returns:
        A text column aligned with the table's index.

    Raises:
        ManifestError: If the fold does not exist, or a row has no split.
    """
    known = sorted(table["fold"].dropna().unique())
    if fold not in known:
        names = ", ".join(str(number) for number in known) or "none: assign folds first"
        raise ManifestError(f"Fold {fold} does not exist in the manifest; it has {names}.")
    lost = table["image_id"][(table["split"] != "test") & table["fold"].isna()]
    if len(lost):
        raise ManifestError(
            f"{len(lost)} images have neither test split nor fold, first {lost.iloc[0]}."
        )
    validation = (table["fold"] == fold).fillna(False).to_numpy(bool)
    splits = np.where(validation, "val", np.where(table["split"] == "test", "test", "train"))
    return pd.Series(splits, index=table.index, name="split", dtype=str)


def _paper_parts(count: int, seed: int, folds: int) -> np.ndarray:
    """Cuts one shuffle at int(q * count), q = 0, .16, .32 ... .8 for five folds; -1 is test."""
    shuffled = np.random.default_rng(seed).permutation(count)
    cuts = [4 * fold * count // (5 * folds) for fold in range(folds + 1)]
    parts = np.full(count, -1)
    for fold in range(folds):
        parts[shuffled[cuts[fold] : cuts[fold + 1]]] = fold
    return parts


def _patient_parts(table: pd.DataFrame, seed: int, folds: int) -> np.ndarray:
    _check_groups(table, folds + 1)
    for attempt in range(ATTEMPTS):
        test = _drawn_parts(table, TEST_PARTS, (seed, attempt, 0)) == 0
        parts = np.full(len(table), -1)
        parts[~test] = _drawn_parts(table[~test], folds, (seed, attempt, 1))
        seen = set(zip(parts.tolist(), table["diagnosis"], strict=True))
        if len(seen) == (folds + 1) * table["diagnosis"].nunique():
            return parts
    raise ManifestError(
        f"No draw of {ATTEMPTS} gives every diagnosis to the test set and to all {folds} folds; "
        "take fewer folds or add radiographs of the rarest diagnosis."
    )


def _given_parts(table: pd.DataFrame, seed: int, folds: int) -> np.ndarray:
    if table["fold"].notna().any():
        raise ManifestError(
            "The manifest already has folds, which hide the source's own splits; build it again "
            "from the sources to use the protocol 'given'."
        )
    if not (table["split"] == "test").any():
        raise ManifestError(
            "No source in the manifest has a test set of its own; use the protocol 'patient'."
        )
    free = (table["split"] == "").to_numpy()
    rest = (table["split"] != "test").to_numpy(copy=True)
    if free.any():
        if table[free]["diagnosis"].value_counts().max() < TEST_PARTS:
            raise ManifestError(
                f"The sources without a test set of their own give only {free.sum()} radiographs, "
                "too few to draw one; leave them out or use the protocol 'patient'."
            )
        rest[free] = _drawn_parts(table[free], TEST_PARTS, (seed, 0, 2)) != 0
    _check_groups(table[rest], folds)
    parts = np.full(len(table), -1)
    parts[rest] = _drawn_parts(table[rest], folds, (seed, 0, 3))
    return parts


def _drawn_parts(table: pd.DataFrame, parts: int, seeds: tuple[int, ...]) -> np.ndarray:
    """Deals whole groups into parts of about equal size and mix of diagnoses."""
    # scikit-learn takes long to import, and `--help` needs this module.
    from sklearn.model_selection import StratifiedGroupKFold

    state = int(np.random.SeedSequence(seeds).generate_state(1)[0])
    dealer = StratifiedGroupKFold(parts, shuffle=True, random_state=state)
    drawn = np.empty(len(table), dtype=int)
    with warnings.catch_warnings():
        # The caller looks whether a rare diagnosis reached every part.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        dealt = dealer.split(table, table["diagnosis"], table["group"])
        for part, (_, positions) in enumerate(dealt):
            drawn[positions] = part
    return drawn


def _check_groups(table: pd.DataFrame, needed: int) -> None:
    counts = table.groupby("diagnosis")["group"].nunique()
    few = counts[counts < needed]
    if len(few):
        listed = ", ".join(f"{diagnosis} {count}" for diagnosis, count in few.items())
        raise ManifestError(
            f"Too few groups of patients: {listed}; each diagnosis needs {needed}, for the "
            "validation folds and the test set. Take fewer folds or add radiographs."
        )
