"""The results of a study that belong in one table: on the radiographs that its runs share."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from flannel.comparison.related import RelatedStudy
from flannel.data.diagnosis import FLANNEL
from flannel.data.manifest import load_manifest
from flannel.data.provenance import label_set_of
from flannel.files import read_json
from flannel.metrics.classification import Scores, scores
from flannel.study.contents import (
    ENSEMBLE,
    EVALUATION,
    LEARNERS,
    StudyError,
    StudyRun,
    check_fingerprints,
    find_runs,
    first_trainings,
    gaps,
    learner_place,
    narrowed,
)
from flannel.study.predictions import (
    PredictionsError,
    load_predictions,
    probability_columns,
    unusual_sums,
)
from flannel.study.repeats import recipe_of
from flannel.uncertainty import FEWEST_GROUPS


@dataclass(frozen=True)
class Result:
    """A finished run and its predictions.

    Attributes:
        run: Where it lies.
        predictions: Of the test radiographs that all runs share.
        validation: Of the fold's validation radiographs, on which thresholds and temperatures may
            be chosen.
        scores: What the test predictions are worth.
    """

    run: StudyRun
    predictions: pd.DataFrame
    validation: pd.DataFrame
    scores: Scores


@dataclass(frozen=True)
class Comparison:
    """All results of a study that belong in one table.

    Attributes:
        study: The study's folder.
        diagnoses: The label set, in order.
        results: By arm, learner and fold, in the order of the tables. Of a study with several
            seeds those of the first: the numbers of the tables are of one training each.
        notes: Sentences on what is missing, unfinished or left out.
        scope: A sentence on the folds and learners of a partial study; empty for a whole one.
        plan: What the study set out to do if it is another paper's; None for one of paper 004.
        trainings: The results of all seeds, those above among them.
    """

    study: Path
    diagnoses: tuple[str, ...]
    results: tuple[Result, ...]
    notes: tuple[str, ...]
    scope: str = ""
    plan: RelatedStudy | None = None
    trainings: tuple[Result, ...] = ()

    @property
    def arms(self) -> list[str]:
        """The arms that have a result, in order."""
        return list(dict.fromkeys(result.run.arm for result in self.results))

    @property
    def learners(self) -> list[str]:
        """The learners that have a result, in the paper's order, the ensemble last."""
        return sorted({result.run.learner for result in self.results}, key=learner_place)

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
        """Returns the results of one learner in one arm, fold by fold."""
        return [r for r in self.results if (r.run.arm, r.run.learner) == (arm, learner)]


def printed_runs(comparison: Comparison) -> list[Result]:
    """Returns the runs that a paper would print: the first fold and repeat of each network."""
    first: dict[tuple[str, str], Result] = {}
    for result in comparison.results:
        run = result.run
        if run.stage != "shortcut" and recipe_of(run.learner) == run.learner:
            first.setdefault((run.arm, run.learner), result)
    return list(first.values())


def read_comparison(
    study: Path, learners: Sequence[str] | None = None, plan: RelatedStudy | None = None
) -> Comparison:
    """Collects the finished runs of a study and measures them on the test radiographs they share.

    Unfinished and missing runs are named in the notes. Arms are compared on the same radiographs,
    unlike paper 004, whose two arms were tested on different ones; where each fold has a test set
    of its own, the runs of one fold are.

    Args:
        study: The study's folder.
        learners: Base learners to compare; all by default. The ensemble is always there.
        plan: Of another paper's study. Nothing that it does not name is called missing, and no
            number of paper 004 is spoken of.

    Raises:
        StudyError: If nothing is finished, a learner is unknown, the runs' fingerprints differ in
            the split, store, masks or code, or their test radiographs or diagnoses do not agree.
        ManifestError: If the study's label set is unknown.
    """
    diagnoses = label_set_of(study)
    runs = narrowed(find_runs(study), learners)
    finished = [run for run in runs if run.finished]
    if not finished:
        raise StudyError(
            f"{study} holds no finished predictions to compare: run `make base-models` and "
            "`make ensemble` first (or `make demo` for made-up radiographs)."
        )
    check_fingerprints(study, finished)
    readable, left_out = _readable(study, finished, diagnoses)
    tests, fewer = _share_radiographs(
        [(run, _of_split(table, "test")) for run, table in readable.items()]
    )
    trainings = tuple(
        Result(
            run=run,
            predictions=test,
            validation=_of_split(readable[run], "val"),
            scores=scores(
                list(test["diagnosis"]),
                test[probability_columns(diagnoses)].to_numpy(float),
                diagnoses,
            ),
        )
        for run, test in tests
    )
    # Another paper's study has tables of its own for its repeats.
    shown = finished if plan else first_trainings(finished)
    results = tuple(result for result in trainings if result.run in shown)
    notes = [*_elsewhere(study), *gaps(study, runs, _planned(plan, learners)), *left_out]
    notes += [] if plan else _other_labels(diagnoses)
    notes += [*_rare(results, diagnoses), *fewer, *_absent(results)]
    notes += unusual_sums(_sums(results, diagnoses))
    scope = _scope(study, results, diagnoses, plan)
    return Comparison(study, diagnoses, results, tuple(notes), scope, plan, trainings)


def _planned(
    plan: RelatedStudy | None, learners: Sequence[str] | None
) -> set[tuple[str, str]] | None:
    """Returns arm and learner of what a plan names, of the learners that are compared."""
    if plan is None:
        return None
    wanted = None if learners is None else {*learners, ENSEMBLE}
    return {(arm, name) for arm, name in plan.planned if wanted is None or name in wanted}


def _elsewhere(study: Path) -> list[str]:
    """Returns a sentence on where an evaluation's networks come from."""
    path = study / EVALUATION
    if not path.is_file():
        return []
    made_with = read_json(path)
    checked = (
        "Identical files, and copies that were found, of its training and validation radiographs "
        "are left out."
        if made_with.get("copies") == "left out"
        else "Whether copies of its training radiographs are in the cohort could not be checked."
    )
    return [
        f"Fold {made_with['fold']} of {Path(str(made_with['name'])).name} predicted this cohort. "
        f"{checked}"
    ]


def _other_labels(diagnoses: Sequence[str]) -> list[str]:
    """Returns a note that paper 004's numbers are of other diagnoses than the study's."""
    if tuple(diagnoses) == FLANNEL:
        return []
    return [
        f"The diagnoses of this study ({', '.join(diagnoses)}) are not those of paper 004, so its "
        "published numbers are not shown."
    ]


def _scope(
    study: Path,
    results: Sequence[Result],
    diagnoses: Sequence[str],
    plan: RelatedStudy | None,
) -> str:
    """Returns which folds of the manifest and which of the paper's learners a study has.

    Only a study of paper 004's diagnoses, that is not another paper's, is measured against its list
    of learners.
    """
    parts = []
    folds = sorted({result.run.fold for result in results})
    planned = _planned_folds(study)
    if len(folds) < planned:
        parts.append(f"fold{'s' * (len(folds) > 1)} {', '.join(map(str, folds))} of {planned}")
    learners = {result.run.learner for result in results if result.run.stage == "base"}
    known = [name for name in LEARNERS if name in learners]
    if learners and len(known) < len(LEARNERS) and plan is None and tuple(diagnoses) == FLANNEL:
        parts.append(
            f"{len(known)} of the paper's {len(LEARNERS)} base learners"
            + (f" ({', '.join(known)})" if known else "")
        )
    return f"A partial study: {' and '.join(parts)}." if parts else ""


def _planned_folds(study: Path) -> int:
    """Counts the manifest's folds, 0 without a manifest."""
    path = study / "manifest.csv"
    return int(load_manifest(path)["fold"].nunique()) if path.is_file() else 0


def _readable(
    study: Path, runs: Sequence[StudyRun], diagnoses: Sequence[str]
) -> tuple[dict[StudyRun, pd.DataFrame], list[str]]:
    """Reads the predictions of every run; those that cannot be used are left out by name."""
    tables, notes = {}, []
    for run in runs:
        try:
            table = load_predictions(run.folder / "predictions.csv", diagnoses)
        except PredictionsError as fault:
            notes.append(f"Left out {run.name_in(study)}: {fault}")
            continue
        if (table["split"] != "test").all():
            notes.append(f"Left out {run.name_in(study)}: its predictions hold no test row.")
            continue
        tables[run] = table
    if not tables:
        raise StudyError(f"No finished run can be compared. {' '.join(notes)}")
    return tables, notes


def _of_split(table: pd.DataFrame, split: str) -> pd.DataFrame:
    return table[table["split"] == split].reset_index(drop=True)


def _absent(results: Sequence[Result]) -> list[str]:
    """Names the diagnoses that no test radiograph has."""
    return [
        f"No test radiograph is {name}: its F1 is undefined, and macro is the mean of the others."
        for name, measures in results[0].scores.by_class.items()
        if measures.support == 0
    ]


def _rare(results: Sequence[Result], diagnoses: Sequence[str]) -> list[str]:
    """Names the diagnoses that hardly any tested patient has."""
    rows = pd.concat([result.predictions for result in results])
    groups = rows.groupby("diagnosis")["group"].nunique()
    rare = [
        f"{groups[name]} {name}" for name in diagnoses if 0 < groups.get(name, 0) < FEWEST_GROUPS
    ]
    if not rare:
        return []
    return [
        f"Few groups of patients are tested ({', '.join(rare)}): their numbers and the macro means "
        "have no interval."
    ]


def _sums(results: Sequence[Result], diagnoses: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns the sums of the test probabilities of each learner, over all folds."""
    sums: dict[str, list[np.ndarray]] = {}
    for result in results:
        table = result.predictions[probability_columns(diagnoses)]
        name = f"{result.run.arm} {result.run.learner}"
        sums.setdefault(name, []).append(table.sum(axis=1).to_numpy())
    return {name: np.concatenate(of_folds) for name, of_folds in sums.items()}


def _share_radiographs(
    tables: Sequence[tuple[StudyRun, pd.DataFrame]],
) -> tuple[list[tuple[StudyRun, pd.DataFrame]], list[str]]:
    """Keeps the test radiographs that all runs share, with a note when some are dropped.

    Where no two folds were tested on the same radiograph, each fold is taken by itself.
    """
    tested: dict[int, set[str]] = {}
    for run, table in tables:
        tested.setdefault(run.fold, set()).update(table["image_id"])
    if sum(map(len, tested.values())) > len(set.union(*tested.values())):
        return _shared(tables)
    kept, notes = [], []
    for fold in tested:
        of_fold, dropped = _shared([(run, table) for run, table in tables if run.fold == fold])
        kept += of_fold
        notes += dropped
    places = {run: place for place, (run, _) in enumerate(tables)}
    return sorted(kept, key=lambda item: places[item[0]]), notes


def _shared(
    tables: Sequence[tuple[StudyRun, pd.DataFrame]],
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
        f"all numbers are on the {len(shared)} that all runs share."
    ]
