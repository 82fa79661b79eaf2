"""Row against row on the same radiographs: differences, intervals and tests."""

from typing import Literal

import numpy as np
import pandas as pd

from flannel.comparison.measurements import FAMILIES, Measurements, Pair
from flannel.comparison.results import Comparison
from flannel.comparison.tables.cells import UNDEFINED, difference_cell, p_cell
from flannel.comparison.tables.layout import Line, Table
from flannel.metrics.classification import MACRO
from flannel.study.contents import ENSEMBLE

CAPTION = (
    "Second minus first on the same radiographs, mean over the folds that both have. In brackets: "
    "95 % interval, both rows in the same resamples of groups of patients. Where it covers zero, "
    "no difference is shown. "
)
PRIMARY_COMPARISON = f"{ENSEMBLE} patched minus {ENSEMBLE} global, in macro F1"
PRIMARY = f"The primary comparison is {PRIMARY_COMPARISON}; all other numbers are exploratory. "
NO_PRIMARY = (
    f"The primary comparison ({PRIMARY_COMPARISON}) is not in this study, so all numbers are "
    "exploratory. "
)
NO_ARMS = "All numbers are exploratory. "
HOLM = (
    "The p value is that of the difference in macro F1, after Holm's correction over "
    "the lines of one family."
)


ONE_TRAINING = (
    " Each row is one training (one fold, one seed): another training of the same recipe would "
    "change the difference, by how much is unknown."
)
SEVERAL_TRAININGS = " The difference is of these trainings, one in each fold."


def trainings_sentence(measurements: Measurements) -> str:
    """Returns a sentence on how many trainings a difference is of."""
    single = all(len(pair.shared_folds) == 1 for pair in measurements.pairs)
    return ONE_TRAINING if single else SEVERAL_TRAININGS


def differences_table(measurements: Measurements) -> Table | None:
    """Lists the differences in F1 of all pairs by family, None where there is no pair."""
    if not measurements.pairs:
        return None
    names = (*measurements.comparison.diagnoses, MACRO)
    lines: list[Line] = []
    numbers: list[pd.DataFrame] = []
    for pair in measurements.pairs:
        cells = []
        for name in names:
            row = pair.of(name)
            cells.append(difference_cell(row["difference"], (row["low"], row["high"])))
        cells.append(p_cell(measurements.corrected[pair]))
        family = FAMILIES[pair.family]
        opens = bool(lines) and lines[-1].cells[0] != family
        lines.append(Line((family, pair.first.name, pair.second.name, *cells), _kind(pair), opens))
        is_macro_f1 = (pair.differences["class"] == MACRO) & (pair.differences["measure"] == "f1")
        p_family = np.where(is_macro_f1, measurements.corrected[pair], np.nan)
        numbers.append(_named(pair, pair.differences.assign(p_family=p_family)))
    return Table(
        name="differences",
        title="Differences in F1 between rows",
        caption=CAPTION + _declared(measurements) + HOLM + trainings_sentence(measurements),
        head=("family", "first", "second", *names, "p, Holm"),
        lines=tuple(lines),
        numbers=pd.concat(numbers, ignore_index=True),
        names=3,
    )


def declared(comparison: Comparison) -> str:
    """Returns the primary comparison; a study of another paper declares none."""
    return PRIMARY_COMPARISON if comparison.plan is None else "none declared"


def _declared(measurements: Measurements) -> str:
    """Returns which comparison is the primary one."""
    if measurements.primary is not None:
        return PRIMARY
    return NO_PRIMARY if measurements.comparison.plan is None else NO_ARMS


def tests_table(measurements: Measurements) -> Table | None:
    """Lists p values of the pairs of ensembles: difference, McNemar and DeLong, None without one.

    The primary comparison is shown for every diagnosis, the others over all. Where there is no
    ensemble, the base learners' pairs are shown.
    """
    pairs = [
        pair for pair in measurements.pairs if ENSEMBLE in (pair.first.learner, pair.second.learner)
    ]
    pairs = pairs or list(measurements.pairs)
    if not pairs:
        return None
    lines: list[Line] = []
    numbers: list[pd.DataFrame] = []
    for before, pair in zip((None, *pairs), pairs, strict=False):
        tests = pair.tests.set_index(["test", "class"])
        diagnoses = measurements.comparison.diagnoses if pair.family == "primary" else ()
        for place, name in enumerate((*diagnoses, MACRO)):
            row = pair.of(name)
            corrected = measurements.corrected[pair] if name == MACRO else row["p_holm"]
            cells = [difference_cell(row["difference"], (row["low"], row["high"]))]
            cells += [p_cell(row["p"]), p_cell(corrected)]
            # McNemar's test over all diagnoses is in the line of the macro mean.
            key = "overall" if name == MACRO else name
            for test in ("mcnemar", "delong"):
                there = (test, key) in tests.index
                cells += [
                    p_cell(tests.loc[(test, key), column]) if there else UNDEFINED
                    for column in ("p", "p_holm")
                ]
            opens = place == 0 and before is not None and before.family != pair.family
            lines.append(
                Line(
                    (pair.first.name, pair.second.name, name, *cells),
                    _kind(pair) if name == MACRO else "plain",
                    opens,
                )
            )
        numbers.append(_named(pair, pair.tests))
    return Table(
        name="tests",
        title="Tests of the differences",
        caption="The first p value is that of the difference in F1. McNemar's exact "
        "test compares the numbers of right predictions (in the line macro: over all diagnoses), "
        "DeLong's test the areas under the ROC curve. Both use probabilities averaged over folds "
        "and swap or count groups of patients. Holm corrects over the diagnoses of one test, and "
        "in the line macro over the family. Numbers by diagnosis of the other pairs are in "
        "tests.csv and differences.csv." + trainings_sentence(measurements),
        head=(
            "first", "second", "class", "difference in F1", "p", "Holm", "McNemar p", "Holm",
            "DeLong p", "Holm",
        ),
        lines=tuple(lines),
        numbers=pd.concat(numbers, ignore_index=True),
        names=3,
    )  # fmt: skip


def _kind(pair: Pair) -> Literal["plain", "strong"]:
    return "strong" if pair.family == "primary" else "plain"


def _named(pair: Pair, table: pd.DataFrame) -> pd.DataFrame:
    known = {
        "family": pair.family,
        "first_arm": pair.first.arm,
        "first_learner": pair.first.learner,
        "second_arm": pair.second.arm,
        "second_learner": pair.second.learner,
    }
    return table.assign(**known)[[*known, *table.columns]]
