"""What one fold of a study has trained, written into one folder that can be handed on.

`flannel.bundle.read` reads it; its files are in `flannel.bundle.layout`, its weights in
`flannel.bundle.weights`.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
import torchvision

from flannel import __version__
from flannel.bundle.card import model_card
from flannel.bundle.layout import MOST_HASHES, BundleError, write_folder
from flannel.bundle.read import trained_of_bundle
from flannel.bundle.values import Entry, table
from flannel.bundle.weights import save_weights
from flannel.prediction.trained import (
    Trained,
    TrainedEnsemble,
    TrainedError,
    TrainedLearner,
)
from flannel.runs.checkpoints import CheckpointError
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
        BundleError: If something is in the way, or `flannel.bundle.read` would refuse the bundle.
        TrainedError: If weights cannot be read.
    """
    hashes = () if trained.hashes is None else trained.hashes()
    if len(hashes) > MOST_HASHES:
        note = (
            f"It knows no copies of its training and validation radiographs: these are "
            f"{len(hashes):,}, and a bundle holds the hashes of at most {MOST_HASHES:,}."
        )
        trained = replace(trained, hashes=None, notes=(*trained.notes, note))

    def fill(beside: Path) -> Entry:
        learners = [_learner_entry(learner, beside) for learner in trained.learners]
        ensembles = [_ensemble_entry(form, beside) for form in trained.ensembles]
        (beside / CARD).write_text(model_card(trained, study, licence), encoding="utf-8")
        return {
            "name": study.resolve().name,
            "fold": trained.fold,
            "diagnoses": list(trained.diagnoses),
            "colours": list(trained.palette.values()),
            "store": asdict(trained.store),
            "masks": asdict(trained.masks),
            "segmenter": _segmenter_entry(trained.segmenter, beside),
            "hashes": None if trained.hashes is None else _hashes_entry(hashes, beside),
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

    write_folder(folder, fill, trained_of_bundle, redo)


def _learner_entry(learner: TrainedLearner, folder: Path) -> Entry:
    return {
        **_part_entry(learner, folder, "learners"),
        "network": _without_paths(learner.network),
        "data": learner.data,
        "vote": learner.vote,
        "views_at_once": learner.views_at_once,
        "precision": learner.precision,
    }


def _without_paths(network: Entry) -> Entry:
    """Leaves out where the pretrained weights lay on the machine that trained."""
    arguments = table(network.get("init_args") or {})
    if arguments.get("weights") in (None, "imagenet", "random"):
        return network
    return {**network, "init_args": {**arguments, "weights": "later"}}


def _ensemble_entry(ensemble: TrainedEnsemble, folder: Path) -> Entry:
    return {
        **_part_entry(ensemble, folder, "ensembles"),
        "learners": list(ensemble.learners),
        "combination": ensemble.combination,
    }


def _part_entry(part: TrainedLearner | TrainedEnsemble, folder: Path, kind: str) -> Entry:
    """Writes the weights of a learner or ensemble, and returns what all entries have."""
    weights = f"{kind}/{part.arm}.{part.learner}.safetensors"
    try:
        save_weights(part.weights(), folder / weights)
    except CheckpointError as fault:
        raise TrainedError(str(fault)) from fault
    temperature = part.temperature
    return {
        "arm": part.arm,
        "learner": part.learner,
        "temperature": None
        if temperature is None
        else {"value": temperature.value, "floor": temperature.floor},
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


def _hashes_entry(hashes: Sequence[bytes], folder: Path) -> str:
    """Writes the hashes of training and validation radiographs, sorted so that none has a place."""
    (folder / HASHES).write_bytes(b"".join(sorted(hashes)))
    return HASHES
