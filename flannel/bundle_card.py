"""The model card of a bundle: what is in it, what it learned from, how good it is, its limits."""

from collections.abc import Sequence
from pathlib import Path

import jinja2
import pandas as pd
import torch

from flannel import __version__
from flannel.data.folds import splits_of_fold
from flannel.data.manifest import load_manifest
from flannel.data.provenance import load_provenance
from flannel.metrics import measured_splits
from flannel.predictions import SPLITS, load_predictions
from flannel.study import find_runs
from flannel.trained import NOTICE, Trained, TrainedEnsemble, TrainedLearner


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
    card = _template("bundle_card.md.j2").render(
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
        learners=[_learner(one) for one in trained.learners],
        ensembles=[_ensemble(one) for one in trained.ensembles],
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
    for one in parts:
        path = folders[one.arm, one.learner] / "predictions.csv"
        table = load_predictions(path, trained.diagnoses)
        found = measured_splits(_test(table), trained.diagnoses).get("test")
        if found is None:
            continue
        by_class = found["f1"]
        assert isinstance(by_class, dict)
        rows.append(
            {
                "name": f"{one.arm} {one.learner}",
                "macro_f1": found["macro_f1"],
                "accuracy": found["accuracy"],
                "f1": [by_class[name] for name in trained.diagnoses],
                "temperature": one.temperature.value if one.temperature else None,
            }
        )
    return rows


def _test(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["split"] == "test"]


def _template(name: str) -> jinja2.Template:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("flannel"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # Markdown, read as text
    ).get_template(name)
