"""The saliency of a study's base learners, checked: a table and a figure for each."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flannel.arithmetic import AUTO, answering_precision
from flannel.asking import ReadyLearner
from flannel.data.outputs import mark_as_output
from flannel.data.provenance import label_set_of
from flannel.data.store import Store
from flannel.figures.style import save_figure
from flannel.galleries.saliency import saliency_sheet
from flannel.predictions import load_predictions
from flannel.runs import Answering
from flannel.saliency import GradCam, SaliencyError
from flannel.saliency_checks import check_maps, examples
from flannel.study import StudyRun, find_runs, narrowed
from flannel.tables.layout import write_table
from flannel.tables.saliency import checks_table, verdict
from flannel.trained_study import trained_learner
from segmentation.devices import device_of


def chosen_runs(
    study: Path, arms: Sequence[str], learners: Sequence[str] | None, fold: int
) -> list[StudyRun]:
    """Finds the finished runs of base learners that are asked for.

    Args:
        study: The study's folder.
        arms: Their arms.
        learners: Their names; all when None.
        fold: The fold.

    Raises:
        SaliencyError: If there is none.
        StudyError: If no learner of the study has such a name.
    """
    runs = [
        run
        for run in narrowed(find_runs(study), learners)
        if run.stage == "base" and run.arm in arms and run.fold == fold and run.finished
    ]
    if not runs:
        raise SaliencyError(
            f"{study} holds no finished base learner of fold {fold} in the arm {', '.join(arms)}: "
            "train one (make base-models), or choose another arm or fold."
        )
    return runs


def write_saliency(
    run: StudyRun,
    study: Path,
    count: int = 8,
    patches: int | None = None,
    layer: str = "",
    seed: int = 1,
    precision: Answering = AUTO,
) -> list[str]:
    """Maps and checks test radiographs of one learner, and writes what was found.

    Args:
        run: A finished run of a base learner.
        study: The study's folder, with store and masks.
        count: Radiographs, the first of each diagnosis in turn.
        patches: Patches a radiograph; as in the learner's recipe when None.
        layer: Whose output is the feature map; the last one when empty.
        seed: Of the weights that are left to chance.
        precision: As of a `Panel`.

    Returns:
        What there is to say, and the table's path at last.

    Raises:
        SaliencyError: If there is no test radiograph with lungs, or no such feature map.
    """
    store, diagnoses = Store(study / "store"), label_set_of(study)
    name = f"{run.arm} {run.learner} fold {run.fold}"
    predictions = load_predictions(run.folder / "predictions.csv", diagnoses)
    chosen = examples(predictions, diagnoses, count, store.has_mask)
    if not chosen:
        raise SaliencyError(
            f"{name} has predicted no test radiograph with a lung mask, and the share of saliency "
            "in the lungs needs one: run make segment."
        )
    trained, device = trained_learner(run, diagnoses), device_of(0)
    asked = answering_precision(trained.precision, precision, device)
    ready = ReadyLearner(replace(trained, precision=asked), device, patches)
    options = ready.options
    at_once = ready.learner.views_at_once
    cam = GradCam(ready.network, options.view, options.normalisation, store.size_px, at_once, layer)
    samples = [(one, *ready.see(store, one.image_id)) for one in chosen]
    checks = check_maps(cam, store, samples, diagnoses, seed)
    folder = study / "saliency" / run.arm / run.learner / f"fold{run.fold}"
    written = write_table(checks_table(name, checks), folder)
    save_figure(saliency_sheet(name, store, checks), folder, "saliency")
    mark_as_output(folder)
    return [f"{name}:", *verdict(checks), str(written[0])]
