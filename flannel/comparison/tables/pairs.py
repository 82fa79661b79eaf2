"""Row against row on the same radiographs: differences, intervals and tests."""

from typing import Literal

import pandas as pd

from flannel.comparison.measurements import Measurements, Pair
from flannel.comparison.tables.cells import UNDEFINED, difference_cell, p_cell
from flannel.comparison.tables.layout import Line, Table
from flannel.metrics.classification import MACRO
from flannel.study.contents import ENSEMBLE

CAPTION = (
    "Second minus first on the same radiographs, mean over the folds that both have. In brackets: "
    "95 % interval, both rows in the same resamples of groups of patients. Where it covers zero, "
    "no difference is shown."
)


ONE_TRAINING = (
    " Each row is one training (one fold, one seed): another training of the same recipe would "
    "change the difference, by how much is unknown."
)
SEVERAL_TRAININGS = " The difference is of these trainings, one in each fold."


def trainings_sentence(measurements: Measurements) -> str:
    """Returns a sentence on how many trainings a difference is of."""
    one = all(len(pair.shared_folds) == 1 for pair in measurements.pairs)
    return ONE_TRAINING if one else SEVERAL_TRAININGS


def differences_table(measurements: Measurements) -> Table | None:
    """Lists the differences in F1 of all pairs, None where there is no pair."""
    if not measurements.pairs:
        return None
    names = (*measurements.comparison.diagnoses, MACRO)
    lines: list[Line] = []
    numbers: list[pd.DataFrame] = []
    for pair in measurements.pairs:
        cells = []
        for name in names:
            difference = pair.of(name)
            cells.append(
                difference_cell(difference["difference"], (difference["low"], difference["high"]))
            )
        opens = bool(lines) and lines[-1].cells[:2] != (pair.first.arm, pair.second.arm)
        lines.append(
            Line((pair.first.arm, pair.second.arm, _who(pair), *cells), _kind(pair), opens)
        )
        numbers.append(_named(pair, pair.differences))
    return Table(
        name="differences",
        title="Differences in F1 between rows",
        caption=CAPTION + trainings_sentence(measurements),
        head=("first", "second", "learner", *names),
        lines=tuple(lines),
        numbers=pd.concat(numbers, ignore_index=True),
        names=3,
    )


def tests_table(measurements: Measurements) -> Table | None:
    """Lists p values of the pairs of ensembles: bootstrap, McNemar and DeLong, None without one.

    Where there is no ensemble, the base learners' pairs are shown.
    """
    pairs = [
        pair for pair in measurements.pairs if ENSEMBLE in (pair.first.learner, pair.second.learner)
    ]
    pairs = pairs or list(measurements.pairs)
    if not pairs:
        return None
    lines: list[Line] = []
    numbers: list[pd.DataFrame] = []
    for pair in pairs:
        tests = pair.tests.set_index(["test", "class"])
        for place, name in enumerate((*measurements.comparison.diagnoses, MACRO)):
            difference = pair.of(name)
            cells = [
                difference_cell(difference["difference"], (difference["low"], difference["high"]))
            ]
            cells += [p_cell(difference["p"]), p_cell(difference["p_holm"])]
            # McNemar's test over all diagnoses is in the line of the macro mean.
            key = "overall" if name == MACRO else name
            for test in ("mcnemar", "delong"):
                there = (test, key) in tests.index
                cells += [
                    p_cell(tests.loc[(test, key), column]) if there else UNDEFINED
                    for column in ("p", "p_holm")
                ]
            lines.append(
                Line(
                    (pair.first.name, pair.second.name, name, *cells),
                    _kind(pair) if name == MACRO else "plain",
                    opens=place == 0 and bool(lines),
                )
            )
        numbers.append(_named(pair, pair.tests))
    return Table(
        name="tests",
        title="Tests of the differences",
        caption="The first p value is that of the difference in F1, by bootstrap. McNemar's exact "
        "test compares the numbers of right predictions (in the line macro: over all diagnoses), "
        "DeLong's test the areas under the ROC curve. Both use probabilities averaged over folds "
        "and treat radiographs as independent. Holm corrects over the diagnoses of one test."
        + trainings_sentence(measurements),
        head=(
            "first", "second", "class", "difference in F1", "p", "Holm", "McNemar p", "Holm",
            "DeLong p", "Holm",
        ),
        lines=tuple(lines),
        numbers=pd.concat(numbers, ignore_index=True),
        names=3,
    )  # fmt: skip


def _who(pair: Pair) -> str:
    first, other = pair.first.learner, pair.second.learner
    return first if first == other else f"{first} → {other}"


def _kind(pair: Pair) -> Literal["plain", "strong"]:
    return "strong" if pair.second.learner == ENSEMBLE else "plain"


def _named(pair: Pair, table: pd.DataFrame) -> pd.DataFrame:
    known = {
        "first_arm": pair.first.arm,
        "first_learner": pair.first.learner,
        "second_arm": pair.second.arm,
        "second_learner": pair.second.learner,
    }
    return table.assign(**known)[[*known, *table.columns]]
