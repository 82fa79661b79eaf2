"""The base learners of a study: which runs there are, and the queue that works through them."""

import importlib
from collections.abc import Sequence
from pathlib import Path

from flannel.runs import (
    QueuedRun,
    RunError,
    WandbMode,
    gpu_slots,
    speaks_plainly,
    work_through,
)
from flannel.stages.recipes import config_flags, folds_of, recipe_names

ARMS = ("global", "patched")


def base_models(
    study: Path = Path("runs/study"),
    fold: str = "0",
    arm: str = ",".join(ARMS),
    learner: str = "all",
    devices: int = 1,
    append: Path | None = None,
    experiments: Path = Path("experiments"),
    redo: bool = False,
    wandb: WandbMode | None = None,
) -> None:
    """Trains the base learners of a fold, one run per GPU at a time, or one on the CPU.

    Finished runs are skipped, killed ones continue, failed ones are named at the end.

    Args:
        study: The study folder, with manifest and store.
        fold: A fold, several with commas, or "all".
        arm: "global", "masked", "patched", or several with commas.
        learner: "all", or learners with commas.
        devices: GPUs per run; more than one trains by DDP with the recipe's batch kept.
        append: A folder whose YAML files are appended to the recipes, such as experiments/demo.
        experiments: The folder of the recipes.
        redo: Replace finished runs.
        wandb: Overrides WANDB_MODE.
    """
    folds = folds_of(study, fold)
    runs = []
    for number in folds:
        for one_arm in arm.split(","):
            for name in _learners(experiments, one_arm, learner):
                configs = base_configs(experiments, append, one_arm, name)
                options = [f"--study={study}", f"--data.fold={number}", f"--redo={redo}"]
                options += [f"--wandb={wandb}"] if wandb else []
                options += [f"--trainer.devices={devices}"] if devices > 1 else []
                runs.append(
                    QueuedRun(
                        f"{one_arm}/{name}/fold{number}",
                        ("learner", "fit", *config_flags(configs), *options),
                        study / "base" / one_arm / name / f"fold{number}" / "log.txt",
                    )
                )
    importlib.import_module("flannel.learner")  # once here, not once in every run
    work_through(runs, _train, gpu_slots(devices))
    print(f"base learners: {study / 'base'}")


def base_configs(experiments: Path, append: Path | None, arm: str, learner: str) -> list[Path]:
    """Names the YAML files of a base run, in the order in which they are merged.

    The masked arm is the global recipe with `base/masked/_common.yaml` behind it. From `append`
    come base.yaml, base_ARM.yaml, base_LEARNER.yaml, as far as they exist.

    Raises:
        RunError: If the arm or the learner has no recipe.
    """
    recipe_arm = "global" if arm == "masked" else arm
    folder = experiments / "base" / recipe_arm
    configs = [folder / "_common.yaml", folder / f"{learner}.yaml"]
    if arm == "masked":
        configs.append(experiments / "base" / "masked" / "_common.yaml")
    for config in configs:
        if not config.is_file():
            raise RunError(
                f"There is no recipe {config}. Arms: global, masked, patched; learners: "
                f"{', '.join(recipe_names(folder)) or 'none found'}. Run this from the project's "
                "root, or say --experiments."
            )
    if append is not None:
        if not append.is_dir():
            raise RunError(f"append is {append}, which is no folder.")
        extra = [append / f"{stem}.yaml" for stem in ("base", f"base_{arm}", f"base_{learner}")]
        configs += [config for config in extra if config.is_file()]
    return configs


def _learners(experiments: Path, arm: str, learner: str) -> Sequence[str]:
    folder = experiments / "base" / ("global" if arm == "masked" else arm)
    return (recipe_names(folder) or [learner]) if learner == "all" else learner.split(",")


def _train(words: list[str]) -> int:
    """Runs `flannel learner ...` in a process of the queue."""
    from flannel.learner import main

    return speaks_plainly(lambda: main(words[1:]))
