"""Where the run of an ensemble lies, what it hangs on, and the predictions that it leaves."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from flannel.metrics import measured_splits
from flannel.predictions import probability_columns, save_predictions
from flannel.runs import RunError, digest_of, read_json, write_json
from flannel.stacking import (
    EnsembleError,
    Rows,
    Stacking,
    base_folder,
    check_predictions,
    stacked_folds,
)

PAPERS_FORM = "flannel"


def ensemble_folder(arm: str, name: str, fold: int) -> str:
    """Gives an ensemble's run folder in the study, by the form's name.

    The paper's own form is `ensemble/<arm>/fold<k>`, every other one, trained or not, and those of
    a user's own recipes too, `ensemble/<arm>/<name>/fold<k>`. A comparison finds them by that.

    Raises:
        EnsembleError: If the name is no plain word, or looks like a fold.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or re.fullmatch(r"fold\d+", name):
        raise EnsembleError(
            f"name is {name!r}; expected small letters, digits and _, such as flannel_linear."
        )
    return (
        f"ensemble/{arm}/fold{fold}" if name == PAPERS_FORM else f"ensemble/{arm}/{name}/fold{fold}"
    )


def base_inputs(
    study: Path, arm: str, learners: Sequence[str], fold: int, stacking: Stacking
) -> dict[str, str]:
    """Hashes the base runs that an ensemble hangs on, and hands on what they share.

    Returns:
        For the fingerprint: `base`, `split` (of the fold), `store` and, where any has it, `masks`.

    Raises:
        MissingPredictionsError: If one is missing or unfinished.
        RunError: If they were made from different splits of a fold, stores or masks.
    """
    folds = stacked_folds(study, fold, stacking)
    check_predictions(study, learners, folds)
    parts = {
        number: {name: _parts(base_folder(study, name, number)) for name in learners}
        for number in folds
    }
    of_all = [part for of_fold in parts.values() for part in of_fold.values()]
    apart = [name for name in ("store", "masks") if len(_values(of_all, name)) > 1]
    if any(len(_values(list(of_fold.values()), "split")) > 1 for of_fold in parts.values()):
        apart.insert(0, "split")
    if apart:
        raise RunError(
            f"The base learners of arm {arm}, fold {', '.join(map(str, folds))}, were trained with "
            f"different fingerprints ({', '.join(apart)}). Run `make base-models` for all of them "
            "again."
        )
    own = list(parts[fold].values())
    shared = {name: _values(own, name) for name in ("split", "store", "masks")}
    return {
        "base": digest_of(parts if len(folds) > 1 else parts[fold]),
        **{name: next(iter(values)) for name, values in shared.items() if values},
    }


def _parts(folder: Path) -> Mapping[str, object]:
    parts = read_json(folder / "fingerprint.json").get("parts")
    if not isinstance(parts, dict):
        raise RunError(f"{folder / 'fingerprint.json'} holds no parts: make the run again.")
    return parts


def _values(parts: Sequence[Mapping[str, object]], name: str) -> set[str]:
    return {str(part[name]) for part in parts if name in part}


def write_predictions(
    rows: Rows,
    confidences: Float[np.ndarray, "images classes"],
    folder: Path,
    weights: Mapping[str, Float[np.ndarray, " images"]] | None = None,
) -> None:
    """Writes `predictions.csv` and `metrics.json` of an ensemble's run, and says what came out.

    Args:
        rows: The images.
        confidences: What the ensemble gives each diagnosis, in [0, 1].
        folder: The run's folder.
        weights: The weight of each learner, by its name, where the form has any.
    """
    table = rows.identity.copy()
    table[probability_columns(rows.diagnoses)] = confidences
    table["patches"], table["coverage"] = "", ""
    for name, column in (weights or {}).items():
        table[f"w_{name}"] = column
    save_predictions(table, folder / "predictions.csv")
    measured = measured_splits(table, rows.diagnoses)
    write_json(measured, folder / "metrics.json")
    figures = [f"{split} macro F1 {of['macro_f1']:.4f}" for split, of in measured.items()]
    print(f"{', '.join(figures)}, see {folder}", flush=True)


def short_names(learners: Sequence[str]) -> list[str]:
    """Names learners in columns: by learner, and with the arm where two arms meet."""
    arms = {name.partition("/")[0] for name in learners}
    if len(arms) == 1:
        return [name.partition("/")[2] for name in learners]
    return list(learners)
