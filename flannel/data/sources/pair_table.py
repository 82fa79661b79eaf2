"""Image + mask pairs of any sets, listed in a CSV table."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from flannel.data.diagnosis import FLANNEL
from flannel.data.findings import SourceError
from flannel.data.mask import write_mask
from flannel.data.phantom import varied_size, write_phantom
from flannel.data.sources.mask_pairs import (
    LUNGS,
    SIDES,
    MaskPair,
    check_conventions,
    convention_of,
    tell_left_out,
    told_apart,
)
from flannel.files import whole_file
from flannel.progress import announce

SPLITS = ("", "train", "val", "test")
LUNG_COLUMNS = {"mask": LUNGS}
SIDE_COLUMNS = dict(zip(("left_mask", "right_mask"), SIDES, strict=True))
OTHER_COLUMNS = {"heart_mask": "heart"}
PHANTOM_SOURCES = ("one", "two")

Record = dict[str, str]


def is_here(path: Path) -> bool:
    """Returns whether the path is a CSV file."""
    return path.suffix.lower() == ".csv" and path.is_file()


def pairs(path: Path) -> list[MaskPair]:
    """Lists the pairs of a table, in its order.

    Columns are addressed by name, whatever their case: `image`, and `mask` or both `left_mask`
    and `right_mask`, with paths relative to the table's folder. Optional are `heart_mask`,
    `patient`, `group` (the cautious identity, taken in its place where both are), `source`,
    `convention` and `split`; others are passed over. A `split` with other words than train, val
    and test is the publisher's own affair and is passed over, with a line on stderr. Rows without
    a convention have that of `convention.txt` beside the table, if it is there. A stem that
    several sources share gets its source as a prefix. Rows whose files are missing, and stems
    that still occur twice, are left out and named on stderr.

    Args:
        path: The table, with commas, in UTF-8.

    Raises:
        SourceError: If the table cannot be read, lacks a needed column or names an unknown
            convention.
    """
    records = _records(path)
    check_conventions(path, [record.get("convention", "") for record in records])
    default = convention_of(path.parent)
    has_split = _has_split(path, records)
    listed, faults = [], []
    for number, record in enumerate(records, start=1):
        masks = _masks(record, path.parent)
        if not record["image"] or not masks:
            faults.append(f"Row {number} names no {'mask' if record['image'] else 'image'}.")
            continue
        pair = MaskPair(
            image=path.parent / record["image"],
            masks=masks,
            stem=Path(record["image"]).stem,
            convention=record.get("convention") or default,
            origin=record.get("source") or path.stem,
            patient=record.get("group") or record.get("patient", ""),
            split=record["split"] if has_split else "",
        )
        if missing := [file for file in pair.files if not file.is_file()]:
            faults.append(f"Row {number}: {', '.join(map(str, missing))} missing.")
        else:
            listed.append(pair)
    apart, alike = told_apart(listed, [pair.origin for pair in listed])
    tell_left_out(path, faults + alike)
    return apart


def _records(path: Path) -> list[Record]:
    """Reads the rows, with the names of columns in lower case."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = [str(name).strip().lower() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            records = [
                {str(name): str(value or "").strip() for name, value in row.items()}
                for row in reader
            ]
    except (UnicodeDecodeError, csv.Error) as fault:
        raise SourceError(f"{path} is not a CSV table in UTF-8: {fault}.") from fault
    named = all(name in columns for name in LUNG_COLUMNS)
    if "image" not in columns or not (named or all(name in columns for name in SIDE_COLUMNS)):
        raise SourceError(
            f"{path} has the columns {', '.join(filter(None, columns)) or '(none)'}; expected "
            "image, and mask or left_mask and right_mask."
        )
    return records


def _masks(record: Record, folder: Path) -> dict[str, tuple[Path, ...]]:
    """Returns the mask files that a row names by structure; none if it lacks the lungs."""
    if all(record.get(column) for column in SIDE_COLUMNS):
        columns = SIDE_COLUMNS
    elif record.get("mask"):
        columns = LUNG_COLUMNS
    else:
        return {}
    return {
        structure: (folder / record[column],)
        for column, structure in (columns | OTHER_COLUMNS).items()
        if record.get(column)
    }


def _has_split(path: Path, records: Sequence[Record]) -> bool:
    words = {record.get("split", "") for record in records}
    strange = sorted(words - set(SPLITS))
    if strange:
        announce(
            f"{path}: the column split says {', '.join(strange)}; only train, val and test are "
            "taken as a split, so the column is passed over."
        )
    return not strange and words != {""}


def write_phantoms(path: Path, count: int, seed: int, size: int = 512) -> None:
    """Writes a table of made-up pairs of two sources, two images of each patient.

    Args:
        path: The table; `images/` and `masks/` come beside it.
        count: Pairs to draw.
        seed: Seed of all randomness.
        size: Nominal side of the images in pixels.
    """
    columns = ("image", "mask", "source", "patient", "convention", "split")
    rows = []
    for number in range(count):
        generator = np.random.default_rng([seed, 7, number])
        diagnosis = FLANNEL[number % len(FLANNEL)]
        patient = number // 2
        source, name = PHANTOM_SOURCES[patient % 2], f"phantom-{number:05d}.png"
        image, mask = f"{source}/images/{name}", f"{source}/masks/{name}"
        size_px = varied_size(generator, size)
        phantom = write_phantom(path.parent / image, diagnosis, generator, size_px)
        write_mask(phantom.left_lung | phantom.right_lung, path.parent / mask)
        split = ("train", "train", "train", "val", "test")[patient % 5]
        rows.append((image, mask, source, f"patient-{patient}", "scr", split))
    with (
        whole_file(path) as beside,
        beside.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(rows)
