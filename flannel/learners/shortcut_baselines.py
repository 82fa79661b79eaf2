"""The shortcut baselines: forests that see no lung pixels, on the folds of the study's learners.

Source and diagnosis go together in every public cohort of COVID-19 radiographs, so that a learner
can be right by recognising the hospital. What a network is worth is what it adds to these rows. The
forests and what they see are those of the audit (`flannel.data.audit.shortcuts`), which tries them
over the whole cohort; here they learn from a fold's training rows and are tested like any learner.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
from jaxtyping import Float

from flannel import __version__
from flannel.data.audit.evidence import Evidence, gather_evidence
from flannel.data.audit.shortcuts import (
    CENTRE_HIDDEN,
    LUNG_POSITION,
    LUNG_SHAPE,
    LUNGS_HIDDEN,
    SIZE_AND_BORDER,
    TREE_IMAGES,
    TREES,
    grown_forest,
    numbers_of,
)
from flannel.data.folds import splits_of_fold
from flannel.data.manifest import load_manifest
from flannel.data.provenance import label_set_of
from flannel.data.store import Store, StoreError
from flannel.files import digest_of, write_json
from flannel.metrics.classification import measured_splits
from flannel.runs.run import Fingerprint, Run, read_fingerprint
from flannel.study.contents import SHORTCUT, find_runs, fold_inputs, shortcut_folder
from flannel.study.predictions import IDENTITY, probability_columns, save_predictions

BASELINES: Mapping[str, str] = MappingProxyType(
    {
        "size_and_border": SIZE_AND_BORDER,
        "lungs_hidden": LUNGS_HIDDEN,
        "centre_hidden": CENTRE_HIDDEN,
        "position_of_lungs": LUNG_POSITION,
        "shape_of_mask": LUNG_SHAPE,
    }
)
"""What each baseline sees, by its name as a learner."""

WITH_MASKS = ("lungs_hidden", "position_of_lungs", "shape_of_mask")
"""Baselines that need the lung mask of every radiograph; without, `centre_hidden` is there."""


def fit_baselines(study: Path, seed: int = 1) -> list[str]:
    """Predicts the rows of the baselines in every fold that has a finished learner.

    Each leaves `shortcut/<name>/fold<k>/` (`cheat/` in studies that have it) with the files of a
    learner's run. What was made from the same split, store and masks stays; the rest is made anew,
    which takes seconds.

    Args:
        study: The study folder, with manifest and store.
        seed: Of the forests.

    Returns:
        A sentence per run that was made or kept, or on why there is none.

    Raises:
        ManifestError: If the manifest breaks its schema, or lacks a fold that was run.
        StoreError: If the store lacks an image.
        RunError: If another process is making the same baseline.
    """
    runs_there = [run for run in find_runs(study) if run.finished and run.arm != SHORTCUT]
    folds = sorted({run.fold for run in runs_there})
    if not folds:
        return ["no shortcut baseline: no learner or ensemble is finished yet"]
    if not (study / "manifest.csv").is_file():
        return [f"no shortcut baseline: {study / 'manifest.csv'} is not there"]
    try:
        manifest, store = load_manifest(study / "manifest.csv"), Store(study / "store")
    except StoreError as fault:
        return [f"no shortcut baseline: {fault}"]
    diagnoses = label_set_of(study)
    masked = bool(manifest["image_id"].map(store.has_mask).all())
    runs = {
        (name, fold): Run(
            shortcut_folder(study) / name / f"fold{fold}",
            {
                **fold_inputs(manifest, store, fold, masks=name in WITH_MASKS),
                "config": digest_of([name, seed, TREES, TREE_IMAGES]),
                "code": __version__,
            },
        )
        for name in ("size_and_border", *(WITH_MASKS if masked else ("centre_hidden",)))
        for fold in folds
    }
    waiting = {key: run for key, run in runs.items() if not _is_made(run)}
    sentences = [
        f"{SHORTCUT}/{name}/fold{fold}: there" for name, fold in runs.keys() - waiting.keys()
    ]
    if waiting:
        started = time.monotonic()
        evidence = gather_evidence(manifest, store)
        looking = time.monotonic() - started
        for (name, fold), run in waiting.items():
            macro_f1 = _make(run, name, fold, manifest, evidence, diagnoses, seed, looking)
            sentences.append(f"{SHORTCUT}/{name}/fold{fold}: test macro F1 {macro_f1:.4f}")
    return sorted(sentences)


def predicted_by_forest(
    rows: pd.DataFrame,
    numbers: Float[np.ndarray, "images numbers"],
    diagnoses: Sequence[str],
    seed: int,
) -> pd.DataFrame:
    """Grows a forest on a fold's training rows, and predicts all of its rows.

    Args:
        rows: Identity columns of the fold's images, with `split`.
        numbers: What is seen of each.
        diagnoses: The label set; one that no training row has gets the probability 0.
        seed: Of the forest.

    Returns:
        A predictions table, as a learner's.
    """
    training = (rows["split"] == "train").to_numpy()
    forest = grown_forest(numbers[training], rows["diagnosis"][training].to_numpy(str), seed)
    table = pd.DataFrame(forest.predict_proba(numbers), columns=forest.classes_, index=rows.index)
    table = table.reindex(columns=list(diagnoses), fill_value=0.0)
    table.columns = pd.Index(probability_columns(diagnoses))
    return rows[list(IDENTITY)].join(table).assign(patches=0, coverage=np.nan)


def _make(
    run: Run,
    name: str,
    fold: int,
    manifest: pd.DataFrame,
    evidence: Evidence,
    diagnoses: Sequence[str],
    seed: int,
    looking: float,
) -> float:
    """Makes one run, and returns its macro F1 on the test rows."""
    started = time.monotonic()
    lock = run.lock()
    run.start(redo=True)
    split = splits_of_fold(manifest, fold)
    used = (split != "").to_numpy()
    seen = numbers_of(evidence)[BASELINES[name]]
    table = predicted_by_forest(manifest.assign(split=split)[used], seen[used], diagnoses, seed)
    save_predictions(table, run.folder / "predictions.csv")
    measured = measured_splits(table, diagnoses)
    write_json(measured, run.folder / "metrics.json")
    run.write_cost(
        {"stage": "shortcut", "arm": SHORTCUT, "learner": name, "fold": fold},
        # With the look at the store, which all runs of one call share.
        {"seconds": looking + time.monotonic() - started},
        {"device": "cpu"},
    )
    run.finish()
    lock.release()
    return float(str(measured["test"]["macro_f1"]))


def _is_made(run: Run) -> bool:
    return read_fingerprint(run.folder) == Fingerprint(True, run.parts)
