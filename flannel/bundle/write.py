"""What one fold of a study has trained, written into one folder that can be handed on.

`flannel.bundle.read` reads it; its files are in `flannel.bundle.layout`, its weights in
`flannel.bundle.weights`.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import jinja2
import pandas as pd
import torch
import torchvision

from flannel import __version__
from flannel.bundle.layout import MOST_HASHES, BundleError, write_folder
from flannel.bundle.read import trained_of_bundle
from flannel.bundle.values import Entry, table
from flannel.bundle.weights import save_weights
from flannel.data.folds import splits_of_fold
from flannel.data.manifest import load_manifest
from flannel.data.provenance import load_provenance
from flannel.metrics.classification import measured_splits
from flannel.prediction.trained import (
    NOTICE,
    Trained,
    TrainedEnsemble,
    TrainedError,
    TrainedLearner,
)
from flannel.runs.checkpoints import CheckpointError
from flannel.study.contents import find_runs
from flannel.study.predictions import SPLITS, load_predictions
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


def model_card(trained: Trained, study: Path, licence: str) -> str:
    """Writes the card as Markdown.

    Args:
        trained: What is in the bundle.
        study: Where manifest and predictions are read.
        licence: Of the weights; "" says that nothing was stated.

    Raises:
        ManifestError: If the manifest cannot be read.
        PredictionsError: If predictions cannot be read.
    """
    manifest = load_manifest(study / "manifest.csv")
    manifest["used"] = splits_of_fold(manifest, trained.fold)
    sources = [
        {
            "source": source,
            "licence": ", ".join(sorted(set(rows["licence"]) - {""})),
            "counts": [int((rows["used"] == split).sum()) for split in SPLITS],
        }
        for source, rows in manifest.groupby("source")
    ]
    noted = (study / "manifest.json").is_file()
    measured = _measured(trained, study)
    segmenter = trained.segmenter
    card = _template("model_card.md.j2").render(
        name=study.resolve().name,
        fold=trained.fold,
        notice=NOTICE,
        diagnoses=trained.diagnoses,
        segmenter=None
        if segmenter is None
        else {
            "network": type(segmenter.network).__name__,
            "size_px": segmenter.size_px,
            "classes": segmenter.classes,
        },
        learners=[_learner(learner) for learner in trained.learners],
        ensembles=[_ensemble(form) for form in trained.ensembles],
        store=trained.store,
        sources=sources,
        splits=SPLITS,
        protocol=load_provenance(study / "manifest.csv").choices.protocol if noted else "unknown",
        licence=licence,
        hashes=trained.hashes is not None,
        images=int((manifest["used"] == "test").sum()),
        measured=measured,
        notes=[note.replace(str(study), study.resolve().name) for note in trained.notes],
        versions={"flannel": __version__, "torch": torch.__version__.split("+")[0]},
    )
    return f"{card}\n"


def _learner(learner: TrainedLearner) -> dict[str, object]:
    """Describes a learner in a line."""
    data = learner.data
    patched = learner.arm == "patched"
    return {
        "arm": learner.arm,
        "learner": learner.learner,
        "network": _class_name(learner.network),
        "size_px": data.get("size_px"),
        "precision": learner.precision,
        "answers": f"{data.get('predict_patches')} patches of {data.get('window_px')} px, "
        f"{learner.vote}"
        if patched
        else "the whole radiograph",
    }


def _ensemble(ensemble: TrainedEnsemble) -> dict[str, object]:
    return {
        "arm": ensemble.arm,
        "learner": ensemble.learner,
        "network": _class_name(ensemble.combination),
        "learners": ensemble.learners,
    }


def _class_name(specification: object) -> str:
    """Names a network by its class, and by its architecture where the class has several."""
    assert isinstance(specification, dict)
    name = str(specification["class_path"]).rpartition(".")[2]
    architecture = (specification.get("init_args") or {}).get("architecture")
    return f"{name} ({architecture})" if architecture else name


def _measured(trained: Trained, study: Path) -> list[dict[str, object]]:
    """Measures the test rows of everything in the bundle, as its runs wrote them."""
    folders = {
        (run.arm, run.learner): run.folder for run in find_runs(study) if run.fold == trained.fold
    }
    rows = []
    parts: Sequence[TrainedLearner | TrainedEnsemble] = [*trained.learners, *trained.ensembles]
    for part in parts:
        path = folders[part.arm, part.learner] / "predictions.csv"
        table = load_predictions(path, trained.diagnoses)
        measures = measured_splits(_test(table), trained.diagnoses).get("test")
        if measures is None:
            continue
        by_class = measures["f1"]
        assert isinstance(by_class, dict)
        rows.append(
            {
                "name": f"{part.arm} {part.learner}",
                "macro_f1": measures["macro_f1"],
                "accuracy": measures["accuracy"],
                "f1": [by_class[name] for name in trained.diagnoses],
                "temperature": part.temperature.value if part.temperature else None,
            }
        )
    return rows


def _test(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["split"] == "test"]


def _template(name: str) -> jinja2.Template:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("flannel.bundle"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # Markdown, read as text
    ).get_template(name)
