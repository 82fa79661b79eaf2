"""The original cohort of paper 004: its public fold lists, and the smaller one of 2020."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from flannel.data.diagnosis import FLANNEL
from flannel.data.manifest import COLUMNS, ManifestError

Run = Literal["original", "patched"]
NEEDED = ("source", "file", "class_index", "original_run_folds", "patched_run_folds")
LETTERS = re.compile(r"t{5}|(?=.{5}$)r*vr*")
"""Five letters, one per fold: tests always, or validates once and is learnt from otherwise."""

LISTED_IN_REPORT = 10

_KCX_KEY = re.compile(r"person(\d+)_(?:virus|bacteria)_(\d+)|(?:NORMAL2-)?IM-(\d+)-(\d+)", re.I)


@dataclass(frozen=True)
class ImportReport:
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
        """Gives the report as text."""
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
    table: pd.DataFrame, lists: pd.DataFrame, run: Run
) -> tuple[pd.DataFrame, ImportReport]:
    """Gives the rows of an original run with its folds and diagnoses.

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
    found = used.merge(own.assign(name=_names(table["path"])), on=["source", "name"], how="left")
    there = found["image_id"].notna()
    missing = tuple((found["source"] + " " + found["file"])[~there].unique())
    found = found[there].assign(diagnosis=lambda f: [FLANNEL[int(i)] for i in f["class_index"]])
    if found.empty:
        raise ManifestError(
            f"No file of the {run} run is in the manifest; its first is {missing[0]}. Are these "
            "the data sets of paper 004, with their file names?"
        )
    found["elsewhere"] = [
        not path.endswith(f"/{file}")
        for path, file in zip(found["path"], found["file"], strict=True)
    ]
    found = found.sort_values(["elsewhere", "image_id"]).drop_duplicates(
        ["source", "file", "diagnosis"]
    )
    relabelled = found["diagnosis"] != found["own"]
    found = found.assign(relabelled=relabelled).sort_values(["image_id", "relabelled"])
    second = found["image_id"].duplicated()
    names = found["image_id"] + "-as-" + found["diagnosis"].str.replace(" ", "_")
    report = ImportReport(
        run=run,
        rows=len(found),
        missing=missing,
        unused=tuple(sorted(set(table["image_id"]) - set(found["image_id"]))),
        labelled_twice=tuple((found["source"] + " " + found["file"])[second]),
        relabelled=tuple(
            f"{row.image_id}: {row.diagnosis}, source {row.own}"
            for row in found[found["relabelled"]].itertuples()
        ),
    )
    tests = found[folds] == "ttttt"
    found = found.assign(
        image_id=found["image_id"].where(~second, names),
        split=np.where(tests, "test", "development"),
        fold=found[folds].str.find("v").where(~tests).astype("Int64"),
        width=found["width"].astype(int),
        height=found["height"].astype(int),
    )
    return found[list(COLUMNS)].sort_values("image_id", ignore_index=True), report


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
