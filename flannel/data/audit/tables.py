"""The tables of the audit: counts, sizes, people, licences and labels of a cohort."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image, UnidentifiedImageError

from flannel.data.diagnosis import LABEL_SETS
from flannel.data.findings import MAPPINGS
from flannel.data.manifest import patients_of

ADULT_YEARS = 18
PIXELS = {
    "1": "1 bit",
    "L": "8-bit grey",
    "LA": "8-bit grey with transparency",
    "P": "palette",
    "PA": "palette",
    "RGB": "8-bit colour",
    "RGBA": "8-bit colour with transparency",
    "CMYK": "8-bit colour",
    "YCbCr": "8-bit colour",
}
"""Pillow's modes in words."""


@dataclass(frozen=True)
class CountRow:
    """One line of the table of counts, laid out as Table 2 of paper 004."""

    heading: str
    name: str
    total: int
    by_diagnosis: Mapping[str, int]


@dataclass(frozen=True)
class DetailRow:
    """Radiographs of one source, diagnosis and view, by split."""

    source: str
    diagnosis: str
    view: str
    by_split: Mapping[str, int]


@dataclass(frozen=True)
class SizeRow:
    """Widths and heights of one source in pixels: smallest, median, largest."""

    source: str
    images: int
    width: tuple[int, int, int]
    height: tuple[int, int, int]
    different_sizes: int
    kinds: Mapping[str, int]


@dataclass(frozen=True)
class PeopleRow:
    """Patients of one source and diagnosis; ages in years, counted by radiograph."""

    source: str
    diagnosis: str
    patients: int
    images: int
    age_known: int
    age: tuple[float, float, float] | None
    minors: int
    sexes: Mapping[str, int]


@dataclass(frozen=True)
class LabelCount:
    """One finding: radiographs in the cohort, and its diagnosis under every mapping.

    Attributes:
        finding: In the source's own words.
        images: Radiographs of the cohort that have it.
        diagnosis: What the cohort makes of it; several with commas, "" where no radiograph has it.
        diagnoses: By mapping; "" where the mapping leaves it out.
        reasons: By mapping, why it is left out.
    """

    finding: str
    images: int
    diagnosis: str
    diagnoses: Mapping[str, str]
    reasons: Mapping[str, str]


def count_rows(table: pd.DataFrame) -> list[CountRow]:
    """Counts radiographs by source, view and split, each over the diagnoses, and in total."""
    views = table["view"].map(view_family)
    parts = {"Source": table["source"], "View": views, "Split": table["split"]}
    rows = []
    for heading, names in parts.items():
        for name in sorted(names.unique()):
            rows.append(_count_row(heading, name or "unknown", table[names == name]))
    return [*rows, _count_row("Total", "", table)]


def view_family(view: str) -> str:
    """Returns `AP` for any anteroposterior view, such as AP Supine, `PA`, or the view itself."""
    upper = view.upper()
    families = [family for family in ("AP", "PA") if family in upper.split()]
    return families[0] if len(families) == 1 else view


def detail_rows(table: pd.DataFrame) -> list[DetailRow]:
    """Counts radiographs by source, diagnosis, view and split."""
    return [
        DetailRow(source, diagnosis, view, frequencies(part["split"]))
        for (source, diagnosis, view), part in table.groupby(["source", "diagnosis", "view"])
    ]


def size_rows(table: pd.DataFrame) -> list[SizeRow]:
    """Sums up the sizes and formats of each source's files."""
    return [
        SizeRow(
            source=source,
            images=len(part),
            width=_spread(part["width"]),
            height=_spread(part["height"]),
            different_sizes=len(part[["width", "height"]].drop_duplicates()),
            kinds=frequencies(part["path"].map(lambda path: file_kind(Path(path)))),
        )
        for source, part in table.groupby("source")
    ]


def people_rows(table: pd.DataFrame) -> list[PeopleRow]:
    """Sums up ages and sexes by source and diagnosis; an age that is no number is unknown."""
    patients = patients_of(table)
    rows = []
    for (source, diagnosis), part in table.groupby(["source", "diagnosis"]):
        ages = pd.to_numeric(part["age"], errors="coerce").dropna()
        rows.append(
            PeopleRow(
                source=source,
                diagnosis=diagnosis,
                patients=patients[part.index].nunique(),
                images=len(part),
                age_known=len(ages),
                age=(float(ages.min()), float(ages.median()), float(ages.max()))
                if len(ages)
                else None,
                minors=int((ages < ADULT_YEARS).sum()),
                sexes=frequencies(part["sex"]),
            )
        )
    return rows


def label_rows(findings: pd.Series, diagnoses: pd.Series) -> list[LabelCount]:
    """Returns what the cohort and every mapping of this project make of each finding.

    Args:
        findings: Of the cohort's radiographs, which come first.
        diagnoses: Of the same radiographs, by the cohort's own mapping.
    """
    here = Counter(findings)
    made = diagnoses.groupby(findings).unique()
    known = {
        finding
        for mapping in MAPPINGS.values()
        for finding in (*mapping.diagnoses, *mapping.left_out)
    }
    return [
        LabelCount(
            finding=finding,
            images=here[finding],
            diagnosis=", ".join(sorted(made.get(finding, ()))),
            diagnoses={name: m.diagnoses.get(finding, "") for name, m in MAPPINGS.items()},
            reasons={
                name: m.left_out.get(finding, "not in this mapping")
                for name, m in MAPPINGS.items()
                if finding not in m.diagnoses
            },
        )
        for finding in sorted(known | set(here), key=lambda finding: (-here[finding], finding))
    ]


def file_kind(path: Path) -> str:
    """Names format and pixels of an image file by its header, such as "JPEG, 8-bit grey"."""
    try:
        with Image.open(path) as picture:
            pixels = "16-bit grey" if picture.mode.startswith("I;16") else PIXELS.get(picture.mode)
            return f"{picture.format}, {pixels or f'mode {picture.mode}'}"
    except FileNotFoundError:
        return "file not there"
    except (UnidentifiedImageError, OSError):
        return f"{path.suffix.lstrip('.').upper() or 'no'} format, depth not known"


def in_order(diagnoses: Iterable[str]) -> list[str]:
    """Orders diagnoses as the first label set that has them all, else by name."""
    known = sorted(set(diagnoses))
    for label_set in LABEL_SETS.values():
        if set(known) <= set(label_set):
            return [diagnosis for diagnosis in label_set if diagnosis in known]
    return known


def frequencies(names: pd.Series) -> dict[str, int]:
    """Counts each name, the most frequent first."""
    return dict(Counter(names.tolist()).most_common())


def counted_by(outer: pd.Series, inner: pd.Series) -> dict[str, dict[str, int]]:
    """Counts the names of `inner` for each name of `outer`."""
    return {name: frequencies(part) for name, part in inner.groupby(outer)}


def _count_row(heading: str, name: str, part: pd.DataFrame) -> CountRow:
    return CountRow(heading, name, len(part), frequencies(part["diagnosis"]))


def _spread(pixels: pd.Series) -> tuple[int, int, int]:
    return int(pixels.min()), int(pixels.median()), int(pixels.max())
