"""The model card of a bundle: what is in it, its data, its scores and their limits, as Markdown."""

from collections.abc import Sequence
from pathlib import Path

import jinja2
import pandas as pd
import torch

from flannel import __version__
from flannel.comparison.tables.cells import measure_cell
from flannel.comparison.tables.participants import participants_tables
from flannel.comparison.tables.recipes import runs_table
from flannel.data.folds import splits_of_fold
from flannel.data.manifest import load_manifest
from flannel.metrics.classification import MACRO, OVERALL
from flannel.metrics.intervals import measured
from flannel.prediction.trained import NOTICE, Trained, TrainedEnsemble, TrainedLearner
from flannel.study.contents import SHORTCUT, StudyRun, find_runs
from flannel.study.predictions import SPLITS, load_predictions
from flannel.uncertainty import GroupDraws, draw_groups


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
    runs = _runs(trained, study)
    tables = participants_tables(study, trained.diagnoses, [trained.fold])
    trainings = runs_table(runs)
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
        licence=licence,
        hashes=trained.hashes is not None,
        images=int((manifest["used"] == "test").sum()),
        measured=_measured(trained, runs),
        baselines=any(run.arm == SHORTCUT for run in runs),
        tables=[table.markdown(level=3) for table in tables],
        trainings="" if trainings is None else trainings.markdown(level=3),
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


def _measured(trained: Trained, runs: Sequence[StudyRun]) -> list[dict[str, object]]:
    """Measures the test rows of everything in the bundle, and of the shortcut baselines."""
    temperatures = {(part.arm, part.learner): part.temperature for part in _parts(trained)}
    tests = {run: _test_rows(run, trained.diagnoses) for run in runs}
    tests = {run: rows for run, rows in tests.items() if len(rows)}
    if not tests:
        return []
    draws = draw_groups(group for rows in tests.values() for group in rows["group"])
    rows: list[dict[str, object]] = []
    for run, table in tests.items():
        temperature = temperatures.get((run.arm, run.learner))
        rows.append(
            {
                "name": f"{run.arm} {run.learner}",
                "scores": _scores(run, table, draws, trained.diagnoses),
                "temperature": temperature.value if temperature else None,
            }
        )
    return rows


def _scores(
    run: StudyRun, table: pd.DataFrame, draws: GroupDraws, diagnoses: Sequence[str]
) -> list[str]:
    """Writes macro F1, accuracy and the F1 of each diagnosis, with their intervals."""
    row = measured({run.fold: table}, draws, diagnoses, ranks=False)
    shown = [(MACRO, "f1"), (OVERALL, "accuracy"), *((name, "f1") for name in diagnoses)]
    return [measure_cell(row, name, measure) for name, measure in shown]


def _runs(trained: Trained, study: Path) -> list[StudyRun]:
    """Returns the runs of what is in the bundle, then the shortcut baselines of its fold."""
    of_fold = [run for run in find_runs(study) if run.fold == trained.fold]
    runs = {(run.arm, run.learner): run for run in of_fold}
    baselines = [run for run in of_fold if run.finished and run.arm == SHORTCUT]
    return [*(runs[part.arm, part.learner] for part in _parts(trained)), *baselines]


def _parts(trained: Trained) -> list[TrainedLearner | TrainedEnsemble]:
    return [*trained.learners, *trained.ensembles]


def _test_rows(run: StudyRun, diagnoses: Sequence[str]) -> pd.DataFrame:
    table = load_predictions(run.folder / "predictions.csv", diagnoses)
    return table[table["split"] == "test"].reset_index(drop=True)


def _template(name: str) -> jinja2.Template:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("flannel.bundle"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # Markdown, read as text
    ).get_template(name)
