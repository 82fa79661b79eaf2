"""A study of another paper, from its data or their phantom twin to its document, by one command."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path

from flannel.commands.base_models import (
    appended_configs,
    base_configs,
    other_classes,
    outputs_option,
    train_learner,
)
from flannel.commands.cohort import audit, manifest, store
from flannel.commands.comparison import compare, shortcuts
from flannel.commands.ensembles import ensembles
from flannel.commands.recipes import RECIPES, check_appended, config_flags, folds_of
from flannel.commands.related_data import lung_masks, phantom_data, through_hdf5
from flannel.comparison.related import RelatedStudy, keep_plan, load_related_study
from flannel.errors import RunError, check_range
from flannel.runs.queue import QueuedRun, apart, gpu_slots, work_through
from flannel.runs.run import WandbMode
from flannel.runs.screen import screen_for
from flannel.study.repeats import FIRST_SEED, Seeding, repeat_name, run_seed, seed_options


def related(
    name: str,
    data: Path | None = None,
    study: Path | None = None,
    masks: Path | None = None,
    segmenter: Path | None = None,
    append: Path | None = None,
    fold: str = "0",
    arm: str = "all",
    learner: str = "all",
    seeding: Seeding | None = None,
    devices: int = 1,
    experiments: Path = RECIPES,
    redo: bool = False,
    wandb: WandbMode | None = None,
) -> None:
    """Runs a study of `experiments/related`: cohort, store, lung masks, learners, report.

    What is finished is skipped, what was killed goes on, as in every stage.

    Args:
        name: The study's folder in `experiments/related`.
        data: Folder that holds its data sets, or an HDF5 file; its phantom twin when None.
        study: The study folder; runs/related/NAME when None.
        masks: Pairs of radiograph and lung mask to learn from, where a segmenter makes the masks.
        segmenter: One that was trained before, instead.
        append: A folder whose YAML files are appended to the recipes; for phantoms it is the
            study's own `phantoms`, unless another is named.
        fold: A fold, several with commas, or "all".
        arm: "all" arms of the study, or some of them with commas.
        learner: "all" learners of the study, or some of them with commas.
        seeding: As of `flannel base-models`; the study's plan has the seed.
        devices: GPUs per run.
        experiments: The folder of the recipes.
        redo: Replace finished runs.
        wandb: Overrides WANDB_MODE.

    Raises:
        RunError: If there is no such study, arm or learner, it was begun on the other kind of
            radiographs, or masks are needed and nothing says where they come from.
    """
    check_range(1, devices=devices)
    folder = experiments / "related" / name
    plan = load_related_study(folder / "study.yaml")
    recipes = experiments / "related" / (plan.recipes or name)
    study = study or Path("runs/related") / name
    runs = _chosen(plan, arm, learner)
    made_up = data is None
    print(f"{plan.title} ({plan.papers})", flush=True)
    keep_plan(folder, study, made_up)
    if data is None:
        data = phantom_data(plan, study)
        append = append or recipes / "phantoms"
        print(f"no data given: made-up radiographs, and the small sizes of {append}", flush=True)
    check_appended(append, experiments)
    if plan.hdf5_px is not None:
        data = through_hdf5(plan, data, study)
    manifest(data, study, plan.protocol, plan.mapping, seed=plan.seed, per_class=plan.per_class)
    store(study, plan.phantoms.store_px if made_up else plan.store_px, plan.resize)
    if any(arm != "global" for _, arm in runs):
        apart(
            partial(lung_masks, plan, data, study, masks, segmenter, append, made_up, experiments)
        )
    apart(partial(audit, study))
    importlib.import_module("flannel.learners.learner")  # once here, not once in every run
    options = [f"--redo={redo}"]
    options += [f"--wandb={wandb}"] if wandb else []
    options += [f"--trainer.devices={devices}"] if devices > 1 else []
    chains = {(arm, at): _configs(recipes, experiments, append, at, arm) for arm, at in runs}
    queued = _queued(plan, chains, study, folds_of(study, fold), options, seeding, redo)
    work_through(queued, train_learner, screen_for(), gpu_slots(devices))
    if plan.ensembles and (arm, learner) != ("all", "all"):
        print("no ensemble is made, since not every arm and learner was asked for", flush=True)
    elif plan.ensembles:
        ensembles(
            study, fold, ",".join(plan.ensembles), append=append, experiments=experiments,
            seeds=str(FIRST_SEED), seeding=seeding, redo=redo, wandb=wandb,
        )  # fmt: skip
    shortcuts(study)
    compare(study, wandb=wandb)


def _chosen(plan: RelatedStudy, arm: str, learner: str) -> list[tuple[str, str]]:
    """Returns learner and arm of each run that was asked for, in the plan's order.

    Raises:
        RunError: If the plan has no such learner or arm.
    """
    planned = [(name, arm) for name, arms in plan.runs.items() for arm in arms]
    for what, asked, place in (("learner", learner, 0), ("arm", arm, 1)):
        known = list(dict.fromkeys(run[place] for run in planned))
        unknown = [] if asked == "all" else sorted(set(asked.split(",")) - set(known))
        if unknown:
            raise RunError(f"{what} names {', '.join(unknown)}; the study has {', '.join(known)}.")
    return [
        (name, of_arm)
        for name, of_arm in planned
        if learner == "all" or name in learner.split(",")
        if arm == "all" or of_arm in arm.split(",")
    ]


def _queued(
    plan: RelatedStudy,
    chains: Mapping[tuple[str, str], Sequence[Path]],
    study: Path,
    folds: Sequence[int],
    options: Sequence[str],
    seeding: Seeding | None,
    redo: bool,
) -> Iterator[QueuedRun]:
    """Yields the runs: every repeat of every learner in its arms and folds.

    Args:
        plan: The study's.
        chains: The YAML files of each learner and arm.
        study: The study folder.
        folds: In which each is run.
        options: Passed on to all runs.
        seeding: Whether the runs share a seed.
        redo: Whether finished runs are replaced.
    """
    classes = other_classes(study)
    for fold, ((learner, arm), configs) in product(folds, chains.items()):
        for repeat in range(plan.repeats):
            called = repeat_name(learner, FIRST_SEED + repeat)
            folder = study / "base" / arm / called / f"fold{fold}"
            seed = run_seed(folder, plan.seed + repeat, learner, fold, seeding=seeding, redo=redo)
            yield QueuedRun(
                f"{arm}/{called}/fold{fold}",
                (
                    *("learner", "fit", *config_flags(configs)),
                    *(f"--name={called}", f"--study={study}"),
                    *(f"--data.arm={arm}", f"--data.fold={fold}"),
                    *seed_options(seed),
                    *outputs_option(configs, classes),
                    *options,
                ),
                folder,
            )


def _configs(
    folder: Path, experiments: Path, append: Path | None, arm: str, learner: str
) -> list[Path]:
    """Names a run's YAML files: the study's own recipe, or that of the house for its arm."""
    recipe = folder / f"{learner}.yaml"
    if not recipe.is_file():
        return base_configs(experiments, append, arm, learner)
    common = folder / "_common.yaml"
    own = [common, recipe] if common.is_file() else [recipe]
    return own + appended_configs(append, arm, learner)
