"""Any radiographs, listed in a CSV table named `radiographs.csv`."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from flannel.data.findings import FRONTAL, SourceError, SourceRow, Split
from flannel.data.phantom import varied_size, write_phantom
from flannel.files import whole_file
from flannel.progress import announce

NAME = "table"
FILE = "radiographs.csv"
LABELS = ("finding", "diagnosis")
COLUMNS = (
    "path", "finding", "diagnosis", "patient_id", "group", "view", "source", "split", "fold", "age",
    "sex", "licence",
)  # fmt: skip
SPLITS: dict[str, Split] = {
    "": "", "train": "development", "val": "development", "development": "development",
    "test": "test",
}  # fmt: skip

Record = dict[str, str]


def is_here(folder: Path) -> bool:
    """Returns whether the folder holds `radiographs.csv`."""
    return (folder / FILE).is_file()


def rows(folder: Path) -> list[SourceRow]:
    """Lists the radiographs of the table, in its order.

    Columns are addressed by name, whatever their case: `path`, relative to the table, and
    `finding` or `diagnosis`, the words of a label table (`flannel/data/labels/`);
    where both are, the finding counts and the diagnosis fills its blanks. Optional are
    `patient_id`, `group`, `view`, `source`, `split` (train, val, test, development), `fold`, `age`,
    `sex` and `licence`; others are passed over. Without the column `view` all are taken as frontal.

    `group`, the cautious identity, is taken as written, so that it can name a group of another
    source (`ccx-12`); without it, it is the source with the patient, and without a patient with
    the file. Rows without a path are named on stderr.

    Args:
        folder: Holds `radiographs.csv`.

    Raises:
        SourceError: If the table cannot be read, lacks a needed column or has an unknown split.
    """
    path = folder / FILE
    records, columns = _records(path)
    _check_splits(path, records)
    _check_folds(path, records)
    empty = [str(line) for line, record in enumerate(records, start=2) if not record["path"]]
    if empty:
        announce(f"{path}: no path in line {', '.join(empty)}; these rows are left out.")
    frontal = "" if "view" in columns else FRONTAL
    return [_row(folder, record, frontal) for record in records if record["path"]]


def _records(path: Path) -> tuple[list[Record], Sequence[str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = [name.strip().lower() for name in reader.fieldnames or ()]
            columns = ["licence" if name == "license" else name for name in columns]
            reader.fieldnames = columns
            records = [
                {name: (record.get(name) or "").strip() for name in COLUMNS} for record in reader
            ]
    except (UnicodeDecodeError, csv.Error) as fault:
        raise SourceError(f"{path} is not a CSV table in UTF-8: {fault}.") from fault
    if "path" not in columns or not any(name in columns for name in LABELS):
        raise SourceError(
            f"{path} has the columns {', '.join(filter(None, columns)) or '(none)'}; expected "
            "path, and finding or diagnosis."
        )
    return records, columns


def _check_splits(path: Path, records: Sequence[Record]) -> None:
    strange = sorted({record["split"] for record in records} - set(SPLITS))
    if strange:
        raise SourceError(
            f"{path} holds the split {', '.join(map(repr, strange))}; expected train, val, test, "
            "development or nothing."
        )


def _check_folds(path: Path, records: Sequence[Record]) -> None:
    strange = sorted({record["fold"] for record in records if not _is_fold(record)})
    if strange:
        raise SourceError(
            f"{path} holds the fold {', '.join(map(repr, strange))}; expected a whole number from "
            "0 on, and nothing in rows of the split test or val."
        )


def _is_fold(record: Record) -> bool:
    number = record["fold"]
    if record["split"] in ("test", "val"):
        return not number
    return not number or (number.isascii() and number.isdigit() and len(number) < 4)


def _row(folder: Path, record: Record, frontal: str) -> SourceRow:
    source = record["source"] or NAME
    patient = record["patient_id"] or record["path"]
    return SourceRow(
        source=source,
        path=folder / record["path"],
        patient_id=patient,
        group=record["group"] or f"{source}-{patient}",
        finding=record["finding"] or record["diagnosis"],
        view=record["view"] or frontal,
        age=record["age"],
        sex=record["sex"],
        licence=record["licence"],
        split=SPLITS[record["split"]],
        fold=0 if record["split"] == "val" else int(record["fold"]) if record["fold"] else None,
    )


def write_table(folder: Path, records: Sequence[Mapping[str, str]]) -> None:
    """Writes `radiographs.csv`, with the columns that any record has, whole or not at all.

    Args:
        folder: Gets the table.
        records: Values by column, of the columns that `rows` reads.
    """
    columns = [name for name in COLUMNS if any(record.get(name) for record in records)]
    with whole_file(folder / FILE) as beside, beside.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(records)


def write_phantoms(folder: Path, counts: Mapping[str, int], seed: int, size: int = 512) -> None:
    """Writes a table of made-up radiographs, two images of each patient.

    Args:
        folder: Gets `radiographs.csv` and `images/`.
        counts: Images to draw, by diagnosis.
        seed: Seed of all randomness.
        size: Nominal side of the images in pixels.
    """
    records = []
    for kind, (diagnosis, count) in enumerate(counts.items()):
        for number in range(count):
            generator = np.random.default_rng([seed, 13, kind, number])
            name = f"images/phantom-{kind}-{number:05d}.png"
            write_phantom(folder / name, diagnosis, generator, varied_size(generator, size))
            patient = f"{kind}-{number // 2}"
            records.append(
                {"path": name, "diagnosis": diagnosis, "patient_id": patient, "view": "PA"}
            )
    write_table(folder, records)
