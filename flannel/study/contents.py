"""What a study's folder holds: its runs, finished or not, and whether they belong together."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import pandas as pd

from flannel.data.folds import splits_of_fold
from flannel.data.store import Store
from flannel.errors import FlannelError, RunError
from flannel.files import digest_of
from flannel.runs.run import Fingerprint, read_fingerprint
from flannel.study.repeats import recipe_of, seed_of

SHORTCUT = "shortcut"
"""The arm of the forests that see no lung pixels (`flannel.learners.shortcut_baselines`)."""

SHORTCUT_FOLDERS = ("shortcut", "cheat")
"""Where they lie: the second is that of earlier studies."""

WHOLE_ARMS = ("global", "masked", "cropped", "background")
"""The arms in which a network sees one view of a radiograph, by the global recipe."""

ARMS = (*WHOLE_ARMS, "patched", "fused", SHORTCUT)
"""The study arms in the order of every table and figure."""

LEARNERS = ("densenet161", "inception_v3", "resnet152", "resnext101", "vgg19_bn")
"""The base learners in the paper's order (paper 004, Table 3)."""

ENSEMBLE = "FLANNEL"

EVALUATION = "evaluation.json"
"""In a study of test radiographs alone: who was asked about them
(`flannel.prediction.external`)."""

OUT_OF_FOLD = "out of fold"
"""How the name of a form ends that learns from images its learners were not trained on."""

NAMED = 6
"""How many runs of one fault are named."""

Stage = Literal["base", "ensemble", "shortcut"]


class StudyError(FlannelError):
    """Raised when a study cannot be compared."""


@dataclass(frozen=True, eq=False)
class StudyRun:
    """One finished or unfinished run: a learner, an ensemble or a baseline, of an arm in a fold."""

    stage: Stage
    arm: str
    learner: str
    fold: int
    folder: Path
    finished: bool
    parts: dict[str, str]

    def name_in(self, study: Path) -> str:
        """Returns the run's folder within the study, such as `base/global/vgg19_bn/fold0`."""
        return self.folder.relative_to(study).as_posix()


def find_runs(study: Path) -> list[StudyRun]:
    """Finds every run folder of learners, ensembles and baselines, in the order of the tables.

    Raises:
        StudyError: If a fingerprint cannot be read, or two folders are one run's.
    """
    runs: dict[tuple[str, str, int], StudyRun] = {}
    for folder, stage, arm, learner in _run_folders(study):
        if fold := re.fullmatch(r"fold(\d+)", folder.name):
            finished, parts = _fingerprint(folder)
            run = StudyRun(stage, arm, learner, int(fold[1]), folder, finished, parts)
            twin = runs.setdefault((arm, learner, run.fold), run)
            if twin is not run:
                raise StudyError(
                    f"{twin.name_in(study)} and {run.name_in(study)} are both {arm} {learner} "
                    f"fold {run.fold}: move the one that does not count out of the study."
                )
    return sorted(
        runs.values(), key=lambda run: (arm_place(run.arm), learner_place(run.learner), run.fold)
    )


def _run_folders(study: Path) -> Iterator[tuple[Path, Stage, str, str]]:
    """Yields folder, stage, arm and learner of all that may be runs, in the order of names."""
    for folder in sorted(study.glob("base/*/*/fold*")):
        yield folder, "base", folder.parts[-3], folder.parts[-2]
    for folder in sorted(study.glob("ensemble/*/fold*")):
        yield folder, "ensemble", folder.parts[-2], ENSEMBLE
    for folder in sorted(study.glob("ensemble/*/*/fold*")):
        yield folder, "ensemble", folder.parts[-3], form_name(folder.parts[-2])
    for place in SHORTCUT_FOLDERS:
        for folder in sorted(study.glob(f"{place}/*/fold*")):
            yield folder, "shortcut", SHORTCUT, form_name(folder.parts[-2])


def shortcut_folder(study: Path) -> Path:
    """Returns the folder of a study's shortcut baselines: the one that it has, or the usual one."""
    there = [study / place for place in SHORTCUT_FOLDERS if (study / place).is_dir()]
    return there[0] if there else study / SHORTCUT_FOLDERS[0]


def form_name(folder: str) -> str:
    """Names another form of the ensemble or a baseline as tables do, by its folder's name.

    `flannel_out_of_fold` is "FLANNEL out of fold", `size_and_border` is "size and border". There is
    no list of them: a form that somebody adds by a recipe of their own is a row too.
    """
    return folder.replace("flannel", ENSEMBLE).replace("_", " ")


def check_fingerprints(study: Path, runs: Sequence[StudyRun]) -> None:
    """Refuses runs that were made from different splits, stores, masks or code.

    Splits are compared fold by fold, because each fold has its own; masks only among the arms
    that use them, all but `global`.

    Raises:
        StudyError: Naming the runs and the part in which they differ from the others.
    """
    folds = sorted({run.fold for run in runs})
    for fold in folds:
        _agree(study, "split", [run for run in runs if run.fold == fold])
    for part in ("store", "code"):
        _agree(study, part, runs)
    _agree(study, "masks", [run for run in runs if run.arm != "global"])


def _agree(study: Path, part: str, runs: Sequence[StudyRun]) -> None:
    """Refuses runs of which some differ from the most usual value of one fingerprint part."""
    value_of = {run.name_in(study): run.parts[part] for run in runs if part in run.parts}
    if len(set(value_of.values())) < 2:
        return
    usual, _ = Counter(value_of.values()).most_common(1)[0]
    odd = [name for name, value in value_of.items() if value != usual]
    like = next(name for name, value in value_of.items() if value == usual)
    named = ", ".join(odd[:NAMED]) + (f" and {len(odd) - NAMED} more" if len(odd) > NAMED else "")
    raise StudyError(
        f"These runs were made from another {part} than {like} and cannot stand in one "
        f"table with it: {named}. Make them again with --redo true, or move them out."
    )


def _fingerprint(folder: Path) -> tuple[bool, dict[str, str]]:
    """Reads whether a run is finished, and the parts of its fingerprint."""
    try:
        begun = read_fingerprint(folder) or Fingerprint()
    except RunError as fault:
        raise StudyError(str(fault)) from fault
    return begun.finished and (folder / "predictions.csv").is_file(), dict(begun.parts)


def narrowed(runs: Sequence[StudyRun], learners: Sequence[str] | None) -> list[StudyRun]:
    """Keeps the asked-for base learners, the ensembles and the baselines.

    Raises:
        StudyError: If no base learner of the study has such a name.
    """
    if learners is None:
        return list(runs)
    known = {run.learner for run in runs if run.stage == "base"}
    unknown = sorted(set(learners) - known)
    if unknown:
        raise StudyError(
            f"No run of the learner {', '.join(unknown)}; the study holds "
            f"{', '.join(sorted(known, key=learner_place)) or 'none'}."
        )
    return [run for run in runs if run.stage != "base" or run.learner in learners]


def first_trainings(runs: Sequence[StudyRun]) -> list[StudyRun]:
    """Keeps of the repeats of one recipe, arm and fold that with the lowest seed."""
    first: dict[tuple[str, str, int], StudyRun] = {}
    for run in sorted(runs, key=lambda run: seed_of(run.learner)):
        first.setdefault((run.arm, recipe_of(run.learner), run.fold), run)
    return [run for run in runs if run in first.values()]


def gaps(
    study: Path, runs: Sequence[StudyRun], planned: Collection[tuple[str, str]] | None = None
) -> list[str]:
    """Names the runs that are unfinished, and those that are missing.

    Args:
        study: The study's folder.
        runs: All that were found.
        planned: Arm and learner of the runs that the study set out to make; None for one without
            such a list, in which every arm is expected to have the learners of the others, and
            FLANNEL over them.
    """
    notes = []
    unfinished = [run.name_in(study) for run in runs if not run.finished]
    if unfinished:
        notes.append(f"Not finished, so not in the tables: {', '.join(unfinished)}.")
    networks = [run for run in runs if run.stage != "shortcut"]
    folds = sorted({run.fold for run in networks})
    there = {(run.arm, run.learner, run.fold) for run in networks}
    expected = {(arm, learner) for arm, learner, _ in there}
    expected |= _like_the_others(networks) if planned is None else set(planned)
    absent = [
        f"{arm} {learner} fold {fold}"
        for arm, learner in sorted(
            expected, key=lambda item: (arm_place(item[0]), learner_place(item[1]))
        )
        for fold in folds
        if (arm, learner, fold) not in there
    ]
    if absent:
        notes.append(f"Missing, so not in the tables: {', '.join(absent)}.")
    if len(networks) == len(runs):
        notes.append(
            "No shortcut baseline was computed, so it is unknown how much of the scores follows "
            "from the size and border of the files."
        )
    return notes


def _like_the_others(networks: Sequence[StudyRun]) -> set[tuple[str, str]]:
    """Expects the learners of any arm in every arm that has base learners, and FLANNEL in all."""
    base = [run for run in networks if run.stage == "base"]
    learners = product({run.arm for run in base}, {run.learner for run in base})
    return {*learners, *((run.arm, ENSEMBLE) for run in networks)}


def arm_place(arm: str) -> tuple[int, str]:
    """Returns where an arm stands in the tables."""
    return (ARMS.index(arm) if arm in ARMS else len(ARMS), arm)


def learner_place(learner: str) -> tuple[int, str]:
    """Returns where a learner stands in the tables: the paper's order, others, FLANNEL's forms."""
    if learner.startswith(ENSEMBLE):
        return (len(LEARNERS) + 1, learner)
    return (LEARNERS.index(learner) if learner in LEARNERS else len(LEARNERS), learner)


def fold_inputs(manifest: pd.DataFrame, store: Store, fold: int, masks: bool) -> dict[str, str]:
    """Returns the parts of a fingerprint that are not the run's own: split, store and masks.

    Args:
        manifest: The study's, with folds.
        store: The study's.
        fold: The fold.
        masks: Whether the run sees lung masks.

    Raises:
        ManifestError: If the fold does not exist.
    """
    table = manifest.sort_values("image_id")
    rows = zip(table["image_id"], table["diagnosis"], splits_of_fold(table, fold), strict=True)
    stored = store.fingerprint()
    parts = {"split": digest_of([list(row) for row in rows]), "store": stored["store"]}
    return parts | {"masks": stored["masks"]} if masks else parts
