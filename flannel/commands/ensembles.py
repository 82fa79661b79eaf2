"""FLANNEL, its other forms and its baselines, wherever their base predictions are."""

import contextlib
import io
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import yaml

from flannel.commands.recipes import RECIPES, check_appended, config_flags, folds_of, recipe_names
from flannel.errors import FlannelError, RunError, sentence_of
from flannel.files import read_json, whole_file
from flannel.runs.run import RunFinishedError, RunHeldError, WandbMode
from flannel.study.contents import ARMS
from flannel.study.repeats import (
    FIRST_SEED,
    Seeding,
    repeat_name,
    run_seed,
    seed_of,
    seed_options,
    seeds_of,
)

FORMS = "flannel,best_learner,mean,majority,logistic"
"""What is made unless others are asked for: the paper's, and baselines of a second each."""


def ensembles(
    study: Path = Path("runs/study"),
    fold: str = "all",
    arm: str = "all",
    form: str = FORMS,
    append: Path | None = None,
    experiments: Path = RECIPES,
    learner: str = "all",
    seeds: str = "all",
    seeding: Seeding | None = None,
    redo: bool = False,
    wandb: WandbMode | None = None,
) -> None:
    """Makes the ensembles of every arm and fold that has its base predictions.

    A fold that lacks predictions is skipped, by the names of the learners that it lacks. An
    ensemble that fails does not stop the others; all that failed are named at the end. What another
    process is making is left to it.

    Args:
        study: The study folder, with base predictions.
        fold: A fold, several with commas, or "all".
        arm: An arm of `experiments/ensemble`, several with commas, or "all".
        form: A recipe of `experiments/ensemble/forms` (trained; "flannel" is the paper's) or
            `experiments/ensemble/baselines`, several with commas, or "all".
        append: A folder whose `ensemble.yaml` is appended to the recipe of a trained form.
        experiments: The folder of the recipes.
        learner: "all" of the recipe, or base learners with commas: of the recipe, or any that the
            study has in the recipe's arms.
        seeds: Seeds of the base learners with commas, or "all" that the study has. The ensembles of
            seed 2 combine learners of seed 2 and are called `flannel_seed2`.
        seeding: As of `flannel base-models`.
        redo: Replace finished ensembles.
        wandb: Overrides WANDB_MODE.

    Raises:
        RunError: If an arm that was asked for, or every arm, lacks its predictions in every fold,
            or an ensemble failed.
    """
    from flannel.ensemble.stacking import ensemble_folder

    check_appended(append, experiments)
    folder = experiments / "ensemble"
    arms = recipe_names(folder) if arm == "all" else arm.split(",")
    jobs: list[_Job] = []
    skipped: list[str] = []
    trained = _seeds_in(study) if seeds == "all" else seeds_of(seeds)
    for one_arm, seed in product(arms, trained):
        recipes = {name: _command(folder, append, one_arm, name) for name in _forms(folder, form)}
        narrowed = _narrowed(study, folder / f"{one_arm}.yaml", learner)
        if not narrowed:
            continue
        names = [repeat_name(name, seed) for name in narrowed]
        ready, lacking = _parted(study, names, folds_of(study, fold))
        skipped += [f"{repeat_name(one_arm, seed)}: {sentence}" for sentence in lacking]
        for number, (one_form, command) in product(ready, recipes.items()):
            called = repeat_name(one_form, seed)
            place = study / ensemble_folder(one_arm, called, number)
            options = [f"--name={called}", f"--study={study}", f"--data.fold={number}"]
            if command[0] == "ensemble":
                own = run_seed(place, seed, one_form, number, seeding=seeding, redo=redo)
                options += seed_options(own)
            options += [f"--redo={redo}", f"--data.learners=[{','.join(names)}]"]
            where = f"{one_arm}/{called}/fold{number}"
            jobs.append(_Job(one_arm, where, (*command, *options), place))
    made, failed = _made(jobs, wandb)
    for sentence in skipped:
        print(sentence, flush=True)
    if failed:
        raise RunError("\n".join(["Some ensembles failed, the others are finished:", *failed]))
    bare = [one_arm for one_arm in arms if one_arm not in made]
    if len(bare) == len(arms) or (bare and arm != "all"):
        raise RunError(
            f"No ensemble was made in the arm {', '.join(bare)} of {study}. Run `make base-models` "
            "first, or narrow the ensemble with `--learner`."
        )
    print(f"ensembles: {study / 'ensemble'}")


def _seeds_in(study: Path) -> list[int]:
    """Returns the seeds of the study's base learners, and the first one in any case."""
    names = {folder.name for folder in study.glob("base/*/*")}
    return sorted({FIRST_SEED, *map(seed_of, names)})


@dataclass(frozen=True)
class _Job:
    """An ensemble that is to be made: its arm, what it is called, its command line, its folder."""

    arm: str
    place: str
    command: tuple[str, ...]
    folder: Path

    @property
    def log(self) -> Path:
        """Where what it prints is kept."""
        return self.folder / "log.txt"


def _made(jobs: Sequence[_Job], wandb: WandbMode | None) -> tuple[set[str], list[str]]:
    """Makes the ensembles; what another process holds is tried again at the end, and left to it.

    Returns:
        The arms in which ensembles are made, by whomever, and a sentence for each that failed.
    """
    from flannel.ensemble.stacking import MissingPredictionsError

    made: set[str] = set()
    failed: list[str] = []
    waiting, at_work = deque(jobs), set[str]()
    while waiting:
        job = waiting.popleft()
        try:
            line = _make(job, wandb)
        except RunFinishedError as finished:
            line = str(finished)
        except RunHeldError:
            if job.place in at_work:
                print(f"{job.place}: another process is making it, and it is left to that one.")
                made.add(job.arm)
            else:
                at_work.add(job.place)
                waiting.append(job)
            continue
        except MissingPredictionsError as lacking:  # of the other folds
            print(f"{job.place}: not made. {lacking}", flush=True)
            continue
        except (FlannelError, OSError) as fault:
            failed.append(f"  {job.place}: {sentence_of(fault)}")
            continue
        print(f"{job.place}: {line}", flush=True)
        made.add(job.arm)
    return made, failed


def _parted(
    study: Path, learners: Sequence[str], folds: Sequence[int]
) -> tuple[list[int], list[str]]:
    """Parts the folds that have all base predictions from the others, and says what those lack."""
    from flannel.ensemble.stacking import MissingPredictionsError, check_predictions

    ready: list[int] = []
    lacking: dict[tuple[str, ...], list[int]] = {}
    for fold in folds:
        try:
            check_predictions(study, learners, [fold])
            ready.append(fold)
        except MissingPredictionsError as missing:
            lacking.setdefault(missing.lacking[fold], []).append(fold)
    sentences = []
    for names, without in lacking.items():
        several = len(without) > 1
        whose = f"all {len(names)} learners" if len(names) == len(learners) else ", ".join(names)
        sentences.append(
            f"no ensemble for fold{'s' if several else ''} {', '.join(map(str, without))}, which "
            f"lack{'' if several else 's'} the finished predictions of {whose}"
        )
    return ready, sentences


def _make(job: _Job, wandb: WandbMode | None) -> str:
    """Makes one ensemble, keeps in its log what it prints, and returns its macro F1 in words.

    Raises:
        RunFinishedError: If it is finished.
    """
    from flannel.ensemble import baselines, ensemble
    from flannel.metrics.classification import macro_f1_line

    program, *arguments = job.command
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if program == "baseline":
            baselines.combine(arguments)
        else:
            ensemble.train([*arguments, *([f"--wandb={wandb}"] if wandb else [])])
    with whole_file(job.log) as beside:
        beside.write_text(printed.getvalue(), encoding="utf-8")
    return f"{macro_f1_line(read_json(job.folder / 'metrics.json'))}, see {job.folder}"


def _command(folder: Path, append: Path | None, arm: str, form: str) -> list[str]:
    """Returns the command that makes a form, and its recipes in the order in which they are merged.

    Raises:
        RunError: If there is no such form.
    """
    recipe = folder / f"{arm}.yaml"
    if (folder / "forms" / f"{form}.yaml").is_file():
        chain = [folder / "_common.yaml", recipe, folder / "forms" / f"{form}.yaml"]
        if append is not None and (append / "ensemble.yaml").is_file():
            chain.append(append / "ensemble.yaml")
        return ["ensemble", "fit", *config_flags(chain)]
    if (folder / "baselines" / f"{form}.yaml").is_file():
        chain = [recipe, folder / "baselines" / f"{form}.yaml"]
        return ["baseline", *config_flags(chain)]
    raise RunError(f"There is no form {form!r}; choose of {', '.join(_forms(folder, 'all'))}.")


def _forms(folder: Path, form: str) -> list[str]:
    if form != "all":
        return form.split(",")
    return [*recipe_names(folder / "forms"), *recipe_names(folder / "baselines")]


def _narrowed(study: Path, recipe: Path, learner: str) -> list[str]:
    """Returns the learners of an arm's recipe, or those that were asked for.

    Learners that the recipe does not list are those of the same name in its arms, if the study has
    them. A recipe that is no arm, but a list of its own, takes no others.

    Raises:
        RunError: If there is no such recipe, or neither it nor the study has a learner of a name.
    """
    if not recipe.is_file():
        known = ", ".join(recipe_names(recipe.parent)) or "none found"
        raise RunError(f"There is no ensemble recipe {recipe}. Arms: {known}.")
    listed = list(yaml.safe_load(recipe.read_text(encoding="utf-8"))["data"]["learners"])
    if learner == "all":
        return listed
    asked = list(dict.fromkeys(learner.split(",")))
    known_names = {name.partition("/")[2] for name in listed}
    trained = {folder.name for folder in study.glob("base/*/*")}
    unknown = [name for name in asked if name not in known_names | trained]
    if unknown:
        raise RunError(
            f"learner names {', '.join(unknown)}; {recipe} lists {', '.join(sorted(known_names))}, "
            f"and {study} has {', '.join(sorted(trained)) or 'none'}."
        )
    further = [name for name in asked if name not in known_names]
    if further and recipe.stem not in ARMS:
        return []
    arms = dict.fromkeys(name.partition("/")[0] for name in listed)
    narrowed = [name for name in listed if name.partition("/")[2] in asked]
    return narrowed + [f"{arm}/{name}" for arm in arms for name in further]
