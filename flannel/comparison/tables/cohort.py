"""Tables 1 and 2 of paper 004: what segmenter and learners were trained and tested on."""

from pathlib import Path

import numpy as np
import pandas as pd

from flannel.comparison.tables.cells import UNDEFINED, score_cell
from flannel.comparison.tables.layout import Line, Table
from flannel.data.diagnosis import FLANNEL
from flannel.data.manifest import load_manifest
from flannel.data.original_cohorts import TOTAL, published_table_2
from flannel.data.provenance import label_set_of
from flannel.files import read_json

PUBLISHED_SEGMENTER = {
    "segmenter": "FC-DenseNet103, paper 004",
    "train": 197,
    "val": 50,
    "val_jaccard": 0.9339,
}
"""Paper 004, Table 1 and Section 3.3.1: JSRT's 247 radiographs; the Jaccard index is on the 50."""

SPLITS = {"test": "Testing", "rotating": "Training and testing in turn"}
"""What the paper calls the manifest's splits; all others are `Training`."""


def table_1(study: Path) -> Table | None:
    """Counts what the segmenters learnt from, beside paper 004's Table 1.

    Returns:
        None without a finished segmenter.
    """
    rows: list[dict[str, object]] = [dict(PUBLISHED_SEGMENTER)]
    for path in sorted(study.glob("segmentation/*/metrics.json")):
        metrics = read_json(path)
        row: dict[str, object] = {"segmenter": path.parent.name}
        for split in ("train", "val", "test"):
            row[split] = metrics.get(f"{split}/radiographs")
            for end in ("", "_low", "_high"):
                row[f"{split}_jaccard{end}"] = metrics.get(f"{split}/jaccard{end}")
        rows.append(row)
    if len(rows) == 1:
        return None
    columns = ["segmenter", "train", "val", "test"]
    columns += [f"{s}_jaccard{end}" for s in ("val", "test") for end in ("", "_low", "_high")]
    numbers = pd.DataFrame(rows).reindex(columns=columns)
    lines = [
        Line(
            (
                str(row["segmenter"]),
                *(_count(row[split]) for split in ("train", "val", "test")),
                *(_jaccard(row, split) for split in ("val", "test")),
            ),
            "soft" if place == 0 else "plain",
        )
        for place, row in numbers.iterrows()
    ]
    return Table(
        name="table_1",
        title="What the segmenters learnt from",
        caption="Radiographs with lung masks, and the Jaccard index of the masks found; in "
        "brackets the 95 % interval over groups of patients.",
        head=(
            "segmenter", "training", "validation", "test", "Jaccard, validation", "Jaccard, test",
        ),
        lines=tuple(lines),
        numbers=numbers,
        names=1,
    )  # fmt: skip


def table_2(study: Path) -> Table | None:
    """Counts the cohort by source, view and split, beside paper 004's Table 2.

    A study of other diagnoses than the paper's has its own counts only.

    Returns:
        None without a manifest.
    """
    path = study / "manifest.csv"
    if not path.is_file():
        return None
    diagnoses = label_set_of(study)
    manifest = load_manifest(path)
    manifest = manifest[manifest["diagnosis"].isin(diagnoses)]
    counted = _counted(manifest, diagnoses)
    papers = diagnoses == FLANNEL
    printed = published_table_2() if papers else pd.DataFrame()
    lines: list[Line] = []
    for (block, name), row in counted.iterrows():
        theirs = printed.loc[name] if name in printed.index else None
        cells = [
            _beside(row[column], None if theirs is None else theirs[column]) for column in counted
        ]
        opens = bool(lines) and lines[-1].cells[0] != block
        lines.append(Line((block, name, *cells), "strong" if name == TOTAL else "plain", opens))
    return Table(
        name="table_2",
        title="The cohort",
        caption="Radiographs by true diagnosis"
        + "; in brackets what paper 004 prints in its Table 2" * papers
        + ". Training is training and validation together.",
        head=("", "", *counted.columns),
        lines=tuple(lines),
        numbers=counted.reset_index(),
    )


def _counted(manifest: pd.DataFrame, diagnoses: tuple[str, ...]) -> pd.DataFrame:
    """Counts by block and row, a column per diagnosis after the total."""
    frontal = manifest["view"].str.upper()
    view = np.select(
        [frontal.str.contains("AP"), frontal.str.contains("PA")], ["AP view", "PA view"], "unknown"
    )
    split = manifest["split"].map(SPLITS).fillna("Training")
    blocks = {
        "source": manifest["source"].str.upper() + " data",
        "view": pd.Series(view, index=manifest.index),
        "split": split,
    }
    counts = {
        block: pd.crosstab(values, manifest["diagnosis"]).reindex(
            columns=list(diagnoses), fill_value=0
        )
        for block, values in blocks.items()
    }
    counts["split"] = counts["split"].sort_index(ascending=False)  # training first
    total = manifest["diagnosis"].value_counts().reindex(list(diagnoses), fill_value=0)
    counts[""] = pd.DataFrame([total], index=[TOTAL])
    table = pd.concat(counts, names=["block", "row"]).astype(int)
    table.insert(0, TOTAL, table.sum(axis=1))
    return table.rename_axis(columns=None)


def _count(value: float) -> str:
    return UNDEFINED if pd.isna(value) else f"{int(value):,}"


def _beside(ours: int, printed: int | None) -> str:
    return f"{ours:,}" if printed is None else f"{ours:,} ({printed:,})"


def _jaccard(row: pd.Series, split: str) -> str:
    mean, low, high = (
        np.nan if pd.isna(row[f"{split}_jaccard{end}"]) else float(row[f"{split}_jaccard{end}"])
        for end in ("", "_low", "_high")
    )
    return score_cell(mean, interval=(low, high), digits=(4, 4))
