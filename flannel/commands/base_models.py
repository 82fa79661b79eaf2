"""The base learners of a study: which runs there are, and the queue that works through them."""

import importlib
import shlex
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path

import yaml

from flannel.commands.recipes import RECIPES, check_appended, config_flags, folds_of, recipe_names
from flannel.errors import RunError, check_range
from flannel.runs.queue import Command, QueuedRun, gpu_slots, work_through
from flannel.runs.run import WandbMode
from flannel.runs.screen import screen_for
from flannel.study.contents import ARMS as STUDY_ARMS
from flannel.study.contents import WHOLE_ARMS
from flannel.study.repeats import Seeding, repeat_name, run_seed, seed_options, seeds_of

ARMS = ("global", "patched")
CONTROLS = WHOLE_ARMS[1:]


def base_models(
    study: Path = Path("runs/study"),
    fold: str = "0",
    arm: str = ",".join(ARMS),
    learner: str = "all",
    seeds: str = "1",
    seeding: Seeding | None = None,
    devices: int = 1,
    at_once: int = 1,
    append: Path | None = None,
    experiments: Path = RECIPES,
    redo: bool = False,
    wandb: WandbMode | None = None,
    list: bool = False,
    index: int | None = None,
) -> None:
    """Trains the base learners of a fold, one run per GPU at a time, or `at_once` on the CPU.

    Finished runs are skipped, killed ones continue, failed ones are named at the end. What another
    invocation works on is left to it.

    Args:
        study: The study folder, with manifest and store.
        fold: A fold, several with commas, or "all".
        arm: "global", "patched", a control ("masked", "cropped", "background"), or several with
            commas.
        learner: "all" five, or learners with commas, of further folders (`base/small`,
            `base/outlook`, one of your own) too.
        seeds: Seeds with commas. Each trains all runs once; those of seed 2 are called
            `<learner>_seed2`.
        seeding: "own" derives a run's seed from seed, learner and fold, so that learners see
            different crops and patches; "shared" gives the seed itself to all runs. A run that was
            begun keeps its own way when None, and a new one is "own".
        devices: GPUs per run; more than one trains by DDP with the recipe's batch kept.
        at_once: Runs at a time where there is no GPU; they share its cores. Another number of
            threads may change the last digits of a run.
        append: A folder whose YAML files are appended to the recipes, such as experiments/demo.
        experiments: The folder of the recipes.
        redo: Replace finished runs.
        wandb: Overrides WANDB_MODE.
        list: Print the command line of each run, one a line, and start none.
        index: Start only this run of that list, from 0 on, as an array job of a cluster does.

    Raises:
        RunError: If the list is shorter than the index, a run asks for GPUs that are not there, or
            a file of `append` is appended to no recipe.
    """
    check_range(1, devices=devices, at_once=at_once)
    check_appended(append, experiments)
    classes = other_classes(study)
    options = [f"--redo={redo}"]
    options += [f"--wandb={wandb}"] if wandb else []
    options += [f"--trainer.devices={devices}"] if devices > 1 else []
    runs = []
    sharing = 0
    for seed, number, one_arm in product(seeds_of(seeds), folds_of(study, fold), arm.split(",")):
        for name in _learners(experiments, one_arm, learner):
            configs = base_configs(experiments, append, one_arm, name)
            called = repeat_name(name, seed)
            folder = study / "base" / one_arm / called / f"fold{number}"
            own = run_seed(folder, seed, name, number, seeding=seeding, redo=redo)
            sharing += seeding is None and own == seed
            words = (
                *("learner", "fit"),
                *config_flags(configs),
                *((f"--name={called}",) if called != name else ()),
                *(f"--study={study}", f"--data.fold={number}"),
                *seed_options(own),
                *options,
                *outputs_option(configs, classes),
            )
            runs.append(QueuedRun(f"{one_arm}/{called}/fold{number}", words, folder))
    if list:
        print("\n".join(shlex.join(("flannel", *run.arguments)) for run in runs))
        return
    if index is not None:
        if not 0 <= index < len(runs):
            raise RunError(f"index is {index}; there are {len(runs)} runs, numbered from 0.")
        runs = [runs[index]]
    from flannel.data.manifest import load_manifest

    if sharing:
        print(
            f"{sharing} runs were begun with a seed that all learners share, and keep it. To train "
            "them anew with seeds of their own: --seeding own --redo true.",
            flush=True,
        )
    load_manifest(study / "manifest.csv")  # a missing one is reported once, not by every run
    slots = gpu_slots(devices)
    importlib.import_module("flannel.learners.learner")  # once here, not once in every run
    command: Command = train_learner
    if slots == [None] and at_once > 1:
        slots = [None] * at_once
        command = partial(on_share_of_cores, at_once)
    work_through(runs, command, screen_for(), slots)
    print(f"base learners: {study / 'base'}")


def base_configs(experiments: Path, append: Path | None, arm: str, learner: str) -> list[Path]:
    """Names the YAML files of a base run, in the order in which they are merged.

    A control arm is the global recipe with `base/ARM/_common.yaml` behind it. A learner that
    the arm's folder lacks is looked for in the other folders of `base`, such as `base/small`, whose
    `_common.yaml` goes before it, if there is one. From `append` come base.yaml, base_ARM.yaml,
    base_LEARNER.yaml, as far as they exist.

    Raises:
        RunError: If the arm or the learner has no recipe.
    """
    folder, further = _arm_folder(experiments, arm), _further_learners(experiments)
    configs = [folder / "_common.yaml"]
    recipe = folder / f"{learner}.yaml"
    if learner in further and not recipe.is_file():
        recipe = further[learner]
        configs += recipe.parent.glob("_common.yaml")
    configs.append(recipe)
    if arm in CONTROLS:
        configs.append(experiments / "base" / arm / "_common.yaml")
    for config in configs:
        if not config.is_file():
            raise RunError(
                f"There is no recipe {config}. Arms: {', '.join(WHOLE_ARMS)}, patched; learners: "
                f"{', '.join(recipe_names(folder)) or 'none found'}; further ones: "
                f"{', '.join(further) or 'none found'}. Give another folder of "
                "recipes with --experiments."
            )
    return configs + appended_configs(append, arm, learner)


def appended_configs(append: Path | None, arm: str, learner: str) -> list[Path]:
    """Names the YAML files of `append` for a run, as far as they exist; none without a folder."""
    if append is None:
        return []
    extra = [append / f"{stem}.yaml" for stem in ("base", f"base_{arm}", f"base_{learner}")]
    return [config for config in extra if config.is_file()]


def _arm_folder(experiments: Path, arm: str) -> Path:
    """Returns the folder of an arm's learners, which the controls share with the global arm."""
    return experiments / "base" / ("global" if arm in CONTROLS else arm)


def _further_learners(experiments: Path) -> dict[str, Path]:
    """Finds the recipes of learners that belong to no arm: all but the arms' own and appended ones.

    Raises:
        RunError: If two folders have a learner of one name.
    """
    recipes = [
        folder / f"{name}.yaml"
        for folder in sorted((experiments / "base").glob("*/"))
        if folder.name not in STUDY_ARMS
        for name in recipe_names(folder)
        if name.partition("_")[0] != "base"
    ]
    by_name = {recipe.stem: recipe for recipe in recipes}
    for recipe in recipes:
        if by_name[recipe.stem] != recipe:
            raise RunError(
                f"{recipe} and {by_name[recipe.stem]} are one learner: rename one of them."
            )
    return by_name


def _learners(experiments: Path, arm: str, learner: str) -> Sequence[str]:
    names = recipe_names(_arm_folder(experiments, arm))
    return (names or [learner]) if learner == "all" else learner.split(",")


def other_classes(study: Path) -> int | None:
    """Counts a study's diagnoses, where they are not as many as FLANNEL's four."""
    from flannel.data.diagnosis import FLANNEL
    from flannel.data.provenance import label_set_of

    classes = len(label_set_of(study))
    return None if classes == len(FLANNEL) else classes


def outputs_option(configs: Sequence[Path], classes: int | None) -> list[str]:
    """Returns the option that gives a recipe's network an output per diagnosis of the study.

    The recipes are written for four. Networks of torchvision's own call the number num_classes.
    """
    if classes is None:
        return []
    arguments: set[str] = set()
    for config in configs:
        recipe = yaml.safe_load(config.read_text(encoding="utf-8"))
        network = recipe.get("model", {}).get("network", {})
        arguments |= set(network.get("init_args", {}))
    name = "num_classes" if "num_classes" in arguments else "classes"
    return [f"--model.network.init_args.{name}={classes}"]


def on_share_of_cores(runs: int, words: list[str]) -> None:
    """Trains a learner on its share of the cores, where `runs` train at a time."""
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // runs))
    train_learner(words)


def train_learner(words: list[str]) -> None:
    """Runs `flannel learner fit ...` in a process of the queue, which learns what went wrong."""
    from flannel.learners.learner import train

    train(words[1:])
