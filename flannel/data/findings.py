"""Findings as the sources write them, and the diagnosis that each stands for."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from flannel.data.diagnosis import LABEL_SETS, LabelError, coloured
from flannel.errors import FlannelError

Split = Literal["", "test", "development"]

LABELS = Path(__file__).with_name("labels")
"""The folder of this project's label mappings: one CSV table for each."""

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
        fold: 0 where the source itself validates on the image, the fold that a table gives it, or
            None.
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
class LabelMapping:
    """A reading of findings, compared as whole strings.

    Attributes:
        diagnoses: Finding to diagnosis.
        left_out: Finding to the reason why it has none; any finding in neither is "not mapped".
        colours: The label set in order, each diagnosis with its colour, such as "#D55E00".
    """

    diagnoses: Mapping[str, str]
    left_out: Mapping[str, str]
    colours: Mapping[str, str]

    @property
    def label_set(self) -> tuple[str, ...]:
        """The diagnoses, in order."""
        return tuple(self.colours)

    @property
    def findings(self) -> frozenset[str]:
        """Every finding of which the mapping says something."""
        return frozenset({*self.diagnoses, *self.left_out})


def read_mapping(path: Path) -> LabelMapping:
    """Reads a label mapping, one of this project's or of a user's.

    The table has the columns `finding` and `diagnosis`, which is empty where a finding is left out.
    Optional are `reason`, why it is left out, and `colour` of the diagnosis. The label set is in
    the order in which its diagnoses first appear.

    Args:
        path: A CSV file in UTF-8.

    Raises:
        SourceError: If it cannot be read, lacks a column, reads a finding in two ways, or gives a
            diagnosis a name or colour that cannot be used.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            head, *rows = list(csv.reader(stream)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise SourceError(
            f"{path} is no label mapping: {fault}. Expected a CSV table in UTF-8 with the columns "
            "finding and diagnosis."
        ) from fault
    columns = [name.strip().lower() for name in head]
    records = [
        dict(zip(columns, (cell.strip() for cell in row), strict=False)) for row in rows if any(row)
    ]
    if not {"finding", "diagnosis"} <= set(columns) or not records:
        raise SourceError(
            f"{path} has the columns {', '.join(columns) or '(none)'} and {len(records)} rows; "
            "expected finding and diagnosis, and a row for each finding."
        )
    diagnoses: dict[str, str] = {}
    left_out: dict[str, str] = {}
    chosen: dict[str, str] = {}
    for record in records:
        finding, diagnosis = record["finding"], record.get("diagnosis", "")
        before = diagnoses.get(finding, "" if finding in left_out else diagnosis)
        if before != diagnosis:
            raise SourceError(
                f"{path} reads the finding {finding!r} as {before or 'left out'} and as "
                f"{diagnosis or 'left out'}; a finding has one meaning."
            )
        if diagnosis:
            diagnoses[finding] = diagnosis
            chosen[diagnosis] = record.get("colour", "") or chosen.get(diagnosis, "")
        else:
            left_out[finding] = record.get("reason", "") or "left out by the mapping"
    try:
        return LabelMapping(diagnoses, left_out, coloured(list(chosen), chosen))
    except LabelError as fault:
        raise SourceError(f"{path}: {fault}") from fault


def as_written(findings: Iterable[str]) -> LabelMapping:
    """Takes findings for the diagnoses: what folders or a column say, in the order of names.

    Names such as normal or healthy come last, so that the first diagnosis is one of a disease.

    Args:
        findings: Of all radiographs; empty ones are left out.

    Raises:
        LabelError: If a name cannot be that of a diagnosis.
    """
    names = sorted(
        {*findings} - {""}, key=lambda name: (name.lower() in HEALTHY, name.lower(), name)
    )
    return LabelMapping({name: name for name in names}, {}, coloured(names))


HEALTHY = frozenset(
    {"control", "controls", "healthy", "negative", "no finding", "no findings", "no_findings",
     "none", "normal"}
)  # fmt: skip
"""Names of diagnoses, in small letters, that mean no disease."""

MAPPINGS: Mapping[str, LabelMapping] = MappingProxyType(
    {name: read_mapping(LABELS / f"{name}.csv") for name in LABEL_SETS}
)
"""`flannel` is the papers' own list of strings for CCX and KCX; `wide` takes every viral and every
bacterial pneumonia and COVID-19 with ARDS, and leaves fungi out. The others have the label sets of
papers 000 to 003."""

KNOWN_FINDINGS = frozenset().union(*(mapping.findings for mapping in MAPPINGS.values()))
"""The findings that a mapping of this project reads."""

AS_WRITTEN = "folders"
"""The name of the mapping that takes findings for the diagnoses."""


def mapping_named(name: str) -> LabelMapping | None:
    """Returns a mapping of this project or of a file; None for that of the findings themselves.

    Args:
        name: Of `MAPPINGS`, "folders", or the path of a CSV table.

    Raises:
        SourceError: If there is no such mapping, or as `read_mapping`.
    """
    if name == AS_WRITTEN:
        return None
    if name in MAPPINGS:
        return MAPPINGS[name]
    if name.lower().endswith(".csv"):
        return read_mapping(Path(name))
    raise SourceError(
        f"Label mapping {name!r} is unknown. Choose {', '.join(MAPPINGS)}; {AS_WRITTEN}, which "
        "takes the names of folders, or the column of a table, for the diagnoses; or a CSV table "
        "with the columns finding and diagnosis."
    )
