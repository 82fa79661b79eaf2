"""What papers 000 to 003 tabulate beside scores: their images, runs and times, repeats, layers."""

from pathlib import Path

import numpy as np
import pandas as pd

from flannel.comparison.related import SPLITS, Related
from flannel.comparison.results import Comparison, Result, printed_runs
from flannel.comparison.tables.cells import UNDEFINED, listed, score_cell
from flannel.comparison.tables.classification import (
    classification_table,
    confusion_table,
    printed_cell,
    rows_of,
    scores_of,
)
from flannel.comparison.tables.layout import Line, Table
from flannel.data.folds import splits_of_fold
from flannel.data.manifest import load_manifest
from flannel.files import read_json
from flannel.metrics.classification import MACRO, OVERALL
from flannel.study.repeats import recipe_of

TOTAL = "total"
ROWS = {"train": "training", "val": "validation", "test": "test"}
MEASURES = ("accuracy", "macro_f1")
MOST_LINES = 80
"""A network with more layers is shown by the blocks that they make up."""


def related_tables(comparison: Comparison, related: Related) -> list[Table]:
    """Makes the tables that the papers of a study print, as far as it has numbers for them.

    Columns for published numbers are there where something was published.
    """
    tables = [
        runs_table(comparison, related),
        classification_table(comparison, related, "val"),
        classification_table(comparison, related, "test"),
        confusion_table(comparison, related),
        repeats_table(comparison, related),
        composition_table(comparison, related),
        *network_tables(comparison, related),
    ]
    return [table.without_blank_columns() for table in tables if table is not None]


def made_up_note(comparison: Comparison) -> str:
    """Returns a sentence that no number of a study of phantoms means anything."""
    base = [result for result in comparison.results if result.run.stage == "base"]
    epochs = sorted({_cost(result)["epochs"] for result in base} - {np.nan})
    return (
        f"Phantoms: these radiographs are made up, and the learners had small pictures and "
        f"{listed([f'{number:.0f}' for number in epochs]) or 'a few'} epochs from random weights. "
        "No number here can be compared with the papers' numbers."
    )


def composition_table(comparison: Comparison, related: Related) -> Table | None:
    """Counts the radiographs of each split and diagnosis (paper 000, Table 1).

    Returns:
        None without a manifest.
    """
    path = comparison.study / "manifest.csv"
    if not path.is_file():
        return None
    manifest = load_manifest(path)
    fold = comparison.folds[0]
    split = splits_of_fold(manifest, fold)
    columns = [*comparison.diagnoses, TOTAL]
    counts = pd.crosstab(split, manifest["diagnosis"], margins=True, margins_name=TOTAL)
    counts = counts.reindex(index=[*ROWS, TOTAL], columns=columns, fill_value=0)
    lines = []
    for name, row in counts.iterrows():
        named_split = "" if name == TOTAL else str(name)
        printed = [
            related.number("radiographs", diagnosis, split=named_split)
            for diagnosis in comparison.diagnoses
        ]
        printed.append(float(np.sum(printed)))
        cells = [
            f"{ours:,}" if np.isnan(theirs) else f"{ours:,} ({theirs:,.0f})"
            for ours, theirs in zip(row, printed, strict=True)
        ]
        words = (ROWS.get(str(name), TOTAL), *cells)
        lines.append(Line(words, "strong" if name == TOTAL else "plain"))
    return Table(
        name="composition",
        title="Radiographs by split and diagnosis",
        caption=f"Of fold {fold}; in brackets as published.",
        head=("", *columns),
        lines=tuple(lines),
        numbers=counts.rename_axis("split").reset_index(),
        names=1,
    )


def runs_table(comparison: Comparison, related: Related) -> Table:
    """Lists each run with accuracy and F1 on both splits and its minutes, published ones beside.

    It shows what paper 002 compares in its Table 4 (time with and without the crop) and what papers
    000 and 001 claim and never show (with and without masks).
    """
    first = comparison.diagnoses[0]
    reported = related.plan.reported
    lines: list[Line] = []
    numbers: list[dict[str, object]] = []
    for result in printed_runs(comparison):
        arm, learner = result.run.arm, result.run.learner
        row: dict[str, float] = {}
        for split in SPLITS:
            scores = (
                scores_of(result, split, comparison.diagnoses)
                if len(rows_of(result, split))
                else None
            )
            for name, measure in ((OVERALL, "accuracy"), (MACRO, "f1"), (first, "f1")):
                key = f"{split}_{measure if name != MACRO else 'macro_f1'}"
                row[key] = np.nan if scores is None else scores.value(name, measure)
        cost = _cost(result)
        row |= {"epochs": cost.get("epochs", np.nan), "minutes": cost["train_seconds"] / 60}
        row["published_accuracy"] = related.number("accuracy", OVERALL, arm, learner, reported)
        row["published_minutes"] = related.number("minutes", OVERALL, arm, learner)
        scored = [score_cell(row[f"{split}_{m}"]) for m in MEASURES for split in SPLITS]
        lines.append(
            Line(
                (
                    arm,
                    learner,
                    *scored,
                    printed_cell(row["published_accuracy"], "accuracy"),
                    _number(row["epochs"], 0),
                    _number(row["minutes"], 1),
                    _number(row["published_minutes"], 0) if row["published_minutes"] > 0 else "",
                ),
                opens=bool(lines) and lines[-1].cells[1] != learner,
            )
        )
        numbers.append({"arm": arm, "learner": learner, **row})
    both = [f", {word}" for word in SPLITS.values()]
    return Table(
        name="runs",
        title="Every run",
        caption=f"The first fold and repeat of each. Minutes are of training, on "
        f"the device that the table of costs names; published accuracies are on the "
        f"{SPLITS[reported]} images of the papers. Differences of arms with their intervals are "
        "under Differences.",
        head=(
            "arm", "learner", *(f"accuracy{end}" for end in both),
            *(f"macro F1{end}" for end in both),
            "published accuracy", "epochs", "minutes", "published minutes",
        ),
        lines=tuple(lines),
        numbers=pd.DataFrame(numbers),
    )  # fmt: skip


def repeats_table(comparison: Comparison, related: Related) -> Table | None:
    """Shows how far repeated trainings of one recipe lie apart ("unstable", paper 003, Section 4).

    Returns:
        None where nothing was repeated.
    """
    repeated: dict[tuple[str, str], list[Result]] = {}
    fold = comparison.folds[0]
    for result in comparison.trainings:
        if result.run.stage == "base" and result.run.fold == fold:
            key = (result.run.arm, recipe_of(result.run.learner))
            repeated.setdefault(key, []).append(result)
    lines: list[Line] = []
    numbers: list[dict[str, object]] = []
    for (arm, learner), results in repeated.items():
        if len(results) < 2:
            continue
        for split in SPLITS:
            values = [
                scores_of(repeat, split, comparison.diagnoses).accuracy
                for repeat in results
                if len(rows_of(repeat, split))
            ]
            if not values:
                continue
            spread = (min(values), float(np.mean(values)), max(values))
            deviation = float(np.std(values, ddof=1)) if len(values) > 1 else np.nan
            theirs = related.number("accuracy", OVERALL, arm, learner, split)
            lines.append(
                Line(
                    (
                        arm,
                        learner,
                        SPLITS[split],
                        str(len(values)),
                        score_cell(spread[0]),
                        score_cell(spread[1], deviation),
                        score_cell(spread[2]),
                        printed_cell(theirs, "accuracy"),
                    ),
                    opens=split == next(iter(SPLITS)) and bool(lines),
                )
            )
            numbers.append(
                {"arm": arm, "learner": learner, "split": split, "repeats": len(values)}
                | dict(zip(("lowest", "mean", "highest"), spread, strict=True))
                | {"deviation": deviation, "published": theirs}
            )
    if not lines:
        return None
    return Table(
        name="repeats",
        title="Repeated trainings",
        caption="Accuracy of trainings that differ in their seeds alone: lowest, mean ± sample "
        "deviation, highest. A published number that is the highest of several compares with the "
        "highest.",
        head=("arm", "learner", "images", "trainings", "lowest", "mean", "highest", "published"),
        lines=tuple(lines),
        numbers=pd.DataFrame(numbers),
        names=3,
    )


def network_tables(comparison: Comparison, related: Related) -> list[Table]:
    """Lists the layers of each learner's network, once for all arms (papers 000 and 001)."""
    tables = {}
    for result in printed_runs(comparison):
        learner, path = result.run.learner, result.run.folder / "network.csv"
        if learner not in tables and path.is_file():
            published = related.number("parameters", OVERALL, result.run.arm, learner)
            tables[learner] = _network_table(learner, path, published)
    return list(tables.values())


def _network_table(learner: str, path: Path, published: float) -> Table:
    layers = pd.read_csv(path, keep_default_na=False)
    total, parts = layers.iloc[-1], layers.iloc[:-1]
    shown = _shown(parts)
    lines = [
        Line(
            (
                str(row["name"]),
                str(row["type"]),
                str(row["output"]) or UNDEFINED,
                f"{row['parameters']:,}",
                f"{row['trainable']:,}",
            )
        )
        for row in [*shown.to_dict("records"), dict(total) | {"name": TOTAL}]
    ]
    lines[-1] = Line(lines[-1].cells, "strong", opens=True)
    caption = f"{total['layers']} layers; outputs for one image."
    if len(shown) < (parts["layers"] == 1).sum():
        caption += " Blocks are shown whole; every layer is in the run's network.csv."
    if not np.isnan(published):
        caption += f" Published: {published:,.0f} parameters."
    return Table(
        name=f"network_{learner}",
        title=f"The network of {learner}",
        caption=caption,
        head=("layer", "type", "output", "parameters", "trainable"),
        lines=tuple(lines),
        numbers=layers,
        names=3,
    )


def _shown(parts: pd.DataFrame) -> pd.DataFrame:
    """Chooses the deepest level of a network that fits a page, without the modules around it."""
    levels = [
        parts[(parts["depth"] == depth) | ((parts["depth"] < depth) & (parts["layers"] == 1))]
        for depth in range(int(parts["depth"].max()) + 1)
    ]
    fitting = [level for level in levels if len(level) <= MOST_LINES]
    return (fitting or levels[:1])[-1]


def _cost(result: Result) -> dict[str, float]:
    """Reads what a run took; an ensemble and a run without costs have NaN."""
    path = result.run.folder / "cost.json"
    cost = read_json(path) if path.is_file() else {}
    values = {name: cost.get(name) for name in ("epochs", "train_seconds")}
    return {
        name: float(value) if isinstance(value, int | float) else np.nan
        for name, value in values.items()
    }


def _number(value: float, digits: int) -> str:
    return UNDEFINED if np.isnan(value) else f"{value:,.{digits}f}"
