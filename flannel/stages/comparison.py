"""The comparison of a study: tables, figures and the report."""

from pathlib import Path

from flannel.runs import WandbMode, wandb_mode


def compare(
    study: Path = Path("runs/study"),
    learners: str = "all",
    wandb: WandbMode | None = None,
) -> None:
    """Writes tables, figures and `report.html` from the study's files, without a model.

    Args:
        study: The study folder, with predictions.
        learners: "all", or base learners with commas.
        wandb: Overrides WANDB_MODE.
    """
    from flannel.compare import compare_study

    chosen = None if learners == "all" else tuple(learners.split(","))
    compare_study(study, chosen, wandb or wandb_mode())
