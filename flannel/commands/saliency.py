"""The saliency of a study's base learners."""

from pathlib import Path

from flannel.commands.recipes import chosen
from flannel.errors import check_range
from flannel.runs.run import Answering


def saliency(
    study: Path = Path("runs/study"),
    arm: str = "patched",
    learner: str = "all",
    fold: int = 0,
    count: int = 8,
    patches: int | None = None,
    layer: str = "",
    seed: int = 1,
    precision: Answering = "auto",
) -> None:
    """Writes saliency maps of base learners, with two checks on the maps.

    Writes a table and a figure for each to `STUDY/saliency/ARM/LEARNER/foldK`: the share of the map
    inside the lungs, and how the map changes when weights are randomised.

    Args:
        study: The study folder, with trained base learners.
        arm: Arms, with commas.
        learner: "all", or base learners with commas.
        fold: The fold.
        count: Test radiographs per learner, the first of each diagnosis in turn.
        patches: Patches per radiograph; by default those of the learner's recipe.
        layer: The module whose output is the feature map; each network's last one when empty.
        seed: Of the randomised weights.
        precision: Arithmetic: "auto" is that of the training where this machine computes it
            natively, otherwise the fastest; "as_trained" is that of the training.
    """
    check_range(1, count=count, patches=patches)
    check_range(0, fold=fold, seed=seed)
    from flannel.analysis.saliency_report import chosen_runs, write_saliency

    for run in chosen_runs(study, arm.split(","), chosen(learner), fold):
        for sentence in write_saliency(run, study, count, patches, layer, seed, precision):
            print(sentence, flush=True)
