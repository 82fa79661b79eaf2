"""Findings as the sources write them, and the diagnosis that each stands for."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from flannel.data.diagnosis import LABEL_SETS
from flannel.errors import FlannelError

Split = Literal["", "test", "development"]

LABELS = Path(__file__).with_name("labels")
"""The folder of the label tables: one CSV file per source."""

FRONTAL = "AP or PA"
"""The view of radiographs whose set says that they are frontal, or nothing, and not which way."""


class SourceError(FlannelError):
    """Raised when a folder is not the data set it should be."""


@dataclass(frozen=True)
class SourceRow:
    """One radiograph as its source lists it; text that the source does not give is "".

    Attributes:
        source: Short name of the data set, such as `ccx`.
        path: The image file; it may be missing.
        patient_id: The strict identity.
        group: The cautious identity, unique over all sources.
        finding: The finding in the source's own words.
        view: The projection, such as `PA` or `AP Supine`.
        split: Where the source itself puts the image, if it has a test set.
        fold: 0 where the source itself validates on the image, None elsewhere.
        unfit: Why the row is no chest radiograph ("modality CT"), or "".
    """

    source: str
    path: Path
    patient_id: str
    group: str
    finding: str
    view: str
    age: str = ""
    sex: str = ""
    licence: str = ""
    split: Split = ""
    fold: int | None = None
    unfit: str = ""


@dataclass(frozen=True)
class LabelRow:
    """What a label table says of one finding.

    Attributes:
        finding: The finding in the source's own words.
        diagnoses: The diagnosis under each mapping, "" where it is left out.
        reason: Why it is left out wherever it is; "" if only because a mapping does not list it.
    """

    finding: str
    diagnoses: Mapping[str, str]
    reason: str


@dataclass(frozen=True)
class LabelMapping:
    """A reading of findings, compared as whole strings.

    Attributes:
        diagnoses: Finding to diagnosis.
        left_out: Finding to the reason why it has none; any finding in neither is "not mapped".
        label_set: The diagnoses that occur, in order.
    """

    diagnoses: Mapping[str, str]
    left_out: Mapping[str, str]
    label_set: tuple[str, ...]


def read_label_tables(folder: Path = LABELS) -> dict[str, tuple[LabelRow, ...]]:
    """Reads the label tables, by source.

    A table has the column `finding`, one column per mapping with a diagnosis or nothing, and
    `reason`.

    Args:
        folder: Holds `<source>.csv`.

    Raises:
        SourceError: If a table lacks a column, writes a diagnosis that is not in the mapping's
            label set, or says of a finding something else than another row does.
    """
    tables = {path.stem: _read_table(path) for path in sorted(folder.glob("*.csv"))}
    readings: dict[str, LabelRow] = {}
    for source, rows in tables.items():
        for row in rows:
            if readings.setdefault(row.finding, row) != row:
                raise SourceError(
                    f"{folder / source}.csv reads the finding {row.finding!r} otherwise than "
                    "another row does; a finding has one meaning, whichever source writes it."
                )
    return tables


def label_mappings(tables: Iterable[Iterable[LabelRow]]) -> dict[str, LabelMapping]:
    """Turns label tables into one mapping per name in `LABEL_SETS`."""
    rows = [row for table in tables for row in table]
    return {
        name: LabelMapping(
            {row.finding: row.diagnoses[name] for row in rows if row.diagnoses[name]},
            {row.finding: row.reason for row in rows if row.reason and not row.diagnoses[name]},
            label_set,
        )
        for name, label_set in LABEL_SETS.items()
    }


def _read_table(path: Path) -> tuple[LabelRow, ...]:
    with path.open(newline="", encoding="utf-8") as stream:
        records = list(csv.DictReader(stream, restval=""))
    missing = [c for c in ("finding", *LABEL_SETS, "reason") if not records or c not in records[0]]
    if missing:
        raise SourceError(f"{path} lacks the column {', '.join(missing)}; write it, or one row.")
    for record in records:
        for name, label_set in LABEL_SETS.items():
            if record[name] not in ("", *label_set):
                raise SourceError(
                    f"{path} reads {record['finding']!r} as {record[name]!r} under {name}; "
                    f"expected {', '.join(label_set)} or nothing."
                )
    return tuple(
        LabelRow(record["finding"], {name: record[name] for name in LABEL_SETS}, record["reason"])
        for record in records
    )


LABEL_TABLES: Mapping[str, tuple[LabelRow, ...]] = MappingProxyType(read_label_tables())
"""What each source's findings mean; `generic` is for folders by class and for CSV tables."""

MAPPINGS: Mapping[str, LabelMapping] = MappingProxyType(label_mappings(LABEL_TABLES.values()))
"""`flannel` is the papers' own list of strings for CCX and KCX; `wide` takes every viral and every
bacterial pneumonia and COVID-19 with ARDS, and leaves fungi out. The others have the label sets of
papers 000 to 003."""
