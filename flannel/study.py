"""What a study's folder holds: its finished runs, on the radiographs that they share."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from flannel.data.diagnosis import FLANNEL
from flannel.metrics import Scores, scores
from flannel.predictions import PredictionsError, load_predictions, probability_columns

ARMS = ("global", "masked", "patched", "fused")
"""The study arms in the order of every table and figure."""

LEARNERS = ("densenet161", "inception_v3", "resnet152", "resnext101", "vgg19_bn")
"""The base learners in the paper's order (paper 004, Table 3)."""

ENSEMBLE = "FLANNEL"


class StudyError(ValueError):
    """A study that cannot be compared, in a sentence."""


@dataclass(frozen=True)
class StudyRun:
    """One finished or unfinished run: a learner, or the ensemble, of an arm in a fold."""

    arm: str
    learner: str
    fold: int
    folder: Path
    finished: bool
    parts: dict[str, str]

    def name_in(self, study: Path) -> str:
        """Gives the run's folder as seen from the study's, such as `base/global/vgg19_bn/fold0`."""
        return self.folder.relative_to(study).as_posix()


@dataclass(frozen=True)
class Result:
    """A finished run, its predictions for the shared test radiographs, and what they are worth."""

    run: StudyRun
    predictions: pd.DataFrame
    scores: Scores


@dataclass(frozen=True)
class Comparison:
    """All results of a study that may stand in one table.

    Attributes:
        study: The study's folder.
        diagnoses: The label set, in order.
        results: By arm, learner and fold, in the order of the tables.
        notes: Sentences on what is missing, unfinished or left out.
    """

    study: Path
    diagnoses: tuple[str, ...]
    results: tuple[Result, ...]
    notes: tuple[str, ...]

    @property
    def arms(self) -> list[str]:
        """The arms that have a result, in order."""
        return list(dict.fromkeys(result.run.arm for result in self.results))

    @property
    def learners(self) -> list[str]:
        """The learners that have a result, in the paper's order, the ensemble last."""
        return sorted({result.run.learner for result in self.results}, key=_learner_place)

    @property
    def folds(self) -> list[int]:
        """The folds that have a result."""
        return sorted({result.run.fold for result in self.results})

    @property
    def test_sizes(self) -> list[int]:
        """How many radiographs the folds were tested on: one number where all share one test set.

        With the protocols `nested` and `leave-source-out` it is one per fold, in their order.
        """
        sizes = {r.run.fold: len(r.predictions) for r in self.results}
        tested = {frozenset(result.predictions["image_id"]) for result in self.results}
        return [sizes[fold] for fold in self.folds][: len(tested)]

    def of(self, arm: str, learner: str) -> list[Result]:
        """Gives the results of one learner in one arm, fold by fold."""
        return [r for r in self.results if (r.run.arm, r.run.learner) == (arm, learner)]


def read_comparison(study: Path, learners: Sequence[str] | None = None) -> Comparison:
    """Collects the finished runs of a study and measures them on the test radiographs they share.

    Unfinished and missing runs are named in the notes. Arms are compared on the same radiographs,
    unlike paper 004, whose two arms were tested on different ones; where each fold has a test set
    of its own, the runs of one fold are.

    Args:
        study: The study's folder.
        learners: Base learners to compare; all by default. The ensemble is always there.

    Raises:
        StudyError: If nothing is finished, a learner is unknown, the runs' fingerprints differ in
            the split, store, masks or code, or their test radiographs or diagnoses do not agree.
    """
    runs = _narrowed(find_runs(study), learners)
    finished = [run for run in runs if run.finished]
    if not finished:
        raise StudyError(
            f"{study} holds no finished predictions to compare: run `make base-models` and "
            "`make ensemble` first (or `make demo` for made-up radiographs)."
        )
    check_fingerprints(study, finished)
    found, notes = _test_rows(study, finished)
    tables, told = _share_radiographs(found)
    notes = _gaps(study, runs) + notes + told
    results = []
    for run, table in tables:
        probabilities = table[probability_columns(FLANNEL)].to_numpy(float)
        results.append(Result(run, table, scores(list(table["diagnosis"]), probabilities)))
    notes += [
        f"No test radiograph is {name}: its F1 is undefined, and macro is the mean of the others."
        for name, one in results[0].scores.by_class.items()
        if one.support == 0
    ]
    return Comparison(study, FLANNEL, tuple(results), tuple(notes))


def find_runs(study: Path) -> list[StudyRun]:
    """Finds every run folder of base learners and ensembles, in the order of the tables."""
    found = [
        *((folder, folder.parts[-3], folder.parts[-2]) for folder in study.glob("base/*/*/fold*")),
        *((folder, folder.parts[-2], ENSEMBLE) for folder in study.glob("ensemble/*/fold*")),
    ]
    runs = []
    for folder, arm, learner in found:
        if fold := re.fullmatch(r"fold(\d+)", folder.name):
            finished, parts = _fingerprint(folder)
            runs.append(StudyRun(arm, learner, int(fold[1]), folder, finished, parts))
    return sorted(
        runs, key=lambda run: (_arm_place(run.arm), _learner_place(run.learner), run.fold)
    )


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
    held = {run.name_in(study): run.parts[part] for run in runs if part in run.parts}
    if len(set(held.values())) < 2:
        return
    usual, _ = Counter(held.values()).most_common(1)[0]
    odd = [name for name, value in held.items() if value != usual]
    like = next(name for name, value in held.items() if value == usual)
    raise StudyError(
        f"These runs were made from another {part} than {like} and cannot stand in one "
        f"table with it: {', '.join(odd)}. Make them again with --redo true, or move them out."
    )


def _fingerprint(folder: Path) -> tuple[bool, dict[str, str]]:
    """Reads whether a run is finished, and the parts of its fingerprint."""
    path = folder / "fingerprint.json"
    if not path.is_file():
        return False, {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        parts = {str(key): str(value) for key, value in content["parts"].items()}
        finished = content["finished"] is True
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise StudyError(
            f'{path} is no fingerprint (expected {{"finished": true, "parts": {{...}}}}): '
            f"{fault!r}. Make the run again with --redo true."
        ) from fault
    return finished and (folder / "predictions.csv").is_file(), parts


def _narrowed(runs: list[StudyRun], learners: Sequence[str] | None) -> list[StudyRun]:
    """Keeps the asked-for base learners, and the ensemble."""
    if learners is None:
        return runs
    found = {run.learner for run in runs}
    unknown = sorted(set(learners) - found)
    if unknown:
        raise StudyError(
            f"No run of the learner {', '.join(unknown)}; the study holds "
            f"{', '.join(sorted(found, key=_learner_place)) or 'none'}."
        )
    return [run for run in runs if run.learner in {*learners, ENSEMBLE}]


def _gaps(study: Path, runs: list[StudyRun]) -> list[str]:
    """Names the runs that are unfinished, and those that the others let one expect."""
    notes = []
    unfinished = [run.name_in(study) for run in runs if not run.finished]
    if unfinished:
        notes.append(f"Not finished, so not in the tables: {', '.join(unfinished)}.")
    folds = sorted({run.fold for run in runs})
    learners = sorted({run.learner for run in runs} - {ENSEMBLE}, key=_learner_place)
    base_arms = {run.arm for run in runs if run.learner != ENSEMBLE}
    there = {(run.arm, run.learner, run.fold) for run in runs}
    absent = [
        f"{arm} {learner} fold {fold}"
        for arm in dict.fromkeys(run.arm for run in runs)
        for learner in [*(learners if arm in base_arms else []), ENSEMBLE]
        for fold in folds
        if (arm, learner, fold) not in there
    ]
    if absent:
        notes.append(f"Missing, so not in the tables: {', '.join(absent)}.")
    return notes


def _test_rows(
    study: Path, runs: list[StudyRun]
) -> tuple[list[tuple[StudyRun, pd.DataFrame]], list[str]]:
    """Reads the test rows of every run; those that cannot be used are left out by name."""
    tables, notes = [], []
    for run in runs:
        try:
            table = load_predictions(run.folder / "predictions.csv", FLANNEL)
        except PredictionsError as fault:
            notes.append(f"Left out {run.name_in(study)}: {fault}")
            continue
        table = table[table["split"] == "test"].reset_index(drop=True)
        if table.empty:
            notes.append(f"Left out {run.name_in(study)}: its predictions hold no test row.")
            continue
        tables.append((run, table))
    if not tables:
        raise StudyError(f"No finished run can be compared. {' '.join(notes)}")
    return tables, notes


def _share_radiographs(
    tables: list[tuple[StudyRun, pd.DataFrame]],
) -> tuple[list[tuple[StudyRun, pd.DataFrame]], list[str]]:
    """Keeps the test radiographs that all runs share; says so when some fall away.

    Where no two folds were tested on the same radiograph, each fold is taken by itself.
    """
    tested: dict[int, set[str]] = {}
    for run, table in tables:
        tested.setdefault(run.fold, set()).update(table["image_id"])
    if sum(map(len, tested.values())) > len(set.union(*tested.values())):
        return _shared(tables)
    kept, notes = [], []
    for fold in tested:
        of_fold, told = _shared([(run, table) for run, table in tables if run.fold == fold])
        kept += of_fold
        notes += told
    places = {run.folder: place for place, (run, _) in enumerate(tables)}
    return sorted(kept, key=lambda one: places[one[0].folder]), notes


def _shared(
    tables: list[tuple[StudyRun, pd.DataFrame]],
) -> tuple[list[tuple[StudyRun, pd.DataFrame]], list[str]]:
    shared = set.intersection(*(set(table["image_id"]) for _, table in tables))
    if not shared:
        raise StudyError(
            "The runs have no test radiograph in common, so nothing can be compared: were they "
            "made from the same manifest?"
        )
    counts: dict[str, set[int]] = {}
    for run, table in tables:
        counts.setdefault(run.arm, set()).add(len(table))
    kept = [
        (run, table[table["image_id"].isin(shared)].reset_index(drop=True)) for run, table in tables
    ]
    truth = kept[0][1]["diagnosis"]
    for run, table in kept:
        differs = table["image_id"][table["diagnosis"] != truth]
        if len(differs):
            raise StudyError(
                f"{run.folder} holds another diagnosis than {kept[0][0].folder} for "
                f"{len(differs)} radiographs, first {differs.iloc[0]}: run both on one manifest."
            )
    if set.union(*counts.values()) == {len(shared)}:
        return kept, []
    tested = "; ".join(
        f"{arm} {' to '.join(str(n) for n in sorted({min(sizes), max(sizes)}))}"
        for arm, sizes in counts.items()
    )
    return kept, [
        f"The arms were tested on different radiographs ({tested}): "
        f"all numbers are on the {len(shared)} that every run shares."
    ]


def _arm_place(arm: str) -> tuple[int, str]:
    return (ARMS.index(arm) if arm in ARMS else len(ARMS), arm)


def _learner_place(learner: str) -> tuple[int, str]:
    if learner == ENSEMBLE:
        return (len(LEARNERS) + 1, learner)
    return (LEARNERS.index(learner) if learner in LEARNERS else len(LEARNERS), learner)
