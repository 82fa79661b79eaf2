"""The papers' cohorts: the public fold lists and Table 2 of paper 004, the subset of paper 002."""

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from flannel.data.diagnosis import FLANNEL
from flannel.data.manifest import COLUMNS, ManifestError

CohortRun = Literal["original", "patched"]
NEEDED = ("source", "file", "class_index", "original_run_folds", "patched_run_folds")
LETTERS = re.compile(r"t{5}|(?=.{5}$)r*vr*")
"""Five letters, one per fold: tests always, or validates once and is learnt from otherwise."""

LISTED_IN_REPORT = 10

_KCX_KEY = re.compile(r"person(\d+)_(?:virus|bacteria)_(\d+)|(?:NORMAL2-)?IM-(\d+)-(\d+)", re.I)


@dataclass(frozen=True)
class CohortReport:
    """How a run's lists and a manifest fit together.

    Attributes:
        run: The run whose folds were imported.
        rows: Rows of the run that were found.
        missing: Files that the run used and the manifest lacks, as source and path.
        unused: Images of the manifest that the run did not use.
        labelled_twice: Files that the run holds under two diagnoses.
        relabelled: Rows in which the run's diagnosis is not the one that the source gives.
    """

    run: str
    rows: int
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    labelled_twice: tuple[str, ...]
    relabelled: tuple[str, ...]

    def __str__(self) -> str:
        """Returns the report as text."""
        lines = [f"{self.rows} rows of the {self.run} run were found"]
        for title, names in (
            ("files of the run that are missing", self.missing),
            ("radiographs that the run did not use", self.unused),
            ("files that the run labels twice, each in two rows", self.labelled_twice),
            ("rows with another diagnosis than the source's", self.relabelled),
        ):
            if names:
                more = len(names) - LISTED_IN_REPORT
                lines += [f"{len(names)} {title}:"]
                lines += [f"  {name}" for name in names[:LISTED_IN_REPORT]]
                lines += [f"  and {more} more"] if more > 0 else []
        return "\n".join(lines)


def read_lists(path: Path) -> pd.DataFrame:
    """Reads the original lists: one row per file and label.

    Raises:
        ManifestError: If the file is missing, no CSV table, lacks a column, or writes folds or a
            class otherwise than the lists do.
    """
    if not path.is_file():
        raise ManifestError(f"{path} does not exist; expected the CSV file of the original lists.")
    try:
        lists = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError, EOFError) as fault:
        raise ManifestError(f"{path} is not a CSV table: {fault}.") from fault
    missing = [column for column in NEEDED if column not in lists]
    if missing:
        raise ManifestError(
            f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(lists)}."
        )
    for column in ("original_run_folds", "patched_run_folds"):
        used = lists[lists[column] != ""]
        good = used[column].map(lambda folds: bool(LETTERS.fullmatch(folds)))
        good &= used["class_index"].isin([str(index) for index in range(len(FLANNEL))])
        if not good.all():
            bad = used[~good].iloc[0]
            raise ManifestError(
                f"{path} writes {bad[column]!r} as {column} and {bad['class_index']!r} as class of "
                f"{bad['file']}; expected ttttt or one v among four r, and a class from 0 to 3."
            )
    return lists


def import_run(
    table: pd.DataFrame, lists: pd.DataFrame, run: CohortRun
) -> tuple[pd.DataFrame, CohortReport]:
    """Returns the rows of an original run with its folds and diagnoses.

    A file is found by its source and name; where a name occurs twice, by its path. Like the run
    itself, the result holds a file that was labelled twice in two rows, whose second is named
    `<image_id>-as-<diagnosis>`: the run is to be repeated as it was, and any protocol but this
    one takes each radiograph once, with its own label.

    Args:
        table: A manifest.
        lists: The original lists.
        run: `original` for whole radiographs, `patched` for patches: two different draws.

    Raises:
        ManifestError: If no file of the run is in the manifest.
    """
    folds = f"{run}_run_folds"
    used = lists.loc[lists[folds] != "", ["source", "file", "class_index", folds]]
    used = used.assign(source=used["source"].str.lower(), name=_names(used["file"]))
    own = table.rename(columns={"diagnosis": "own"}).drop(columns=["split", "fold"])
    rows = used.merge(own.assign(name=_names(table["path"])), on=["source", "name"], how="left")
    there = rows["image_id"].notna()
    missing = tuple((rows["source"] + " " + rows["file"])[~there].unique())
    rows = rows[there].assign(diagnosis=lambda f: [FLANNEL[int(i)] for i in f["class_index"]])
    if rows.empty:
        raise ManifestError(
            f"No file of the {run} run is in the manifest; its first is {missing[0]}. Are these "
            "the data sets of paper 004, with their file names?"
        )
    rows["elsewhere"] = [
        not path.endswith(f"/{file}") for path, file in zip(rows["path"], rows["file"], strict=True)
    ]
    rows = rows.sort_values(["elsewhere", "image_id"]).drop_duplicates(
        ["source", "file", "diagnosis"]
    )
    relabelled = rows["diagnosis"] != rows["own"]
    rows = rows.assign(relabelled=relabelled).sort_values(["image_id", "relabelled"])
    second = rows["image_id"].duplicated()
    names = rows["image_id"] + "-as-" + rows["diagnosis"].str.replace(" ", "_")
    report = CohortReport(
        run=run,
        rows=len(rows),
        missing=missing,
        unused=tuple(sorted(set(table["image_id"]) - set(rows["image_id"]))),
        labelled_twice=tuple((rows["source"] + " " + rows["file"])[second]),
        relabelled=tuple(
            f"{row.image_id}: {row.diagnosis}, source {row.own}"
            for row in rows[rows["relabelled"]].itertuples()
        ),
    )
    tests = rows[folds] == "ttttt"
    rows = rows.assign(
        image_id=rows["image_id"].where(~second, names),
        split=np.where(tests, "test", "development"),
        fold=rows[folds].str.find("v").where(~tests).astype("Int64"),
        width=rows["width"].astype(int),
        height=rows["height"].astype(int),
    )
    return rows[list(COLUMNS)].sort_values("image_id", ignore_index=True), report


def one_image_per_key(table: pd.DataFrame) -> pd.DataFrame:
    """Keeps one KCX image per key of FLANNEL's code, as its cohort of 2020 did.

    The key is the person's number with the image's, or the number and sub-number of a normal
    image whatever its series, so that different children share one: 5,389 keys in 5,856 images.
    Which image of a key the code kept is not recorded; here it is the first by name.
    """
    keys = [_kcx_key(row.source, Path(row.path).stem, row.image_id) for row in table.itertuples()]
    kept = ~pd.Series(keys, index=table.index)[table["image_id"].sort_values().index].duplicated()
    return table[kept.reindex(table.index)].reset_index(drop=True)


def _kcx_key(source: str, stem: str, image_id: str) -> str:
    match = _KCX_KEY.match(stem) if source == "kcx" else None
    if match is None:
        return image_id
    person, image, number, sub_number = match.groups()
    return f"person{person}_{image}" if person else f"IM{number}_{sub_number}"


def _names(paths: pd.Series) -> list[str]:
    return [path.rpartition("/")[2] for path in paths]


def balanced_subset(table: pd.DataFrame, per_class: int, seed: int) -> pd.DataFrame:
    """Draws at most so many radiographs of each diagnosis.

    Paper 002 draws 500 normal images and 500 of pneumonia beside its 305 of COVID-19. Which ones
    is unknown; here the draw depends on the images and the seed, not on the order of the rows.

    Args:
        table: A manifest.
        per_class: The most radiographs of one diagnosis; one that has fewer keeps them all.
        seed: Seed of the draw.

    Returns:
        The drawn rows, in the order of the table.

    Raises:
        ManifestError: If `per_class` is below 1.
    """
    if per_class < 1:
        raise ManifestError(f"per_class is {per_class}; expected at least 1.")
    generator = np.random.default_rng(seed)
    drawn: set[str] = set()
    for _, rows in sorted(table.groupby("diagnosis")):
        drawn.update(generator.permutation(sorted(rows["image_id"]))[:per_class])
    return table[table["image_id"].isin(drawn)].reset_index(drop=True)


TOTAL = "Total"
BLOCKS = (("CCX data", "KCX data"), ("AP view", "PA view"), ("Training", "Testing"))
"""Rows that add up to the last row, each pair for itself."""

ORIGINAL_ROWS = 6413


def published_table_2() -> pd.DataFrame:
    """Reads the printed table: rows by name, the total and one column per diagnosis."""
    with files("flannel.data").joinpath("table_2.csv").open(encoding="utf-8") as stream:
        return pd.read_csv(stream, index_col="row").drop(columns="source")


def counted_table_2(table: pd.DataFrame) -> pd.DataFrame:
    """Counts a manifest of CCX and KCX in the rows of the table; training includes validation."""
    frontal = np.where(table["view"].str.upper().str.contains("AP"), "AP view", "PA view")
    parts = (
        table["source"].str.upper() + " data",
        pd.Series(frontal, index=table.index),
        table["split"].map({"test": "Testing", "development": "Training"}),
    )
    rows = [name for block in BLOCKS for name in block]
    counts = pd.concat([pd.crosstab(part, table["diagnosis"]) for part in parts])
    counts = counts.reindex(index=rows, columns=list(FLANNEL), fill_value=0)
    counts.loc[TOTAL] = table["diagnosis"].value_counts().reindex(list(FLANNEL), fill_value=0)
    counts.insert(0, TOTAL, counts.sum(axis=1))
    return counts.astype(int).rename_axis(index="row", columns=None)


def arithmetic_errors(printed: pd.DataFrame) -> list[str]:
    """Names the cells of a table because of which neither its row nor its column adds up."""
    row_excess = printed[list(FLANNEL)].sum(axis=1) - printed[TOTAL]
    errors = []
    for block in BLOCKS:
        column_excess = printed.loc[list(block)].sum() - printed.loc[TOTAL]
        errors += [
            f"{row}, {name}: printed {printed.loc[row, name]:,}, but its row adds up to "
            f"{printed.loc[row, TOTAL]:,} and its column to {printed.loc[TOTAL, name]:,} only with "
            f"{printed.loc[row, name] - row_excess[row]:,}."
            for row in block
            for name in FLANNEL
            if row_excess[row] == column_excess[name] != 0
        ]
    return errors


def table_2_markdown(table: pd.DataFrame) -> str:
    """Writes the counted table with the printed numbers beside it, and why they differ.

    Args:
        table: A manifest with the folds of an original run
            (`flannel.data.original_cohorts.import_run`).
    """
    counted, printed = counted_table_2(table), published_table_2()
    lines = [
        "# Table 2 of paper 004, counted again",
        "",
        "Rows of the cohort; in brackets what the paper prints, where it is another number. "
        "Training is training and validation together.",
        "",
        f"| | {' | '.join(counted.columns)} |",
        f"|---|{'---:|' * len(counted.columns)}",
    ]
    for row in counted.index:
        cells = [_cell(counted.loc[row, name], printed.loc[row, name]) for name in counted.columns]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    lines += ["", "Errors of arithmetic in the printed table:", ""]
    lines += [f"- {sentence}" for sentence in arithmetic_errors(printed)]
    lines += ["", "Why the numbers differ:", ""]
    lines += [f"- {sentence}" for sentence in _differences(table, counted, printed)]
    return "\n".join([*lines, ""])


def _cell(counted: int, printed: int) -> str:
    return f"{counted:,}" if counted == printed else f"{counted:,} ({printed:,})"


def _differences(table: pd.DataFrame, counted: pd.DataFrame, printed: pd.DataFrame) -> list[str]:
    rows, files_ = len(table), table["path"].nunique()
    if rows != ORIGINAL_ROWS:
        return [
            f"The authors' lists hold {ORIGINAL_ROWS:,} rows and this cohort {rows:,}: other "
            "numbers than the paper's are first of all due to that."
        ]
    fewer = {
        name: int(counted.loc[TOTAL, name] - printed.loc[TOTAL, name])
        for name in FLANNEL
        if counted.loc[TOTAL, name] != printed.loc[TOTAL, name]
    }
    listed = " and ".join(f"{count} {name}" for name, count in fewer.items())
    sentences = [
        f"The lists hold {rows:,} rows of {files_:,} files: {rows - files_} files, AP views of one "
        "CCX patient whose images without an offset share one key, carry both labels of that key, "
        "COVID-19 and Normal.",
        f"The paper prints {printed.loc[TOTAL, TOTAL]:,}, {sum(fewer.values())} rows fewer: "
        f"{listed}, all of CCX and in AP view. That is what remains of the four rows "
        "when one of the two files counts once, as COVID-19, and the other not at all. No rule of "
        "the code gives it: with both labels COVID-19 counts 479, without the two files 477, and "
        "each file once makes 555 CCX images, not 554.",
    ]
    if counted.loc["Testing"].equals(printed.loc["Testing"]):
        sentences.append(
            "The printed test row is that of the lists, two of the four rows included, so that all "
            "three fall on training: its row is the smaller total without the test row."
        )
    else:
        sentences.append(
            "The printed test row is that of the original run; the patched run drew another."
        )
    return sentences
