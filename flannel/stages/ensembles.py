"""FLANNEL for every arm and fold that has its base predictions."""

import contextlib
import io
from pathlib import Path

import yaml

from flannel.runs import RunError, WandbMode
from flannel.stages.recipes import config_flags, folds_of, recipe_names


def ensembles(
    study: Path = Path("runs/study"),
    fold: str = "all",
    arm: str = "all",
    append: Path | None = None,
    experiments: Path = Path("experiments"),
    learners: str = "all",
    redo: bool = False,
    wandb: WandbMode | None = None,
) -> None:
    """Trains FLANNEL for every arm and fold that has its base predictions.

    Args:
        study: The study folder, with base predictions.
        fold: A fold, several with commas, or "all".
        arm: An arm of `experiments/ensemble`, several with commas, or "all".
        append: A folder whose `ensemble.yaml` is appended to the recipe.
        experiments: The folder of the recipes.
        learners: "all" of the recipe, or base learners with commas, for a partial study.
        redo: Replace finished ensembles.
        wandb: Overrides WANDB_MODE.

    Raises:
        RunError: If an arm that was asked for lacks predictions, or no arm has any.
    """
    from flannel.ensemble import EnsembleError, main

    folder = experiments / "ensemble"
    arms = recipe_names(folder) if arm == "all" else arm.split(",")
    numbers = folds_of(study, fold)
    lacking: dict[str, list[str]] = {}
    for one_arm in arms:
        recipe = [folder / "_common.yaml", folder / f"{one_arm}.yaml"]
        if append is not None and (append / "ensemble.yaml").is_file():
            recipe.append(append / "ensemble.yaml")
        names = [n for n in _listed_learners(recipe[1]) if _wanted(n, learners)]
        for number in numbers:
            arguments = ["fit", *config_flags(recipe), f"--study={study}", f"--data.fold={number}"]
            arguments += [f"--redo={redo}", f"--data.learners=[{','.join(names)}]"]
            arguments += [f"--wandb={wandb}"] if wandb else []
            place = study / "ensemble" / one_arm / f"fold{number}"
            news = io.StringIO()
            try:
                with contextlib.redirect_stdout(news):
                    main(arguments)
            except EnsembleError:
                if arm != "all":
                    raise
                lacking.setdefault(one_arm, []).append(str(number))
                continue
            *earlier, last = news.getvalue().splitlines()
            print(f"{one_arm}/fold{number}: {last}", flush=True)
            if earlier:  # it was trained now, not skipped
                (place / "log.txt").write_text(news.getvalue(), encoding="utf-8")
    if sum(map(len, lacking.values())) == len(arms) * len(numbers):
        raise RunError(
            f"No arm and fold of {study} has all its base predictions. Run `make base-models`."
        )
    for one_arm, folds in lacking.items():
        print(f"{one_arm}: no ensemble for fold {', '.join(folds)}, which lacks base predictions")
    print(f"ensembles: {study / 'ensemble'}")


def _listed_learners(recipe: Path) -> list[str]:
    if not recipe.is_file():
        known = ", ".join(recipe_names(recipe.parent)) or "none found"
        raise RunError(f"There is no ensemble recipe {recipe}. Arms: {known}.")
    return list(yaml.safe_load(recipe.read_text(encoding="utf-8"))["data"]["learners"])


def _wanted(name: str, learners: str) -> bool:
    return learners == "all" or name.partition("/")[2] in learners.split(",")
