"""A summary of a comparison in five items, derived from its numbers."""

from collections import Counter

import numpy as np

from flannel.comparison.measurements import Measurements, Pair, Row
from flannel.comparison.results import Comparison
from flannel.comparison.tables.cells import difference_cell, listed, measure_cell
from flannel.metrics.classification import MACRO
from flannel.study.contents import ENSEMBLE, OUT_OF_FOLD, arm_place
from flannel.study.repeats import recipe_of

NOT_SHOWN = "no difference shown"
ALPHA = 0.05

SEEN = {
    "global": "whole radiographs",
    "masked": "masked radiographs",
    "cropped": "cropped radiographs",
    "background": "radiographs without lungs",
    "patched": "patches",
}
"""What the learners of an arm see; other arms are called by their names."""


def summary(measurements: Measurements) -> list[str]:
    """Returns sentences on the test set, scores, differences, baselines and uncertainty."""
    return [
        _tested(measurements),
        _reached(measurements),
        _arms(measurements),
        _shortcut(measurements),
        _doubt(measurements),
    ]


def _tested(measurements: Measurements) -> str:
    comparison = measurements.comparison
    sizes = comparison.test_sizes
    table = comparison.results[0].predictions
    counts = Counter(table["diagnosis"])
    counted = listed([f"{counts[name]} {name}" for name in comparison.diagnoses])
    if len(sizes) > 1:
        return (
            f"Each of the {len(sizes)} folds has a test set of its own, of {listed(sizes)} "
            f"radiographs; that of fold {comparison.folds[0]} holds {counted}."
        )
    return (
        f"The test set holds {len(table)} radiographs of {table['group'].nunique()} groups of "
        f"patients ({counted})."
    )


def _reached(measurements: Measurements) -> str:
    covid = measurements.comparison.diagnoses[0]
    rows = measurements.ensembles
    if rows:
        scores = [
            f"{measure_cell(row.measured, MACRO, 'f1')} in the arm {row.arm} "
            f"({covid}: {measure_cell(row.measured, covid, 'f1')})"
            for row in rows
        ]
        beaten = _base_learners(measurements)
        return f"{ENSEMBLE} reaches macro F1 {'; '.join(scores)}.{beaten}{_stacking(measurements)}"
    base = [row for row in measurements.rows if row.stage == "base"]
    if not base:
        return "No network has finished predictions: the tables show shortcut baselines only."
    plan = measurements.comparison.plan
    lacking = "No ensemble is finished; the" if plan is None or plan.ensembles else "The"
    means = [(row.measured.interval(MACRO, "f1").value, row) for row in base]
    low, high = (pick(means, key=lambda item: item[0]) for pick in (min, max))
    return (
        f"{lacking} base learners' macro F1 goes from {low[0]:.3f} ({low[1].name}) to "
        f"{high[0]:.3f} ({high[1].name})."
    )


def _base_learners(measurements: Measurements) -> str:
    """Returns a sentence on how many base learners of its arm FLANNEL is shown to exceed."""
    counts = []
    for ensemble in measurements.ensembles:
        pairs = [
            pair
            for pair in measurements.pairs
            if pair.family == "learners" and pair.second is ensemble
        ]
        higher = [
            pair
            for pair in pairs
            if measurements.corrected[pair] < ALPHA and pair.of(MACRO)["difference"] > 0
        ]
        if pairs:
            counts.append(f"{len(higher)} of {len(pairs)} base learners in the arm {ensemble.arm}")
    if not counts:
        return ""
    return f" After Holm's correction it is shown to exceed {', '.join(counts)}."


def _stacking(measurements: Measurements) -> str:
    """Returns a sentence on FLANNEL trained on images that its learners have not seen."""
    changes = [
        f"{_difference(pair, MACRO, 'out of fold', 'in sample')} in the arm {pair.first.arm}"
        for pair in measurements.pairs
        if (pair.first.learner, pair.second.learner) == (ENSEMBLE, f"{ENSEMBLE} {OUT_OF_FOLD}")
    ]
    if not changes:
        return ""
    return (
        " Trained out of fold (on radiographs that the learners were not trained on) instead of in "
        f"sample (as in the paper), it changes by {', '.join(changes)}."
    )


def _arms(measurements: Measurements) -> str:
    """Compares the other arms that the study is about with its first."""
    first, *others = _compared(measurements.comparison)
    if not others:
        return f"All runs are of the arm {first}, so no arms are compared."
    text = "; ".join(_against(measurements, first, other) for other in others)
    return f"{text[0].upper()}{text[1:]}."


def _compared(comparison: Comparison) -> list[str]:
    """Names the arms that a study is about: whole radiographs and patches, or those of its plan."""
    if comparison.plan is None:
        return ["global", "patched"]
    learners = comparison.plan.runs.values()
    return sorted({arm for arms in learners for arm in arms}, key=arm_place)


def _against(measurements: Measurements, first: str, other: str) -> str:
    """Compares one arm with another, by the ensemble or else by each base learner."""
    pairs = [
        pair
        for pair in measurements.pairs
        if (pair.first.arm, pair.second.arm) == (first, other)
        and pair.first.learner == pair.second.learner == recipe_of(pair.first.learner)
    ]
    ours, theirs = SEEN.get(other, other), SEEN.get(first, first)
    if not pairs:
        return f"{ours} cannot be compared with {theirs}: one of the two arms is missing"
    chosen = [pair for pair in pairs if pair.first.learner == ENSEMBLE]
    if chosen:
        covid = measurements.comparison.diagnoses[0]
        primary = "the primary comparison: " if chosen[0].family == "primary" else ""
        return (
            f"{primary}{ENSEMBLE} on {ours} minus {ENSEMBLE} on {theirs} is "
            f"{_difference(chosen[0], MACRO, ours, theirs)} in macro F1, and "
            f"{_difference(chosen[0], covid, ours, theirs)} in {covid} F1"
        )
    changes = [
        f"{_difference(pair, MACRO, ours, theirs)} for {pair.first.learner}" for pair in pairs
    ]
    return f"{ours} minus {theirs}, in macro F1, is {', '.join(changes)}"


def _shortcut(measurements: Measurements) -> str:
    if not measurements.shortcuts:
        return (
            "No shortcut baseline was computed, so it is unknown how much of these scores can be "
            "reached without seeing the lungs."
        )
    best = max(measurements.shortcuts, key=_macro)
    score = measure_cell(best.measured, MACRO, "f1")
    networks = [row for row in measurements.rows if row.stage == "base"]
    chosen = measurements.ensembles or sorted(networks, key=_macro)[-1:]
    gains = [
        f"{_difference(pair, MACRO, pair.second.arm, 'the baseline')} for {pair.second.name}"
        for pair in measurements.pairs
        if pair.first is best and any(pair.second is row for row in chosen)
    ]
    return (
        f"The best shortcut baseline ({best.learner}), a random forest that sees no lung pixels, "
        f"reaches macro F1 {score}."
        + f" Macro F1 minus that of this baseline is {'; '.join(gains)}."
        * bool(gains)
    )


def _doubt(measurements: Measurements) -> str:
    comparison = measurements.comparison
    folds = comparison.folds
    if len(folds) == 1:
        training = f"Only fold {folds[0]} was run, so the variation between trainings is unknown."
    else:
        training = (
            f"± is the sample deviation over {_counted(measurements)}: the variation between "
            "trainings."
        )
    scope = f" {comparison.scope}" if comparison.scope else ""
    return (
        "Brackets hold 95 % intervals: the variation between samples of patients of the same kind. "
        f"{training} At other hospitals numbers can differ by more.{scope}"
    )


def _counted(measurements: Measurements) -> str:
    """Counts the folds of the rows, of which some may have fewer than others."""
    counts = sorted({len(row.tests) for row in measurements.rows})
    if len(counts) == 1:
        return f"{counts[0]} folds"
    return f"the folds that each row names, {counts[0]} to {counts[-1]} of them"


def _difference(pair: Pair, name: str, second: str, first: str) -> str:
    """Writes a difference, and which side is higher only where the interval leaves zero out."""
    difference = pair.of(name)
    text = difference_cell(difference["difference"], (difference["low"], difference["high"]))
    if np.isnan(difference["low"]):
        remark = difference["note"]
    elif difference["low"] > 0:
        remark = f"{second} higher"
    elif difference["high"] < 0:
        remark = f"{first} higher"
    else:
        remark = NOT_SHOWN
    trainings = ", one training each" if len(pair.shared_folds) == 1 else ""
    return f"{text} ({remark}{trainings})"


def _macro(row: Row) -> float:
    return row.measured.interval(MACRO, "f1").value
