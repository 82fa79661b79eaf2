"""The comparison of a study: tables, figures and the report."""

from importlib.util import find_spec
from pathlib import Path

from flannel.commands.recipes import chosen
from flannel.errors import LARGEST_SEED, RunError, check_range
from flannel.runs.run import WandbMode, wandb_mode


def compare(
    study: Path = Path("runs/study"),
    learner: str = "all",
    wandb: WandbMode | None = None,
) -> None:
    """Writes tables, figures and `report.html` from the study's files, without a model.

    Args:
        study: The study folder, with predictions.
        learner: "all", or base learners with commas.
        wandb: Overrides WANDB_MODE.
    """
    from flannel.comparison.compare import compare_study

    compare_study(study, chosen(learner), wandb or wandb_mode())


def shortcuts(study: Path = Path("runs/study"), seed: int = 1) -> None:
    """Trains the shortcut baselines, forests that see no lung pixels, on the study's own folds.

    Up-to-date ones are kept. Without a store there are none, with a message.

    Args:
        study: The study folder, with predictions, manifest and store.
        seed: Of the forests.
    """
    check_range(0, LARGEST_SEED, seed=seed)
    from flannel.learners.shortcut_baselines import fit_baselines

    for sentence in fit_baselines(study, seed):
        print(sentence)


def dashboard(
    study: Path = Path("runs/study"), entity: str | None = None, redo: bool = False
) -> None:
    """Builds the W&B workspace of a study: runs by arm and learner, bars of F1, curves, tables.

    It is saved in W&B when you are logged in, and lies in `comparison/dashboard.json` in any case.

    Args:
        study: The study folder.
        entity: The W&B user or team; by default WANDB_ENTITY, or who is logged in.
        redo: Save another dashboard though there is one.

    Raises:
        RunError: If wandb-workspaces is not installed, or the dashboard cannot be saved.
    """
    if find_spec("wandb_workspaces") is None:
        raise RunError(
            "wandb-workspaces is not installed: run `pip install 'patched-flannel[dashboard]'`."
        )
    from flannel.comparison.workspace import make_dashboard

    print(make_dashboard(study, entity, redo))


def patches(study: Path = Path("runs/study"), repeats: int = 20, seed: int = 1) -> None:
    """Writes how F1, the spread of the vote and the coverage depend on the number of patches.

    Reads the patches that runs of the patched arm kept, and the store's masks; needs no model.

    Args:
        study: The study folder, with base runs of the patched arm.
        repeats: Subsets of patches of each size.
        seed: Of the subsets.
    """
    check_range(0, seed=seed)
    from flannel.analysis.patch_report import write_patch_study

    for path in write_patch_study(study, repeats, seed):
        print(path)
