"""What one fold of a study has trained, written into one folder that can be handed on.

`flannel.bundle` reads it; its files are in `flannel.bundle_files`, its weights in
`flannel.bundle_weights`.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import torch
import torchvision
from torch import Tensor

from flannel import __version__
from flannel.bundle_card import model_card
from flannel.bundle_files import BundleError, write_folder
from flannel.bundle_values import Entry, table
from flannel.bundle_weights import save_weights
from flannel.calibration import Temperature
from flannel.checkpoints import CheckpointError
from flannel.trained import Trained, TrainedEnsemble, TrainedError, TrainedLearner
from segmentation.checkpoint import Segmenter

SEGMENTER = "segmenter.safetensors"
CARD = "MODEL_CARD.md"
HASHES = "hashes.bin"


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
            "hashes": _hashes_entry(trained, beside),
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
    arguments = table(network.get("init_args") or {})
    if arguments.get("weights") in (None, "imagenet", "random"):
        return network
    return {**network, "init_args": {**arguments, "weights": "later"}}


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


def _segmenter_entry(segmenter: Segmenter | None, folder: Path) -> Entry | None:
    """Describes the segmenter."""
    if segmenter is None:
        return None
    if not segmenter.specification:
        raise BundleError("The segmenter was made in memory: a bundle needs its best.ckpt.")
    save_weights(segmenter.network.state_dict(), folder / SEGMENTER)
    return {
        "network": segmenter.specification,
        "size_px": segmenter.size_px,
        "classes": list(segmenter.classes),
        "sha256": segmenter.sha256,
        "weights": SEGMENTER,
    }


def _hashes_entry(trained: Trained, folder: Path) -> str | None:
    """Writes the hashes of training and validation radiographs, sorted so that none has a place."""
    if trained.hashes is None:
        return None
    (folder / HASHES).write_bytes(b"".join(sorted(trained.hashes())))
    return HASHES


def _temperature_entry(temperature: Temperature | None) -> Entry | None:
    if temperature is None:
        return None
    return {"value": temperature.value, "floor": temperature.floor}


def _read(weights: Callable[[], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
    try:
        return weights()
    except CheckpointError as fault:
        raise TrainedError(str(fault)) from fault
