"""A trained study measured on a cohort from elsewhere."""

from pathlib import Path

from flannel.commands.recipes import chosen
from flannel.errors import check_range
from flannel.runs.run import Answering


def evaluate(
    manifest: Path,
    out: Path,
    study: Path = Path("runs/study"),
    fold: int | None = None,
    arm: str = "all",
    learner: str = "all",
    segmenter: Path | None = None,
    patches: int | None = None,
    precision: Answering = "auto",
    redo: bool = False,
) -> None:
    """Predicts another cohort, and writes the study's tables and report of it.

    All of its radiographs are test radiographs, except those that the fold was trained or selected
    on and copies of them, which are left out by name. An earlier bundle has no hashes to find them.

    Args:
        manifest: The cohort's manifest.csv (flannel manifest), of the same label set.
        out: A new folder, which becomes a study of test radiographs.
        study: A study folder, or a bundle.
        fold: Of a study; by default the first that it has trained. A bundle holds one.
        arm: "all", or arms with commas; an ensemble includes its learners.
        learner: "all", or base learners with commas; ensembles that lack one are left out.
        segmenter: A best.ckpt; by default the one that made the study's masks.
        patches: Patches per radiograph; by default those of each learner's recipe.
        precision: Arithmetic: "auto" is that of the training where this machine computes it
            natively, otherwise the fastest; "as_trained" is that of the training.
        redo: Replace an evaluation that is there.
    """
    check_range(0, fold=fold)
    check_range(1, patches=patches)
    from flannel.bundle.read import open_trained
    from flannel.comparison.compare import compare_study
    from flannel.prediction.external import evaluate_cohort
    from flannel.prediction.predictors import Panel

    trained = open_trained(study, fold, chosen(arm), chosen(learner), segmenter)
    evaluated = evaluate_cohort(
        Panel(trained, patches=patches, precision=precision), manifest, out, redo
    )
    compare_study(out, wandb="off")
    for note in evaluated.notes:
        print(note)
    print(f"{evaluated.radiographs} radiographs of {manifest}, by fold {trained.fold} of {study}")
    print(f"evaluation: {out / 'comparison' / 'report.html'}")
