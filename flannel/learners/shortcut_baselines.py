"""Shortcut baselines: forests that see no lung, evaluated on the folds of the study's learners.

Source and diagnosis go together in every public cohort of COVID-19 radiographs, so that a learner
can be right by recognising the hospital. What a network is worth is what it adds to these rows. The
forests and what they see are those of the audit (`flannel.data.audit.shortcuts`), which tries them
over the whole cohort; here they learn from a fold's training rows and are tested like any learner.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
from jaxtyping import Float

from flannel import __version__
from flannel.data.audit.evidence import Evidence, gather_evidence
from flannel.data.audit.shortcuts import (
    CENTRE_HIDDEN,
    LUNGS_HIDDEN,
    SIZE_AND_BORDER,
    TREE_IMAGES,
    TREES,
    grown_forest,
)
from flannel.data.folds import splits_of_fold
from flannel.data.manifest import load_manifest
from flannel.data.provenance import label_set_of
from flannel.data.store import Store, StoreError
from flannel.files import digest_of, read_json, write_json
from flannel.metrics.classification import measured_splits
from flannel.runs.run import Run
from flannel.study.contents import CHEAT, find_runs, fold_inputs
from flannel.study.predictions import IDENTITY, probability_columns, save_predictions

CHEATS = MappingProxyType(
    {
        "size_and_border": SIZE_AND_BORDER,
        "lungs_hidden": LUNGS_HIDDEN,
        "centre_hidden": CENTRE_HIDDEN,
    }
)
"""What each cheat sees, by its name as a learner."""


def make_cheats(study: Path, seed: int = 1) -> list[str]:
    """Predicts the cheat's rows of every fold that has a finished learner.

    Each leaves `cheat/<name>/fold<k>/` with the files of a learner's run. What is there and was
    made from the same split, store and masks stays; the rest is made anew, for it takes seconds.

    Args:
        study: The study folder, with manifest and store.
        seed: Of the forests.

    Returns:
        A sentence per run that was made or kept, or on why there is none.

    Raises:
        ManifestError: If the manifest breaks its schema, or lacks a fold that was run.
        StoreError: If the store lacks an image.
        RunError: If another process is making the same cheat.
    """
    folds = sorted({run.fold for run in find_runs(study) if run.finished and run.arm != CHEAT})
    if not folds:
        return ["no cheat's row: no learner or ensemble is finished yet"]
    if not (study / "manifest.csv").is_file():
        return [f"no cheat's row: {study / 'manifest.csv'} is not there"]
    try:
        manifest, store = load_manifest(study / "manifest.csv"), Store(study / "store")
    except StoreError as fault:
        return [f"no cheat's row: {fault}"]
    diagnoses = label_set_of(study)
    masked = bool(manifest["image_id"].map(store.has_mask).all())
    names = ["size_and_border", "lungs_hidden" if masked else "centre_hidden"]
    runs = {
        (name, fold): Run(
            study / "cheat" / name / f"fold{fold}",
            {
                **fold_inputs(manifest, store, fold, masks=name == "lungs_hidden"),
                "config": digest_of([name, seed, TREES, TREE_IMAGES]),
                "code": __version__,
            },
        )
        for name in names
        for fold in folds
    }
    waiting = {key: run for key, run in runs.items() if not _is_made(run)}
    lines = [f"{CHEAT}/{name}/fold{fold}: there" for name, fold in runs.keys() - waiting.keys()]
    if waiting:
        started = time.monotonic()
        evidence = gather_evidence(manifest, store)
        looking = time.monotonic() - started
        for (name, fold), run in waiting.items():
            macro_f1 = _make(run, name, fold, manifest, evidence, diagnoses, seed, looking)
            lines.append(f"{CHEAT}/{name}/fold{fold}: test macro F1 {macro_f1:.4f}")
    return sorted(lines)


def cheated(
    rows: pd.DataFrame,
    numbers: Float[np.ndarray, "images numbers"],
    diagnoses: Sequence[str],
    seed: int,
) -> pd.DataFrame:
    """Grows a forest on a fold's training rows, and tells all of its rows.

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
    predicted = pd.DataFrame(
        forest.predict_proba(numbers), columns=forest.classes_, index=rows.index
    )
    predicted = predicted.reindex(columns=list(diagnoses), fill_value=0.0)
    predicted.columns = pd.Index(probability_columns(diagnoses))
    return rows[list(IDENTITY)].join(predicted).assign(patches=0, coverage=np.nan)


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
    """Makes one run, and gives its macro F1 on the test rows."""
    started = time.monotonic()
    lock = run.lock()
    run.start(redo=True)
    split = splits_of_fold(manifest, fold)
    used = (split != "").to_numpy()
    seen = {
        "size_and_border": evidence.frame,
        "lungs_hidden": evidence.lungs_hidden,
        "centre_hidden": evidence.centre_hidden,
    }[name]
    table = cheated(manifest.assign(split=split)[used], seen[used], diagnoses, seed)
    save_predictions(table, run.folder / "predictions.csv")
    measured = measured_splits(table, diagnoses)
    write_json(measured, run.folder / "metrics.json")
    write_json(
        {
            "stage": "cheat",
            "arm": CHEAT,
            "learner": name,
            "fold": fold,
            # With the look at the store, which all runs of one call share.
            "seconds": round(looking + time.monotonic() - started, 1),
            "device": "cpu",
        },
        run.folder / "cost.json",
    )
    run.finish()
    lock.release()
    return float(str(measured["test"]["macro_f1"]))


def _is_made(run: Run) -> bool:
    return run.fingerprint.is_file() and read_json(run.fingerprint) == {
        "finished": True,
        "parts": run.parts,
    }
