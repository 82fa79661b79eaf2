"""The saliency of a study's base learners, checked: a table and a figure for each."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flannel.analysis.saliency_checks import Check, check_maps, examples
from flannel.analysis.saliency_table import checks_table, verdict
from flannel.comparison.figures.style import drawn_in_style, save_figure
from flannel.comparison.radiograph_figures.drawing import shortened, show, show_saliency
from flannel.comparison.radiograph_figures.masks import outline_mask
from flannel.comparison.tables.layout import write_table
from flannel.data.outputs import mark_as_output
from flannel.data.provenance import label_set_of
from flannel.data.store import Store
from flannel.learners.grad_cam import GradCam, SaliencyError
from flannel.prediction.predictors import ReadyLearner
from flannel.prediction.trained_study import trained_learner
from flannel.runs.arithmetic import AUTO, answering_precision
from flannel.runs.run import Answering
from flannel.study.contents import StudyRun, find_runs, narrowed
from flannel.study.predictions import load_predictions
from segmentation.masks.devices import device_of


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
    samples = [(sample, *ready.see(store, sample.image_id)) for sample in chosen]
    checks = check_maps(cam, store, samples, diagnoses, seed)
    folder = study / "saliency" / run.arm / run.learner / f"fold{run.fold}"
    written = write_table(checks_table(name, checks), folder)
    save_figure(saliency_sheet(name, store, checks), folder, "saliency")
    mark_as_output(folder)
    return [f"{name}:", *verdict(checks), str(written[0])]


def saliency_sheet(name: str, store: Store, checks: Sequence[Check]) -> Figure:
    """Draws a line for each radiograph: its lungs, its map, and its maps by chance.

    Args:
        name: Of the learner's run.
        store: Radiographs and masks.
        checks: What was found.
    """
    across = 2 + len(checks[0].by_chance)
    with drawn_in_style():
        figure = Figure(figsize=(2.1 * across, 2.55 * len(checks) + 0.5), layout="constrained")
        lines = figure.subplots(len(checks), across, squeeze=False)
        for line, check in zip(lines, checks, strict=True):
            _draw_line(line, store, check)
        for axes, title in zip(
            lines[0], ("lungs", "as learned", *checks[0].by_chance), strict=True
        ):
            axes.set_title(title)
        figure.suptitle(f"{name}: saliency of the predicted diagnosis, and with weights by chance")
    return figure


def _draw_line(line: Sequence[Axes], store: Store, check: Check) -> None:
    image_id, levels = check.example.image_id, store.radiograph(check.example.image_id)
    show(line[0], levels)
    outline_mask(line[0], store.lung_mask(image_id))
    line[0].set_ylabel(
        f"true: {check.example.diagnosis}\nsaid: {check.example.predicted}", fontsize=7
    )
    line[0].set_xlabel(shortened(image_id), fontsize=6)
    show_saliency(line[1], levels, check.learned.numpy())
    most = float(check.learned.max())
    line[1].set_xlabel(
        f"{check.inside:.0%} in the lungs, flat {check.flat:.0%}\ngreatest value {most:.2f}"
        if most
        else "an empty map",
        fontsize=7,
    )
    for axes, (stage, saliency) in zip(line[2:], check.by_chance.items(), strict=True):
        show_saliency(axes, levels, saliency.numpy())
        correlation = check.correlations[stage]
        axes.set_xlabel(
            "nothing to compare"
            if np.isnan(correlation)
            else f"rank correlation {correlation:.2f}",
            fontsize=7,
        )
