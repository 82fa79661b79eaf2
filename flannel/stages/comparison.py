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


def cheats(study: Path = Path("runs/study"), seed: int = 1) -> None:
    """Predicts with forests that see no lung, on the study's own folds: the rows to compare with.

    Cheats that are there and up to date stay. Without a store there are none, which is said.

    Args:
        study: The study folder, with predictions, manifest and store.
        seed: Of the forests.
    """
    from flannel.cheats import make_cheats

    for sentence in make_cheats(study, seed):
        print(sentence)


def patches(study: Path = Path("runs/study"), repeats: int = 20, seed: int = 1) -> None:
    """Writes how F1, the spread of the vote and the coverage hang on the number of patches.

    Reads the patches that runs of the patched arm kept, and the store's masks; needs no model.

    Args:
        study: The study folder, with base runs of the patched arm.
        repeats: Subsets of patches of each size.
        seed: Of the subsets.
    """
    from flannel.patch_report import write_patch_study

    for path in write_patch_study(study, repeats, seed):
        print(path)
