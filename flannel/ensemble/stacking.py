"""What an ensemble learns from, the base predictions image by image, and what its run leaves."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from flannel.data.diagnosis import index_of
from flannel.data.manifest import load_manifest
from flannel.data.provenance import label_set_of
from flannel.errors import FlannelError, RunError
from flannel.files import digest_of, write_json
from flannel.metrics.classification import macro_f1_line, measured_splits
from flannel.runs.run import parts_of, read_fingerprint
from flannel.study.predictions import (
    aligned_probabilities,
    load_predictions,
    probability_columns,
    save_predictions,
    unusual_sums,
)

Stacking = Literal["in_sample", "out_of_fold"]


class EnsembleError(FlannelError):
    """Raised when base predictions cannot be combined."""


class MissingPredictionsError(EnsembleError):
    """Base learners that an ensemble needs and that are not there, by fold.

    Args:
        study: The study folder.
        lacking: The missing learners of each fold that lacks any, as "<arm>/<learner>".
    """

    def __init__(self, study: Path, lacking: Mapping[int, Sequence[str]]) -> None:
        folds = "; ".join(
            f"fold {fold} lacks the finished predictions of {', '.join(names)}"
            for fold, names in lacking.items()
        )
        asked = ",".join(str(fold) for fold in lacking)
        super().__init__(
            f"In {study / 'base'} {folds}. Run `make base-models FOLD={asked}` first, or narrow "
            "the ensemble with `--learner`."
        )
        self.lacking = {fold: tuple(names) for fold, names in lacking.items()}


@dataclass(frozen=True)
class Rows:
    """Images with what every base learner says of them.

    Attributes:
        identity: image_id, patient_id, group, split and diagnosis, one row per image.
        probabilities: In the ensemble's order of learners, each value in [0, 1].
        diagnoses: The study's label set, in the order of the classes.
    """

    identity: pd.DataFrame
    probabilities: Float[np.ndarray, "images learners classes"]
    diagnoses: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.identity)

    @property
    def targets(self) -> Int[np.ndarray, " images"]:
        """The class index of each image."""
        true = [index_of(name, self.diagnoses) for name in self.identity["diagnosis"]]
        return np.array(true, dtype=np.int64)

    def where(self, chosen: Bool[np.ndarray, " images"]) -> "Rows":
        """Returns the chosen images."""
        identity = self.identity[chosen].reset_index(drop=True)
        return Rows(identity, self.probabilities[chosen], self.diagnoses)

    def of(self, split: str) -> "Rows":
        """Returns the images of a split."""
        return self.where((self.identity["split"] == split).to_numpy())


@dataclass(frozen=True)
class Stack:
    """What the ensemble of one fold is made of.

    Attributes:
        rows: Every image of the fold, as the fold's own learners see it.
        training: What the ensemble learns from.
        notes: Sentences on what is unusual about the probabilities.
    """

    rows: Rows
    training: Rows
    notes: tuple[str, ...]

    @property
    def validation(self) -> Rows:
        """What the ensemble is selected on: the fold's validation images."""
        return self.rows.of("val")


def read_stack(
    study: Path, learners: Sequence[str], fold: int, stacking: Stacking = "in_sample"
) -> Stack:
    """Reads and lines up the base predictions that an ensemble of one fold learns from.

    "in_sample", as paper 004 and its code: the fold's training images, of which the learners have
    seen the answers, so their outputs are better there than on any new image. "out_of_fold" takes,
    for fold k, the validation images of the folds j other than k, each as the learners of fold j
    see it, who did not train on it; without any image whose group is among the test or validation
    images of fold k. Selection and test are the same in both: fold k's own, by its own learners.

    Args:
        study: The study folder.
        learners: The base runs in the ensemble's order, as "<arm>/<learner>".
        fold: The fold.
        stacking: "in_sample" or "out_of_fold".

    Raises:
        MissingPredictionsError: If base predictions are missing or unfinished: of the fold, and
            for out-of-fold stacking of any fold of the manifest.
        EnsembleError: If a probability is not in [0, 1], or a part has no image.
        PredictionsError: If a table cannot be read or holds no number, or tables do not line up.
        ManifestError: If the study's label set is unknown.
    """
    used = stacked_folds(study, fold, stacking)
    check_predictions(study, learners, used)
    read = {number: _read_fold(study, learners, number) for number in used}
    own = read[fold]
    if stacking == "in_sample":
        training = own.of("train")
    else:
        training = _out_of_fold(own, [read[number] for number in used if number != fold])
    for part, rows in (("train", training), ("val", own.of("val"))):
        if not len(rows):
            raise EnsembleError(
                f"Fold {fold} has no {part} rows with data.stacking {stacking}. "
                + _way_out(part, stacking)
            )
    sums = own.probabilities.sum(axis=2)  # (images, learners)
    notes = unusual_sums(dict(zip(learners, sums.T, strict=True)))
    return Stack(own, training, tuple(notes))


def stacked_folds(study: Path, fold: int, stacking: Stacking) -> list[int]:
    """Names the folds whose base predictions an ensemble needs.

    Raises:
        EnsembleError: If the fold is not in the manifest, which out-of-fold stacking asks.
    """
    if stacking == "in_sample":
        return [fold]
    folds = sorted(load_manifest(study / "manifest.csv")["fold"].dropna().astype(int).unique())
    if fold not in folds:
        raise EnsembleError(f"Fold {fold} is not in the manifest, which has {folds}.")
    return [int(number) for number in folds]


def check_predictions(study: Path, learners: Sequence[str], folds: Sequence[int]) -> None:
    """Checks that the base runs of an ensemble are there and finished.

    Raises:
        EnsembleError: If no learner is named.
        MissingPredictionsError: If one is missing or unfinished, naming all, by fold.
    """
    if not learners:
        raise EnsembleError("data.learners is empty; expected base runs such as global/vgg19_bn.")
    lacking = {
        fold: [name for name in learners if not _is_finished(base_folder(study, name, fold))]
        for fold in folds
    }
    lacking = {fold: names for fold, names in lacking.items() if names}
    if lacking:
        raise MissingPredictionsError(study, lacking)


def base_folder(study: Path, learner: str, fold: int) -> Path:
    """Returns the run folder of a base learner, named as "<arm>/<learner>"."""
    return study / "base" / learner / f"fold{fold}"


def _is_finished(folder: Path) -> bool:
    begun = read_fingerprint(folder)
    return begun is not None and begun.finished


def _read_fold(study: Path, learners: Sequence[str], fold: int) -> Rows:
    diagnoses = label_set_of(study)
    tables = {}
    for name in learners:
        path = base_folder(study, name, fold) / "predictions.csv"
        tables[name] = load_predictions(path, diagnoses)
        values = tables[name][probability_columns(diagnoses)].to_numpy()
        bad = ((values < -1e-6) | (values > 1 + 1e-6)).any(axis=1)
        if bad.any():
            raise EnsembleError(
                f"{path} holds {values[bad].flat[np.abs(values[bad] - 0.5).argmax()]:g} for "
                f"{tables[name]['image_id'][bad].iloc[0]}; expected probabilities from 0 to 1. "
                "Logits belong through a softmax first."
            )
    return Rows(*aligned_probabilities(tables, diagnoses), diagnoses)


def _out_of_fold(own: Rows, others: Sequence[Rows]) -> Rows:
    """Joins the other folds' validation images, without the groups that the fold is judged on."""
    judged = own.identity[own.identity["split"] != "train"]
    groups, images = set(judged["group"]), set(judged["image_id"])
    kept = []
    for rows in others:
        validation = rows.of("val")
        known = validation.identity["group"].isin(groups)
        known |= validation.identity["image_id"].isin(images)  # a group may be unknown
        kept.append(validation.where(~known.to_numpy()))
    if not kept:
        return own.where(np.zeros(len(own), dtype=bool))
    return Rows(
        pd.concat([rows.identity for rows in kept], ignore_index=True),
        np.concatenate([rows.probabilities for rows in kept]),
        own.diagnoses,
    )


def _way_out(part: str, stacking: Stacking) -> str:
    if part == "train" and stacking == "out_of_fold":
        return (
            "It needs folds that validate on different images, as the protocols patient, paper "
            "and nested give; use in_sample otherwise."
        )
    return "Were the base learners run on the same manifest?"


PAPERS_FORM = "flannel"


def ensemble_folder(arm: str, name: str, fold: int) -> str:
    """Returns an ensemble's run folder in the study, by the form's name.

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
    """Hashes the base runs that an ensemble depends on, and hands on what they share.

    Returns:
        For the fingerprint: `base`, `split` (of the fold), `store` and, where any has it, `masks`.

    Raises:
        MissingPredictionsError: If one is missing or unfinished.
        RunError: If they were made from different splits of a fold, stores or masks.
    """
    folds = stacked_folds(study, fold, stacking)
    check_predictions(study, learners, folds)
    parts = {
        number: {name: parts_of(base_folder(study, name, number)) for name in learners}
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


def _values(parts: Sequence[Mapping[str, str]], name: str) -> set[str]:
    return {part[name] for part in parts if name in part}


def write_predictions(
    rows: Rows,
    confidences: Float[np.ndarray, "images classes"],
    folder: Path,
    learners: Sequence[str] = (),
    weights: Float[np.ndarray, "images learners"] | None = None,
) -> None:
    """Writes `predictions.csv` and `metrics.json` of an ensemble's run, and says what came out.

    Args:
        rows: The images.
        confidences: What the ensemble gives each diagnosis, in [0, 1].
        folder: The run's folder.
        learners: The base learners, as "<arm>/<learner>".
        weights: The weight of each of them, where the form has any.
    """
    table = rows.identity.copy()
    table[probability_columns(rows.diagnoses)] = confidences
    table["patches"], table["coverage"] = "", ""
    if weights is not None:
        table[[f"w_{name}" for name in _short_names(learners)]] = weights
    save_predictions(table, folder / "predictions.csv")
    measured = measured_splits(table, rows.diagnoses)
    write_json(measured, folder / "metrics.json")
    print(f"{macro_f1_line(measured)}, see {folder}", flush=True)


def _short_names(learners: Sequence[str]) -> list[str]:
    """Names learners in columns: by learner, and with the arm where two arms meet."""
    arms = {name.partition("/")[0] for name in learners}
    if len(arms) == 1:
        return [name.partition("/")[2] for name in learners]
    return list(learners)
