"""A study's folder in, what one of its folds has trained out."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import yaml

from flannel.data.diagnosis import index_of
from flannel.data.duplicates import has_structure, perceptual_hash
from flannel.data.folds import splits_of_fold
from flannel.data.likeness import hashes_of
from flannel.data.manifest import load_manifest
from flannel.data.provenance import colours_of, label_set_of
from flannel.data.store import Store
from flannel.data.store.layout import read_settings
from flannel.ensemble.baselines import FITTED, recalled
from flannel.files import digest_of, read_json, sha256_of
from flannel.metrics.calibration import Temperature, fit_temperature
from flannel.metrics.classification import MeasureError
from flannel.prediction.doubts import Norms, measure_norms
from flannel.prediction.trained import (
    Form,
    Known,
    Trained,
    TrainedBaseline,
    TrainedEnsemble,
    TrainedError,
    TrainedLearner,
)
from flannel.runs.checkpoints import checkpoint_weights
from flannel.runs.class_paths import as_first_named, present_paths
from flannel.study.contents import (
    ENSEMBLE,
    StudyRun,
    check_fingerprints,
    find_runs,
    first_trainings,
    learner_place,
    narrowed,
)
from flannel.study.predictions import load_predictions, probability_columns
from segmentation.checkpoint import Segmenter, checkpoints_of, load_segmenter
from segmentation.inference import Precision
from segmentation.masks.folder import load_mask_rows
from segmentation.masks.pipeline import PLAIN, MaskOptions, load_options, mask_hash

Part = TypeVar("Part")

BEST = "best.ckpt"
PRECISIONS: tuple[Precision, ...] = ("32-true", "auto", "bf16-mixed", "16-mixed")
LOOKED_AT = 512
"""Training radiographs that the norms are measured on, at most."""


def trained_of_study(
    study: Path,
    fold: int | None = None,
    arms: Sequence[str] | None = None,
    learners: Sequence[str] | None = None,
    checkpoint: Path | None = None,
    forms: Sequence[str] | None = (ENSEMBLE,),
) -> Trained:
    """Finds what a fold of a study has trained.

    Args:
        study: The study's folder, with manifest and store.
        fold: The fold; the first that has base learners when None, which a note tells where
            there are others.
        arms: Arms of learners and ensembles; all when None. An ensemble brings its learners.
        learners: Base learners; all when None, but of repeats with several seeds the first one.
            Ensembles that lack one are left out.
        checkpoint: The segmenter's best.ckpt; the one that made the study's masks when None.
        forms: Forms of the ensemble and baselines, by their names in tables; all when None.

    Raises:
        TrainedError: If no finished learner is found, or not that form of the ensemble, a
            config.yaml cannot be used, or the segmenter that made the masks is not among the
            study's.
        StudyError: If a fingerprint is damaged, or runs do not belong together.
    """
    runs = [run for run in narrowed(find_runs(study), learners) if run.finished]
    runs = first_trainings(runs) if learners is None else runs
    fold, notes = _chosen_fold(study, runs, fold)
    runs = [run for run in runs if run.fold == fold]
    diagnoses = label_set_of(study)
    base = {
        f"{run.arm}/{run.learner}": run
        for run in runs
        if run.stage == "base" and (run.folder / BEST).is_file()
    }
    combining = _forms(study, runs, forms, diagnoses)
    if arms is not None:
        combining = [form for form in combining if form.arm in arms]
    whole = [form for form in combining if set(form.learners) <= set(base)]
    brought = {name for form in whole if arms is not None for name in form.learners}
    chosen = {n: run for n, run in base.items() if not arms or run.arm in arms or n in brought}
    if not chosen:
        raise TrainedError(
            f"{study} holds no finished base learner of fold {fold}"
            + (f" in the arms {', '.join(arms)}" if arms else "")
            + f"; there are {', '.join(base) or 'none at all'}. Train them (make base-models), or "
            "choose among those."
        )
    check_fingerprints(study, list(chosen.values()))
    settings = read_settings(study / "store")
    if settings is None:
        raise TrainedError(f"{study / 'store'} holds no finished store: build it (make data).")
    manifest = load_manifest(study / "manifest.csv")
    manifest["split"] = splits_of_fold(manifest, fold)
    trained = [trained_learner(run, diagnoses) for run in chosen.values()]
    segmenter, masks, of_masks = _segmenter(study, manifest, checkpoint)
    if segmenter is None and any(learner.needs_mask for learner in trained):
        raise TrainedError(
            f"{study / 'segmentation'} holds no finished segmenter, which {trained[-1].name} "
            "needs: name its best.ckpt with --segmenter, or ask for --arm=global."
        )
    lacking = [
        f"{form.learner} of the arm {form.arm} is left out: it needs "
        f"{', '.join(sorted(set(form.learners) - set(base)))}."
        for form in combining
        if form not in whole
    ]
    return Trained(
        name=str(study),
        fold=fold,
        diagnoses=diagnoses,
        colours=tuple(colours_of(study).values()),
        store=settings,
        segmenter=segmenter,
        masks=masks,
        learners=tuple(trained),
        ensembles=tuple(form for form in whole if isinstance(form, TrainedEnsemble)),
        norms=_norms(study, manifest),
        known=_known(manifest),
        hashes=partial(_hashes, study, manifest),
        notes=(*notes, *lacking, *of_masks),
        baselines=tuple(form for form in whole if isinstance(form, TrainedBaseline)),
    )


def _chosen_fold(
    study: Path, runs: Sequence[StudyRun], fold: int | None
) -> tuple[int, tuple[str, ...]]:
    """Chooses the first fold where none is named, and says so where there are several."""
    if fold is not None:
        return fold, ()
    folds = sorted({run.fold for run in runs if run.stage == "base"})
    if len(folds) < 2:
        return (folds or [0])[0], ()
    listed = ", ".join(map(str, folds))
    return folds[0], (
        f"{study} has trained the folds {listed}: fold {folds[0]} predicts. Its tables show "
        "how well; --fold chooses another.",
    )


def trained_learner(run: StudyRun, diagnoses: Sequence[str]) -> TrainedLearner:
    """Reads one base learner.

    Args:
        run: Its finished run.
        diagnoses: The label set, in order.

    Raises:
        TrainedError: If the run's config.yaml cannot be used, or its weights are missing.
    """
    sha256 = _hash_of_weights(run)

    def read(config: Mapping[str, Mapping[str, object]]) -> TrainedLearner:
        model, data = config["model"], dict(config["data"])
        for own in ("study", "fold"):
            data.pop(own, None)
        precision = str(config["trainer"]["precision"] or "32-true")
        temperature = _temperature(run, diagnoses)
        used = (sha256, model["network"], data, model["vote"], precision, temperature)
        return TrainedLearner(
            arm=run.arm,
            learner=run.learner,
            network=model["network"],  # type: ignore[arg-type]
            data=data,
            vote=model["vote"],  # type: ignore[arg-type]
            views_at_once=int(model.get("views_at_once", 64)),  # type: ignore[call-overload]
            precision=precision,
            weights=partial(checkpoint_weights, run.folder / BEST, "network.", sha256),
            temperature=temperature,
            identity=_identity(run, *used),
        )

    return _from_config(run, read)


def _forms(
    study: Path, runs: Sequence[StudyRun], wanted: Sequence[str] | None, diagnoses: Sequence[str]
) -> list[Form]:
    """Reads the forms of the ensemble that are wanted, and refuses one that the fold lacks."""
    kept = [
        run
        for run in runs
        if run.stage == "ensemble" and any((run.folder / name).is_file() for name in (BEST, FITTED))
    ]
    made = {run.learner for run in kept}
    unknown = [name for name in wanted or () if name not in made and name != ENSEMBLE]
    if unknown:
        raise TrainedError(
            f"{study} holds no finished {' and no '.join(unknown)} in that fold; of what combines "
            f"learners there is {', '.join(sorted(made, key=learner_place)) or 'nothing'}. Make "
            "it (make ensemble FORM=...), or choose among those."
        )
    return [
        _ensemble(run, diagnoses) if (run.folder / BEST).is_file() else _baseline(run, diagnoses)
        for run in kept
        if wanted is None or run.learner in wanted
    ]


def _baseline(run: StudyRun, diagnoses: Sequence[str]) -> TrainedBaseline:
    def read(config: Mapping[str, Mapping[str, object]]) -> TrainedBaseline:
        learners: tuple[str, ...] = tuple(config["data"]["learners"])  # type: ignore[arg-type]
        fitted = read_json(run.folder / FITTED)
        temperature = _temperature(run, diagnoses)
        return TrainedBaseline(
            arm=run.arm,
            learner=run.learner,
            learners=learners,
            combine=recalled(config["method"], fitted, learners, diagnoses),
            temperature=temperature,
            identity=_identity(run, fitted, learners, config["method"], temperature),
        )

    return _from_config(run, read)


def _ensemble(run: StudyRun, diagnoses: Sequence[str]) -> TrainedEnsemble:
    sha256 = _hash_of_weights(run)

    def read(config: Mapping[str, Mapping[str, object]]) -> TrainedEnsemble:
        learners: tuple[str, ...] = tuple(config["data"]["learners"])  # type: ignore[arg-type]
        combination = config["model"]["combination"]
        temperature = _temperature(run, diagnoses)
        return TrainedEnsemble(
            arm=run.arm,
            learner=run.learner,
            learners=learners,
            combination=combination,  # type: ignore[arg-type]
            classes=len(diagnoses),
            weights=partial(checkpoint_weights, run.folder / BEST, "combination.", sha256),
            temperature=temperature,
            identity=_identity(run, sha256, learners, combination, temperature),
        )

    return _from_config(run, read)


def _from_config(run: StudyRun, read: Callable[[Mapping[str, Mapping[str, object]]], Part]) -> Part:
    path = run.folder / "config.yaml"
    try:
        return read(yaml.safe_load(present_paths(path.read_text(encoding="utf-8"))))
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as fault:
        raise TrainedError(
            f"{path} does not say what was trained ({fault!r}); expected the config.yaml of a "
            "finished run. Make the run again with --redo true."
        ) from fault


def _hash_of_weights(run: StudyRun) -> str:
    """Returns the hash that the weights must still have when they are read."""
    try:
        return sha256_of(run.folder / BEST)
    except OSError as fault:
        raise TrainedError(
            f"{run.folder / BEST} cannot be read ({fault.strerror}): make the run again with "
            "--redo true."
        ) from fault


def _identity(run: StudyRun, *used: object) -> str:
    """Returns a hash of what a run was made of, and of all that is read of it."""
    return digest_of(as_first_named([run.arm, run.learner, run.fold, run.parts, *used]))


def _temperature(run: StudyRun, diagnoses: Sequence[str]) -> Temperature | None:
    """Fits the run's temperature on its validation rows; None where they tell nothing about it."""
    table = load_predictions(run.folder / "predictions.csv", diagnoses)
    rows = table[table["split"] == "val"]
    true = rows["diagnosis"].map(lambda name: index_of(name, diagnoses)).to_numpy(int)
    try:
        temperature = fit_temperature(true, rows[probability_columns(diagnoses)].to_numpy(float))
    except MeasureError:
        return None
    return None if temperature.at_bound else temperature


def _segmenter(
    study: Path, manifest: pd.DataFrame, checkpoint: Path | None
) -> tuple[Segmenter | None, MaskOptions, tuple[str, ...]]:
    """Finds the segmenter and the options that made the study's masks, by their recipe's hash.

    It is a segmenter of the study, or the one that comes with the package.
    """
    places = [checkpoint] if checkpoint else checkpoints_of(study)[0]
    hashes = dict(zip(manifest["image_id"], manifest["sha256"], strict=True))
    rows = load_mask_rows(study / "masks" / "masks.csv").values()
    made = next((r for r in rows if r.origin == "predicted" and r.image_id in hashes), None)
    segmenters = [load_segmenter(place) for place in places]
    references = sum(row.origin == "reference" for row in rows)
    notes: tuple[str, ...] = (
        (
            f"{references} lung masks of the study are references; here all masks are predicted, "
            "so that these radiographs are not answered as in the study.",
        )
        if references
        else ()
    )
    if made is not None:
        recorded = load_options(study / "masks")
        candidates = _all_mask_options() if recorded is None else [recorded]
        tried = segmenters if checkpoint else [*segmenters, load_segmenter()]
        for segmenter, options in product(tried, candidates):
            if mask_hash(segmenter, options, str(hashes[made.image_id])) == made.made_from:
                return segmenter, options, notes
    if not segmenters:
        return None, PLAIN, ()
    if len(segmenters) > 1:
        raise TrainedError(
            f"{study / 'segmentation'} holds {len(segmenters)} segmenters, and it is not known "
            f"which made the masks; name one with --segmenter: {', '.join(map(str, places))}."
        )
    if made is not None:
        notes += (
            "The masks of the study were made by another segmenter, or another version: lungs are "
            f"found by {places[0]}, and answers may differ from the study's.",
        )
    return segmenters[0], PLAIN, notes


def _all_mask_options() -> list[MaskOptions]:
    """Lists the options of masks whose folder does not record them, as of earlier versions."""
    return [MaskOptions(*values) for values in product((True, False), (False, True), PRECISIONS)]


def _norms(study: Path, manifest: pd.DataFrame) -> Norms | None:
    store = Store(study / "store")
    train = manifest[(manifest["split"] == "train") & manifest["image_id"].isin(store.image_ids)]
    train = train.iloc[:: -(-len(train) // LOOKED_AT) or 1]
    return measure_norms(store, dict(zip(train["image_id"], train["group"], strict=True)))


def _hashes(study: Path, manifest: pd.DataFrame) -> tuple[bytes, ...]:
    """Returns the hashes of training and validation radiographs, of the files or of the store.

    The study remembers those of the files, where it can be written.
    """
    store = Store(study / "store")
    used = manifest[manifest["split"].isin(["train", "val"])]
    used = used[used["image_id"].isin(store.image_ids)]
    hashes = hashes_of(used, study / "hashes.csv")
    return tuple(
        value if has_structure(value) else perceptual_hash(np.asarray(store.radiograph(image_id)))
        for image_id, value in zip(used["image_id"], hashes, strict=True)
    )


def _known(manifest: pd.DataFrame) -> dict[str, tuple[Known, ...]]:
    known: dict[str, tuple[Known, ...]] = {}
    columns = (manifest[name] for name in ("sha256", "image_id", "split"))
    for sha256, image_id, split in zip(*columns, strict=True):
        known[sha256] = (*known.get(sha256, ()), Known(str(image_id), str(split)))
    return known
