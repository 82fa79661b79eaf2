"""What one fold of a study has trained, in one folder that can be handed on and asked anywhere.

A bundle is written from a study (`bundle_study`) and read as if it were one (`trained_of_bundle`).
The files themselves are in `flannel.bundle_files`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import torch
import torchvision
import yaml
from torch import Tensor

from flannel import __version__
from flannel.bundle_card import model_card
from flannel.bundle_files import (
    BundleError,
    is_bundle,
    read_contents,
    read_weights,
    save_weights,
    write_folder,
)
from flannel.calibration import Temperature
from flannel.checkpoints import CheckpointError, load_weights
from flannel.data.greyscale import Squaring
from flannel.data.store_files import Settings
from flannel.doubts import Norms
from flannel.runs import digest_of
from flannel.study import ENSEMBLE
from flannel.trained import (
    COMBINATIONS,
    NETWORKS,
    Trained,
    TrainedEnsemble,
    TrainedError,
    TrainedLearner,
)
from flannel.trained_study import trained_of_study
from patching.vote import Rule
from segmentation.checkpoint import Segmenter, build_network, channels_last
from segmentation.masks import MaskError
from segmentation.pipeline import MaskOptions

Part = TypeVar("Part")
Entry = Mapping[str, object]

SEGMENTER = "segmenter.safetensors"
CARD = "MODEL_CARD.md"
LARGEST_SIDE_PX = 8192


def write_bundle(
    trained: Trained, study: Path, folder: Path, licence: str = "", redo: bool = False
) -> None:
    """Writes a bundle.

    Args:
        trained: What goes into it; `trained_of_study` gives it.
        study: Where it comes from: what the model card says of data and results is read there.
        folder: The bundle's place.
        licence: Under which the weights are given away; "" says that nothing was stated.
        redo: Replace a bundle that is there.

    Raises:
        BundleError: If something is in the way.
        TrainedError: If weights cannot be read.
    """

    def fill(beside: Path) -> Entry:
        learners = [_learner_entry(one, beside) for one in trained.learners]
        ensembles = [_ensemble_entry(one, beside) for one in trained.ensembles]
        (beside / CARD).write_text(model_card(trained, study, licence), encoding="utf-8")
        return {
            "name": study.resolve().name,
            "fold": trained.fold,
            "diagnoses": list(trained.diagnoses),
            "store": asdict(trained.store),
            "masks": asdict(trained.masks),
            "segmenter": _segmenter_entry(trained.segmenter, beside),
            "learners": learners,
            "ensembles": ensembles,
            "norms": None if trained.norms is None else trained.norms.to_json(),
            "notes": [note.replace(str(study), study.resolve().name) for note in trained.notes],
            "licence": licence,
            "versions": {
                "flannel": __version__,
                "torch": torch.__version__,
                "torchvision": torchvision.__version__,
            },
        }

    write_folder(folder, fill, redo)


def open_trained(
    place: Path,
    fold: int | None = None,
    arms: Sequence[str] | None = None,
    learners: Sequence[str] | None = None,
    segmenter: Path | None = None,
    forms: Sequence[str] | None = (ENSEMBLE,),
) -> Trained:
    """Finds what was trained in a study's folder or in a bundle.

    Args:
        place: A study's folder, or a bundle.
        fold: Of a study, the first that was trained when None; a bundle holds one fold.
        arms: As of `trained_of_bundle`.
        learners: As of `trained_of_bundle`.
        segmenter: A best.ckpt for a study's learners; a bundle has its own.
        forms: Forms of the ensemble and baselines, by their names in tables; all when None.

    Raises:
        BundleError: If the bundle is damaged, holds another fold or not one of the forms, or is
            given a segmenter.
        TrainedError: If none of the chosen learners is there, or a study cannot be used.
        StudyError: If the runs of a study do not belong together.
    """
    if not is_bundle(place):
        return trained_of_study(place, fold, arms, learners, segmenter, forms)
    if segmenter is not None:
        raise BundleError(f"{place} is a bundle, which has its own segmenter: leave it out.")
    trained = trained_of_bundle(place, arms, learners)
    if fold not in (None, trained.fold):
        raise BundleError(f"{place} holds fold {trained.fold}, not {fold}: leave the fold out.")
    if forms is None:
        return trained
    held = {one.learner for one in trained.forms}
    unknown = sorted(set(forms) - held - {ENSEMBLE})
    if unknown:
        raise BundleError(
            f"{place} holds no {' and no '.join(unknown)}; of what combines learners it holds "
            f"{', '.join(sorted(held)) or 'nothing'}."
        )
    return replace(
        trained,
        ensembles=tuple(one for one in trained.ensembles if one.learner in forms),
        baselines=tuple(one for one in trained.baselines if one.learner in forms),
    )


def trained_of_bundle(
    folder: Path, arms: Sequence[str] | None = None, learners: Sequence[str] | None = None
) -> Trained:
    """Reads a bundle, after comparing all of its files with their hashes.

    Args:
        folder: The bundle.
        arms: Arms of learners and ensembles; all when None. An ensemble brings its learners.
        learners: Base learners; all when None. Ensembles that lack one are left out.

    Raises:
        BundleError: If it is damaged, or names a class or a value that this version does not use.
        TrainedError: If it holds none of the chosen learners.
    """
    contents = read_contents(folder)
    files = cast(Mapping[str, Entry], contents["files"])

    def weights_of(entry: Entry) -> tuple[Path, str]:
        name = str(entry["weights"])
        return folder / name, str(files[name]["sha256"])

    def read() -> Trained:
        diagnoses = tuple(_names(contents["diagnoses"]))
        found = tuple(_learner(one, *weights_of(one)) for one in _entries(contents["learners"]))
        combined = tuple(
            _ensemble(one, len(diagnoses), *weights_of(one))
            for one in _entries(contents["ensembles"])
        )
        segmenter, norms = contents["segmenter"], contents["norms"]
        return Trained(
            name=str(folder),
            fold=int(cast(int, contents["fold"])),
            diagnoses=diagnoses,
            store=_settings(_entry(contents["store"])),
            segmenter=None
            if segmenter is None
            else _segmenter(_entry(segmenter), folder / SEGMENTER),
            masks=MaskOptions(**_entry(contents["masks"])),  # type: ignore[arg-type]
            learners=found,
            ensembles=combined,
            norms=None if norms is None else Norms.from_json(_entry(norms)),
            notes=tuple(_names(contents["notes"])),
        )

    return _chosen(_understood(folder, read), arms, learners)


def _chosen(
    trained: Trained, arms: Sequence[str] | None, learners: Sequence[str] | None
) -> Trained:
    """Keeps the arms and learners that were asked for."""
    ensembles = [one for one in trained.ensembles if arms is None or one.arm in arms]
    brought = {name for one in ensembles if arms is not None for name in one.learners}
    kept = [
        one
        for one in trained.learners
        if (learners is None or one.learner in learners)
        and (arms is None or one.arm in arms or one.name in brought)
    ]
    names = {one.name for one in kept}
    if not kept:
        raise TrainedError(
            f"{trained.name} holds none of the learners asked for; it holds "
            f"{', '.join(one.name for one in trained.learners)}."
        )
    whole = tuple(one for one in ensembles if set(one.learners) <= names)
    return replace(trained, learners=tuple(kept), ensembles=whole)


def _learner_entry(learner: TrainedLearner, folder: Path) -> Entry:
    weights = f"learners/{learner.arm}.{learner.learner}.safetensors"
    save_weights(_read(learner.weights), folder / weights)
    return {
        "arm": learner.arm,
        "learner": learner.learner,
        "network": _without_paths(learner.network),
        "data": learner.data,
        "vote": learner.vote,
        "views_at_once": learner.views_at_once,
        "precision": learner.precision,
        "temperature": _temperature_entry(learner.temperature),
        "weights": weights,
    }


def _without_paths(network: Entry) -> Entry:
    """Leaves out where the pretrained weights lay on the machine that trained."""
    arguments = _entry(network.get("init_args") or {})
    if arguments.get("weights") in (None, "imagenet", "random"):
        return network
    return {**network, "init_args": {**arguments, "weights": "later"}}


def _learner(entry: Entry, path: Path, sha256: str) -> TrainedLearner:
    learner = TrainedLearner(
        arm=_name(entry["arm"]),
        learner=_name(entry["learner"]),
        network=_allowed(_entry(entry["network"]), NETWORKS),
        data=_entry(entry["data"]),
        vote=_one_of(entry["vote"], get_args(Rule)),
        views_at_once=int(cast(int, entry["views_at_once"])),
        precision=str(entry["precision"]),
        weights=partial(read_weights, path),
        temperature=_temperature(entry["temperature"]),
        identity=digest_of([entry, sha256]),
    )
    _ = learner.sight  # refuses options of another version now, not after an hour
    return learner


def _ensemble_entry(ensemble: TrainedEnsemble, folder: Path) -> Entry:
    weights = f"ensembles/{ensemble.arm}.{ensemble.learner}.safetensors"
    save_weights(_read(ensemble.weights), folder / weights)
    return {
        "arm": ensemble.arm,
        "learner": ensemble.learner,
        "learners": list(ensemble.learners),
        "combination": ensemble.combination,
        "temperature": _temperature_entry(ensemble.temperature),
        "weights": weights,
    }


def _ensemble(entry: Entry, classes: int, path: Path, sha256: str) -> TrainedEnsemble:
    return TrainedEnsemble(
        arm=_name(entry["arm"]),
        learner=_name(entry["learner"]),
        learners=tuple(_names(entry["learners"])),
        combination=_allowed(_entry(entry["combination"]), COMBINATIONS),
        classes=classes,
        weights=partial(read_weights, path),
        temperature=_temperature(entry["temperature"]),
        identity=digest_of([entry, sha256]),
    )


def _segmenter_entry(segmenter: Segmenter | None, folder: Path) -> Entry | None:
    """Describes the segmenter; its network is named in the config.yaml beside its checkpoint."""
    if segmenter is None:
        return None
    if segmenter.checkpoint is None:
        raise BundleError("The segmenter was made in memory: a bundle needs its best.ckpt.")
    config = segmenter.checkpoint.parent / "config.yaml"
    save_weights(segmenter.network.state_dict(), folder / SEGMENTER)
    return {
        "network": yaml.safe_load(config.read_text(encoding="utf-8"))["model"]["network"],
        "size_px": segmenter.size_px,
        "classes": list(segmenter.classes),
        "sha256": segmenter.sha256,
        "weights": SEGMENTER,
    }


def _segmenter(entry: Entry, path: Path) -> Segmenter:
    network = build_network(_entry(entry["network"]))
    load_weights(network, read_weights(path), "the segmenter")
    return Segmenter(
        network=channels_last(network),
        size_px=_side(entry["size_px"]),
        sha256=str(entry["sha256"]),  # of the checkpoint, as the study's own masks name it
        classes=tuple(_names(entry["classes"])),
    )


def _temperature_entry(temperature: Temperature | None) -> Entry | None:
    if temperature is None:
        return None
    return {"value": temperature.value, "floor": temperature.floor}


def _temperature(entry: object) -> Temperature | None:
    if entry is None:
        return None
    value, floor = (float(cast(float, _entry(entry)[name])) for name in ("value", "floor"))
    if not (value > 0 and floor > 0):
        raise ValueError(f"a temperature of {value} with a floor of {floor}")
    return Temperature(value, floor, at_bound=False)


def _settings(entry: Entry) -> Settings:
    return Settings(_side(entry["size_px"]), _one_of(entry["resize"], get_args(Squaring)))


def _read(weights: Callable[[], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
    try:
        return weights()
    except CheckpointError as fault:
        raise TrainedError(str(fault)) from fault


def _understood(folder: Path, read: Callable[[], Part]) -> Part:
    """Reads what was compared with its hashes, and is still not to be believed."""
    try:
        return read()
    except BundleError:
        raise
    except (CheckpointError, MaskError, TrainedError, KeyError, TypeError, ValueError) as fault:
        known = isinstance(fault, CheckpointError | MaskError | TrainedError)
        told = str(fault) if known else f"It does not say what was trained: {fault!r}."
        raise BundleError(f"The bundle {folder} is not used. {told}") from fault


def _allowed(network: Entry, places: tuple[str, ...]) -> Entry:
    class_path = str(network["class_path"])
    if not class_path.startswith(places):
        raise CheckpointError(
            f"It names the class {class_path}; expected one of {' or '.join(places)}, as these run "
            "no unknown code."
        )
    return {**network, "init_args": _entry(network.get("init_args") or {})}


def _entry(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError(f"expected a table, not {value!r}")
    return value


def _entries(value: object) -> list[dict[str, object]]:
    if not isinstance(value, list):
        raise TypeError(f"expected a list, not {value!r}")
    return [_entry(one) for one in value]


def _names(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise TypeError(f"expected a list of names, not {value!r}")
    return value


def _name(value: object) -> str:
    """Reads a name that becomes part of a path where predictions are written."""
    if not isinstance(value, str) or not re.fullmatch(r"\w[\w -]*", value):
        raise ValueError(f"the name {value!r}")
    return value


def _one_of(value: object, choices: tuple[str, ...]) -> Any:  # noqa: ANN401  a literal of these
    if value not in choices:
        raise ValueError(f"{value!r}, where one of {', '.join(choices)} is expected")
    return value


def _side(value: object) -> int:
    if not isinstance(value, int) or not 1 <= value <= LARGEST_SIDE_PX:
        raise ValueError(f"a side of {value!r} px")
    return value
