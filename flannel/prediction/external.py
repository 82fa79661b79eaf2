"""External validation: what a fold has trained, measured on a cohort that it never saw.

Every radiograph of the cohort is a test radiograph. What the learners and ensembles say of it is
written as the runs of a study write it, so that the comparison makes the same tables and report.
"""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from flannel import __version__
from flannel.data.diagnosis import LABEL_SETS
from flannel.data.manifest import load_manifest
from flannel.data.outputs import mark_as_output
from flannel.data.provenance import (
    Choices,
    Flow,
    label_set_of,
    load_provenance,
    provenance_of,
    save_with_provenance,
)
from flannel.data.store import Store
from flannel.ensemble.combinations import combined
from flannel.ensemble.stacking import (
    PAPERS_FORM,
    Rows,
    base_folder,
    ensemble_folder,
    write_predictions,
)
from flannel.errors import FlannelError
from flannel.files import digest_of, read_json, write_json
from flannel.metrics.classification import measured_splits
from flannel.prediction.incoming import copies_of_used, prepare_radiographs
from flannel.prediction.predictors import Panel, patches_of
from flannel.prediction.trained import Trained, TrainedEnsemble, TrainedLearner
from flannel.progress import announce, progress
from flannel.runs.run import Run, RunFinishedError, parts_of
from flannel.study.contents import EVALUATION
from flannel.study.patches import save_patches
from flannel.study.predictions import (
    aligned_probabilities,
    load_predictions,
    prediction_row,
    predictions_table,
    save_predictions,
)

USED = "file or copy that the evaluated fold learned from or chose by"
"""Why a radiograph of a cohort is not evaluated."""


class EvaluationError(FlannelError):
    """Raised when trained learners cannot be evaluated on a cohort."""


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation did.

    Attributes:
        folder: A study's folder, with predictions of test radiographs and nothing else.
        radiographs: How many could be read.
        notes: Sentences on what was left out, and why.
    """

    folder: Path
    radiographs: int
    notes: tuple[str, ...]


def evaluate_cohort(panel: Panel, manifest: Path, out: Path, redo: bool = False) -> Evaluated:
    """Predicts every radiograph of a cohort, as test rows of a study of its own.

    A killed evaluation goes on with the learners that are missing.

    Args:
        panel: Who is measured.
        manifest: The cohort's manifest.csv; its own splits and folds do not count.
        out: A new folder, or one of this very evaluation.
        redo: Replace predictions that are there.

    Raises:
        EvaluationError: If the label sets differ, no radiograph is left, or `out` holds anything
            else.
        ManifestError: If the manifest cannot be used.
        RunError: If `out` holds predictions of something else.
    """
    trained = panel.trained
    table, notes = _cohort(trained, manifest)
    choices = _choices(manifest)
    _claim(out, panel, table, redo)
    flow = _flow(manifest, table)
    save_with_provenance(table, out / "manifest.csv", choices, flow, trained.palette)
    prepared = prepare_radiographs(trained, table, out / "store", out / "masks")
    notes += [f"left out: {fault}" for fault in prepared.faults]
    for learner in trained.learners:
        _learner_run(panel, learner, prepared.table, prepared.store, out, redo)
    for ensemble in trained.ensembles:
        _ensemble_run(trained, ensemble, out, redo)
    return Evaluated(out, len(prepared.table), (*trained.notes, *notes))


def _cohort(trained: Trained, manifest: Path) -> tuple[pd.DataFrame, list[str]]:
    """Reads the cohort, without what the fold learned from or chose by."""
    table = load_manifest(manifest)
    diagnoses = label_set_of(manifest.parent)
    noted = (manifest.parent / "manifest.json").is_file()
    unknown = sorted(set(table["diagnosis"]) - set(trained.diagnoses))
    # A cohort by the names of its folders may lack some of the diagnoses, one by a mapping cannot.
    other = diagnoses in LABEL_SETS.values() and diagnoses != trained.diagnoses
    if unknown or (noted and other):
        raise EvaluationError(
            f"{manifest} is about {', '.join(diagnoses if noted else unknown)}; what was trained "
            f"distinguishes {', '.join(trained.diagnoses)}. Make the manifest with that mapping "
            "(make data MAPPING=...)."
        )
    used = table["sha256"].map(trained.used)
    notes = []
    if used.any():
        notes.append(
            f"{used.sum()} radiographs of the cohort are among those that the fold learned from or "
            "chose by: left out."
        )
    table = table[~used]
    copies = copies_of_used(trained, table)
    if copies:
        notes.append(
            f"{len(copies)} radiographs of the cohort are copies of those that the fold learned "
            f"from or chose by: left out ({', '.join(copies)})."
        )
    table = table[~table["image_id"].isin(copies)].assign(split="test", fold=pd.NA)
    if table.empty:
        raise EvaluationError(f"{manifest} holds no radiograph that the fold did not learn from.")
    return table.astype({"fold": "Int64"}).reset_index(drop=True), notes


def _flow(manifest: Path, kept: pd.DataFrame) -> Flow | None:
    """Returns what is not in the evaluation: what its cohort lacks, and copies of used radiographs.

    None where nothing was written of what the cohort lacks.
    """
    provenance = provenance_of(manifest.parent)
    if provenance is None or provenance.flow is None:
        return None
    cohort = load_manifest(manifest)
    dropped = cohort[~cohort["image_id"].isin(kept["image_id"])]
    left_out = {source: dict(reasons) for source, reasons in provenance.flow.left_out.items()}
    for source, count in dropped["source"].value_counts().sort_index().items():
        left_out.setdefault(str(source), {})[USED] = int(count)
    return replace(provenance.flow, left_out=left_out)


def _choices(manifest: Path) -> Choices:
    """Returns how the cohort was made."""
    if (manifest.parent / "manifest.json").is_file():
        return replace(load_provenance(manifest).choices, protocol="external", run="")
    return Choices(protocol="external", seed=0, mapping="")


def _claim(out: Path, panel: Panel, table: pd.DataFrame, redo: bool) -> None:
    """Notes what is measured on what, and refuses a folder of anything else."""
    cohort = digest_of(table[["image_id", "sha256", "diagnosis"]].to_numpy().tolist())
    note = {"trained": panel.identity, "cohort": cohort}
    path = out / EVALUATION
    if out.exists() and not path.is_file() and any(out.iterdir()):
        raise EvaluationError(f"{out} holds something else; name a new folder with --out.")
    before = read_json(path) if path.is_file() else note
    changed = [name for name, value in note.items() if before.get(name) != value]
    if changed and not redo:
        raise EvaluationError(
            f"{out} holds an evaluation with another {' and '.join(changed)}. Name another folder "
            "with --out, or say --redo true to replace it."
        )
    if changed:
        for name in ("base", "ensemble", "comparison"):
            shutil.rmtree(out / name, ignore_errors=True)
    trained = panel.trained
    write_json(
        {
            **note,
            "name": trained.name,
            "fold": trained.fold,
            "copies": "left out" if trained.hashes else "not known",
        },
        path,
    )
    mark_as_output(out)


def _learner_run(
    panel: Panel,
    learner: TrainedLearner,
    table: pd.DataFrame,
    store: Store,
    out: Path,
    redo: bool,
) -> None:
    """Writes what a learner says of the radiographs that it can see."""
    trained = panel.trained
    config = digest_of([learner.identity, panel.patches, *panel.chosen_precision])
    parts = {**_shared_parts(table, store), "config": config}
    if not learner.needs_mask:
        del parts["masks"]
    run = Run(base_folder(out, learner.name, trained.fold), parts)
    if not _begin(run, redo):
        return
    able = [i for i in table["image_id"] if not learner.needs_mask or store.has_mask(i)]
    if not able:
        raise EvaluationError(f"No radiograph has a lung mask, which {learner.name} needs.")
    predicted = panel.ready(learner).predict(store, able)
    answers = list(progress(predicted, len(able), f"Predicting with {learner.name}"))
    view = learner.view_options.view
    rows = [
        prediction_row(
            answer.image_id,
            answer.confidences,
            trained.diagnoses,
            len(answer.logits) if view.patched else 0,
            float(answer.places.coverage),
        )
        for answer in answers
    ]
    predictions = predictions_table(table, rows)
    save_predictions(predictions, run.folder / "predictions.csv")
    if view.patched:
        save_patches(patches_of(answers, view), run.folder / "patches.npz")
    write_json(measured_splits(predictions, trained.diagnoses), run.folder / "metrics.json")
    run.finish()


def _ensemble_run(trained: Trained, ensemble: TrainedEnsemble, out: Path, redo: bool) -> None:
    """Combines what the learners have written, on the radiographs that all of them can see."""
    folders = {name: base_folder(out, name, trained.fold) for name in ensemble.learners}
    base_parts = [parts_of(folder) for folder in folders.values()]
    shared = {
        name: value
        for of_learner in base_parts
        if isinstance(of_learner, dict)
        for name, value in of_learner.items()
    }
    parts = {**shared, "base": digest_of(base_parts), "config": ensemble.identity}
    run = Run(out / ensemble_folder(ensemble.arm, PAPERS_FORM, trained.fold), parts)
    if not _begin(run, redo):
        return
    tables = {
        name: load_predictions(folder / "predictions.csv", trained.diagnoses)
        for name, folder in folders.items()
    }
    common = set.intersection(*(set(table["image_id"]) for table in tables.values()))
    tables = {name: table[table["image_id"].isin(common)] for name, table in tables.items()}
    identity, probabilities = aligned_probabilities(tables, trained.diagnoses)
    rows = Rows(identity, probabilities, trained.diagnoses)
    confidences, weights = combined(ensemble.module, probabilities)
    write_predictions(rows, confidences, run.folder, ensemble.learners, weights)
    run.finish()


def _begin(run: Run, redo: bool) -> bool:
    """Takes a run's folder into use; returns whether there is anything to do."""
    try:
        run.check(redo)
    except RunFinishedError as finished:
        announce(str(finished))
        return False
    run.start(redo)
    return True


def _shared_parts(table: pd.DataFrame, store: Store) -> dict[str, str]:
    stored = store.fingerprint()
    split = digest_of(table[["image_id", "diagnosis"]].to_numpy().tolist())
    return {"split": split, "code": __version__, **stored}
