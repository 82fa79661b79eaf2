"""Classification report and confusion table of single runs, as papers 000 to 003 print them."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from flannel.comparison.related import SPLITS, Related, Reported
from flannel.comparison.results import Comparison, Result, printed_runs
from flannel.comparison.tables.cells import UNDEFINED, measure_cell, score_cell
from flannel.comparison.tables.layout import Line, Table
from flannel.metrics.classification import MACRO, OVERALL, Scores, scores
from flannel.metrics.intervals import measured
from flannel.study.contents import learner_place
from flannel.study.predictions import probability_columns
from flannel.uncertainty import draw_groups

WEIGHTED = "weighted"
PRINTED = ("precision", "recall", "f1")
SHOWN = (*PRINTED, "support")
WORDS = {MACRO: "macro average", WEIGHTED: "weighted average", OVERALL: "accuracy"}


def rows_of(result: Result, split: Reported) -> pd.DataFrame:
    """Returns a run's validation or test rows."""
    return result.validation if split == "val" else result.predictions


def scores_of(result: Result, split: Reported, diagnoses: Sequence[str]) -> Scores:
    """Measures a run's validation or test rows."""
    table = rows_of(result, split)
    return scores(
        list(table["diagnosis"]), table[probability_columns(diagnoses)].to_numpy(float), diagnoses
    )


def weighted(scores: Scores, measure: str) -> float:
    """Averages a measure over the diagnoses, each weighed by its support; NaN if one is NaN."""
    each = [
        of_class for name, of_class in scores.by_class.items() if name != MACRO and of_class.support
    ]
    supports = [of_class.support for of_class in each]
    return float(np.average([getattr(of_class, measure) for of_class in each], weights=supports))


def classification_table(comparison: Comparison, related: Related, split: Reported) -> Table | None:
    """Lists precision, recall, F1 and support of each run, the published beside ours.

    Args:
        comparison: The results.
        related: The study of a paper, with the numbers that it printed.
        split: On which images.

    Returns:
        None where no run has rows of the split.
    """
    lines: list[Line] = []
    numbers: list[dict[str, object]] = []
    ours = {
        (r.run.arm, r.run.learner): r for r in printed_runs(comparison) if len(rows_of(r, split))
    }
    if not ours:
        return None
    for arm, learner in _with_published(list(ours), related, split):
        result = ours.get((arm, learner))
        names = (*comparison.diagnoses, OVERALL, MACRO, WEIGHTED)
        by_name = {} if result is None else _ours(result, split, comparison.diagnoses)
        for place, name in enumerate(names):
            row, cells = by_name.get(name, (dict.fromkeys(SHOWN, np.nan), [UNDEFINED] * len(SHOWN)))
            theirs = _theirs(related, split, arm, learner, name)
            printed = [printed_cell(value, measure) for measure, value in theirs.items()]
            opens = place == 0 and bool(lines)
            words = (arm, learner, WORDS.get(name, name))
            lines.append(Line((*words, *cells, *printed), opens=opens))
            numbers.append(
                {"arm": arm, "learner": learner, "class": name, **row}
                | {f"published_{measure}": value for measure, value in theirs.items()}
            )
    return Table(
        name=f"classification_{split}",
        title=f"Classification report, {SPLITS[split]} images",
        caption=_caption(split, related),
        head=(
            "arm", "learner", "", "precision", "recall", "F1", "support",
            "published precision", "recall", "F1", "support",
        ),
        lines=tuple(lines),
        numbers=pd.DataFrame(numbers),
        names=3,
    )  # fmt: skip


def confusion_table(comparison: Comparison, related: Related) -> Table:
    """Counts each run's predictions by true diagnosis, on both splits, beside published counts."""
    diagnoses = comparison.diagnoses
    lines: list[Line] = []
    numbers: list[dict[str, object]] = []
    splits: tuple[Reported, ...] = ("val", "test")
    ours = {(r.run.arm, r.run.learner): r for r in printed_runs(comparison)}
    for split in splits:
        for arm, learner in _with_published(list(ours), related, split):
            result = ours.get((arm, learner))
            for place, true in enumerate(diagnoses):
                known = (SPLITS[split], arm, learner, true)
                theirs = [
                    related.number(f"as {name}", true, arm, learner, split) for name in diagnoses
                ]
                counts = [np.nan] * len(diagnoses)
                if result is not None and len(rows_of(result, split)):
                    confusion = scores_of(result, split, diagnoses).confusion
                    counts = [float(count) for count in confusion[place]]
                if np.isnan([*counts, *theirs]).all():
                    continue
                cells = [_beside(ours, other) for ours, other in zip(counts, theirs, strict=True)]
                lines.append(Line((*known, *cells), opens=place == 0 and bool(lines)))
                numbers += [
                    {
                        "split": split, "arm": arm, "learner": learner, "true": true,
                        "predicted": name, "radiographs": ours, "published": other,
                    }
                    for name, ours, other in zip(diagnoses, counts, theirs, strict=True)
                ]  # fmt: skip
    return Table(
        name="confusion_counts",
        title="Confusion",
        caption="Radiographs by true diagnosis (rows) and predicted diagnosis (columns); in "
        "brackets what was published.",
        head=("images", "arm", "learner", "true", *(f"as {name}" for name in diagnoses)),
        lines=tuple(lines),
        numbers=pd.DataFrame(numbers),
        names=4,
    )


def _caption(split: Reported, related: Related) -> str:
    sources = related.published[related.published["split"] == split]
    sources = sources[sources["learner"] != ""]
    names = "; ".join(dict.fromkeys(sources["source"]))
    published = f"Published: {names}." if names else "The papers print nothing on these images."
    return (
        "The first fold and the first repeat of each run; in brackets the 95 % interval over "
        f"groups of patients, or a bound (≥, ≤) where none or all are wrong. {published}"
    )


def _with_published(
    ours: Sequence[tuple[str, str]], related: Related, split: Reported
) -> Iterator[tuple[str, str]]:
    """Yields our runs, and behind them what was published and has no run of ours."""
    yield from ours
    theirs = related.published[(related.published["split"] == split)]
    named = theirs.loc[theirs["learner"] != "", ["arm", "learner"]].drop_duplicates()
    others = [(str(arm), str(learner)) for arm, learner in named.to_numpy()]
    yield from sorted(set(others) - set(ours), key=lambda item: (item[0], learner_place(item[1])))


def _ours(
    result: Result, split: Reported, diagnoses: Sequence[str]
) -> dict[str, tuple[dict[str, float], list[str]]]:
    """Returns each line's numbers and cells; accuracy stands below F1, as the papers have it."""
    table, scores = rows_of(result, split), scores_of(result, split, diagnoses)
    doubt = measured({0: table}, draw_groups(table["group"]), diagnoses, ranks=False)
    whole = (float(len(table)), f"{len(table):,}")
    lines = {}
    for name, of_class in scores.by_class.items():
        values = {measure: scores.value(name, measure) for measure in PRINTED}
        cells = [measure_cell(doubt, name, measure) for measure in PRINTED]
        lines[name] = (
            {**values, "support": float(of_class.support)},
            [*cells, f"{of_class.support:,}"],
        )
    lines[OVERALL] = (
        {"precision": np.nan, "recall": np.nan, "f1": scores.accuracy, "support": whole[0]},
        ["", "", measure_cell(doubt, OVERALL, "accuracy"), whole[1]],
    )
    means = {measure: weighted(scores, measure) for measure in PRINTED}
    lines[WEIGHTED] = (
        {**means, "support": whole[0]},
        [*(score_cell(value) for value in means.values()), whole[1]],
    )
    return lines


def _theirs(
    related: Related, split: Reported, arm: str, learner: str, name: str
) -> Mapping[str, float]:
    printed = {measure: related.number(measure, name, arm, learner, split) for measure in SHOWN}
    if name == OVERALL:
        printed["f1"] = related.number("accuracy", OVERALL, arm, learner, split)
    return printed


def printed_cell(value: float, measure: str) -> str:
    """Writes a published number as it was printed: 0.97, 0.9733, or 1,903 radiographs."""
    if np.isnan(value):
        return ""
    return f"{value:,.0f}" if measure == "support" else f"{value:.4f}".rstrip("0").ljust(4, "0")


def _beside(ours: float, theirs: float) -> str:
    parts = [] if np.isnan(ours) else [f"{ours:,.0f}"]
    parts += [] if np.isnan(theirs) else [f"({theirs:,.0f})"]
    return " ".join(parts) or UNDEFINED
