"""The manifest: one row per radiograph, from raw sources to the table all stages read."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pandas as pd

from flannel.data.diagnosis import LabelError
from flannel.data.findings import (
    KNOWN_FINDINGS,
    MAPPINGS,
    LabelMapping,
    SourceError,
    SourceRow,
    as_written,
    mapping_named,
)
from flannel.data.headers import Header, header_of, is_dicom_file
from flannel.data.inspection import FileFacts, inspect_files
from flannel.data.likeness import joined_groups
from flannel.data.names import LONGEST_BYTES, image_id, is_file_name, shown
from flannel.data.open_sets import how_to_get_radiographs
from flannel.data.projections import AP, FRONTAL, PA, projection_of_words
from flannel.data.sources import OWN_SETS, SOURCES, folder_per_class
from flannel.data.walk import NAMES_SHOWN, Left, folders_in, left_in_words, walk
from flannel.errors import FlannelError
from flannel.files import whole_file
from flannel.progress import announce, progress

COLUMNS = (
    "image_id", "path", "source", "patient_id", "group", "diagnosis", "finding", "view", "age",
    "sex", "licence", "width", "height", "sha256", "split", "fold",
)  # fmt: skip
NUMBERS = ("width", "height")
SPLITS = ("", "test", "development", "train", "val", "rotating")
"""What an image is for, together with `fold` (flannel.data.folds.splits_of_fold); "" is open."""
VIEWS = (AP, PA, FRONTAL)
"""An image is kept when its view is one of these."""
UNLISTED = "images that their data set does not list"
NO_SET = "folders of no data set that is known"


class ManifestError(FlannelError):
    """Raised when a manifest, or the folder it should be made from, cannot be used."""


@dataclass(frozen=True)
class ManifestReport:
    """What became of the rows of the sources.

    Attributes:
        counts: Images in the manifest, by source and diagnosis.
        left_out: Images that are not, by source and reason.
        bad_files: A sentence, with the path, for each file that is missing or unreadable.
        folder: Where the radiographs were looked for.
        passed_over: Files and folders in it that no row is about, and those left out by their
            DICOM header, by reason.
        patients_joined: By how many there are fewer groups because headers give one Patient ID.
        colours: The label set in order, each diagnosis with its colour.
    """

    counts: Mapping[tuple[str, str], int]
    left_out: Mapping[tuple[str, str], int]
    bad_files: tuple[str, ...]
    folder: Path = Path()
    passed_over: Left = field(default_factory=dict)
    patients_joined: int = 0
    colours: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Returns the report as plain text, with the first names of what was passed over."""
        return self.text(NAMES_SHOWN)

    def text(self, names: int | None = None) -> str:
        """Returns the report as plain text tables.

        Args:
            names: How many names of each reason to pass over a file; None shows all.
        """
        lines = [f"{sum(self.counts.values())} radiographs in the manifest"]
        wide = max((len(what) for _, what in [*self.counts, *self.left_out]), default=0)
        for title, numbers in (("", self.counts), ("left out:", self.left_out)):
            lines += [title] if title and numbers else []
            lines += [f"  {s:<6} {what:<{wide}} {n:>6}" for (s, what), n in sorted(numbers.items())]
        if self.bad_files:
            lines += [f"{len(self.bad_files)} files that cannot be used:"]
            lines += [f"  {sentence}" for sentence in self.bad_files]
        if self.patients_joined:
            lines.append(f"{self.patients_joined} groups were joined by Patient ID (DICOM headers)")
        if self.passed_over:
            lines.append(f"passed over in {shown(self.folder)}:")
            lines += [f"  {x}" for x in left_in_words(self.passed_over, self.folder, names)]
        return "\n".join(lines)


def build_manifest(
    folder: Path,
    sources: Sequence[str] | None = None,
    mapping: str = "flannel",
    strict: bool = False,
    cache: Path | None = None,
) -> tuple[pd.DataFrame, ManifestReport]:
    """Makes the manifest of all known data sets in a folder.

    Every file is read once, so that one that is truncated or no radiograph is found here and not
    in the middle of a training (`flannel.data.inspection`). Files with the same stem stay apart by
    their content's hash; identical files are kept, with their groups joined. `split` says what the
    source itself prescribes (for the fold protocol `given`), `fold` is 0 where it validates.

    Args:
        folder: A data set as downloaded, or a folder that holds several.
        sources: Short names of the data sets to take, of `flannel.data.sources.SOURCES`; None
            takes all found.
        mapping: Which findings are which diagnosis: a name in `flannel.data.findings.MAPPINGS`, a
            CSV table as `flannel.data.findings.read_mapping` reads, or "folders": findings are
            the diagnoses, those that have a usable radiograph.
        strict: Refuse the whole when a file is missing or unreadable, instead of listing it.
        cache: Remembers the files there, so that the next call reads only what changed.

    Returns:
        The manifest, sorted by image, and what became of each row.

    Raises:
        ManifestError: If the folder, a source or the mapping is missing, nothing is left, or,
            with `strict`, a file is bad.
    """
    try:
        named = mapping_named(mapping)
        known = KNOWN_FINDINGS if mapping in MAPPINGS else named.findings if named else None
        rows, own, passed_over = _source_rows(folder, sources, known)
        labels = named or as_written(row.finding for row in rows if not _reason_against(row))
    except (SourceError, LabelError) as fault:
        raise ManifestError(str(fault)) from fault
    if known is not None:
        _name_unknown(own, known, mapping)
    left_out: Counter[tuple[str, str]] = Counter()
    wanted: list[tuple[SourceRow, str]] = []
    for row in rows:
        diagnosis, reason = _read_label(row, labels)
        if reason:
            left_out[row.source, reason] += 1
        else:
            wanted.append((row, diagnosis))
    files = inspect_files([row.path for row, _ in wanted], cache)
    records, patients = _records(wanted, files, left_out, passed_over)
    bad_files = tuple(file.fault for file in files if file.fault)
    if strict and bad_files:
        listed = "\n  ".join(bad_files)
        raise ManifestError(f"{len(bad_files)} files of {folder} cannot be used:\n  {listed}")
    counts = Counter((str(r["source"]), str(r["diagnosis"])) for r in records.values())
    report = ManifestReport(dict(counts), dict(left_out), bad_files, folder, passed_over)
    present = {diagnosis for _, diagnosis in counts} if named is None else set(labels.label_set)
    colours = {name: colour for name, colour in labels.colours.items() if name in present}
    if not records:
        raise ManifestError(f"No radiograph of {folder} can be used:\n{report}")
    table = pd.DataFrame.from_records(list(records.values()), columns=COLUMNS)
    groups = joined_groups(table["group"].tolist(), table["sha256"].tolist())
    table["group"] = joined_groups(groups, table["image_id"].map(patients).tolist())
    joined = len(set(groups)) - table["group"].nunique()
    report = replace(report, patients_joined=joined, colours=colours)
    table["fold"] = table["fold"].astype("Int64")
    return table.sort_values("image_id", ignore_index=True), report


def save_manifest(table: pd.DataFrame, path: Path) -> None:
    """Writes a manifest, sorted by image, whole or not at all.

    Raises:
        ManifestError: If the table breaks the schema.
    """
    _check(table, "The manifest")
    with whole_file(path) as beside:
        table[list(COLUMNS)].sort_values("image_id").to_csv(beside, index=False)


def load_manifest(path: Path) -> pd.DataFrame:
    """Reads and checks a manifest.

    Returns:
        The table, sorted by image: text columns with "" where unknown, `width` and `height` in
        pixels as integers, `fold` as nullable integers.

    Raises:
        ManifestError: If the file is missing, lacks a column, names an image twice, or holds
            something else than a number as width, height or fold, or an unknown split.
    """
    if not path.is_file():
        raise ManifestError(f"{path} does not exist: make it first (make data DATA=folder).")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as fault:
        raise ManifestError(f"{path} is not a CSV table: {fault}.") from fault
    _check_columns(table, str(path))
    for column in NUMBERS:
        table[column] = _whole_numbers(table, column, path).astype(int)
    folds = _whole_numbers(table[table["fold"] != ""], "fold", path)
    table["fold"] = folds.reindex(table.index).astype("Int64")
    _check(table, str(path))
    return table.sort_values("image_id", ignore_index=True)


def patients_of(table: pd.DataFrame) -> pd.Series:
    """Names every radiograph's patient, with the source in front; its group where none is known."""
    known = table["patient_id"] != ""
    return table["source"] + " " + table["patient_id"].where(known, table["group"])


def _source_rows(
    folder: Path, names: Sequence[str] | None, classes: Set[str] | None
) -> tuple[list[SourceRow], list[SourceRow], dict[str, list[Path]]]:
    """Lists the rows of the wanted sources, found in the folder itself or one level below.

    Args:
        folder: Where to look.
        names: Of sources; None takes all.
        classes: Names that class folders may have; None allows any.

    Returns:
        The rows, those of them that the user labelled (`OWN_SETS`), and what no row is about, by
        reason.
    """
    if not folder.is_dir():
        raise ManifestError(
            f"{folder} is not a folder; expected one that holds the data sets.\n"
            f"{how_to_get_radiographs(folder)}"
        )
    unknown = [name for name in names or () if name not in SOURCES]
    if unknown:
        raise ManifestError(f"Source {unknown[0]!r} is unknown; choose {_either(SOURCES)}.")
    inside = folders_in(folder)
    rows: list[SourceRow] = []
    own: list[SourceRow] = []
    used: list[Path] = []
    for name in names or SOURCES:
        is_here = SOURCES[name].is_here
        if name == folder_per_class.NAME:
            is_here = partial(is_here, classes=classes)
        places = [place for place in (folder, *inside) if is_here(place)]
        # chest_xray/ is found from above and by itself: the outermost place holds it all.
        places = [p for p in places if p == folder or folder not in places]
        if names and not places:
            raise ManifestError(f"No source {name!r} was found in {folder} or one level below.")
        for place in places:
            used.append(place)
            listed = SOURCES[name].rows(place)
            rows += listed
            own += listed if name in OWN_SETS else []
    if not used:
        raise ManifestError(
            f"No known data set was found in {folder} or one level below; expected metadata.csv "
            "with images/ (ccx), chest_xray/ with train, val or test (kcx), radiographs.csv, or "
            "another layout of docs/data_sets.md. Folders by class with names of your own need "
            f"the mapping 'folders', or one in a CSV table.\n{how_to_get_radiographs(folder)}"
        )
    paths = {os.path.normpath(row.path) for row in rows}
    return rows, own, _passed_over(folder, used, inside, paths)


def _name_unknown(rows: Sequence[SourceRow], known: Set[str], mapping: str) -> None:
    """Names the classes of a user's folders or table that the mapping does not read."""
    unknown = Counter(row.finding for row in rows if row.finding and row.finding not in known)
    if unknown:
        names = ", ".join(f"{name!r} ({count})" for name, count in unknown.most_common())
        announce(
            f"{unknown.total()} of {len(rows)} radiographs are left out, for the mapping {mapping} "
            f"does not read {names}. To take these names as diagnoses, choose the mapping "
            "'folders'; to translate them, a CSV table with the columns finding and diagnosis."
        )


def _passed_over(
    folder: Path, used: Sequence[Path], inside: Sequence[Path], listed: Set[str]
) -> dict[str, list[Path]]:
    """Finds, by reason, what lies in the folder and is no row's file.

    Args:
        folder: Where data sets were looked for.
        used: The folders in which there are some: itself, or sub-folders.
        inside: All its sub-folders.
        listed: Files of rows.
    """
    left: dict[str, list[Path]] = {}
    for place in [folder] if folder in used else dict.fromkeys(used):
        files = walk(place)
        unlisted = [path for path in files.images if os.path.normpath(path) not in listed]
        for reason, paths in ({UNLISTED: unlisted} | files.left).items():
            if paths:
                left.setdefault(reason, []).extend(paths)
    others = [] if folder in used else [place for place in inside if place not in used]
    return left | {NO_SET: others} if others else left


def _read_label(row: SourceRow, mapping: LabelMapping) -> tuple[str, str]:
    """Returns the diagnosis of a row, or the reason why it is left out."""
    if reason := _reason_against(row):
        return "", reason
    diagnosis = mapping.diagnoses.get(row.finding, "")
    why = mapping.left_out.get(row.finding, "not in the label mapping")
    return diagnosis, "" if diagnosis else f"finding {row.finding or '(empty)'}: {why}"


def _reason_against(row: SourceRow) -> str:
    """Returns why a row is no frontal chest radiograph, or ""."""
    if row.unfit or projection_of_words(row.view) in VIEWS:
        return row.unfit
    return f"view {row.view or 'not written'}"


def _records(
    wanted: Sequence[tuple[SourceRow, str]],
    files: Sequence[FileFacts],
    left_out: Counter[tuple[str, str]],
    passed_over: dict[str, list[Path]],
) -> tuple[dict[str, dict[str, object]], dict[str, str]]:
    """Makes the records of good files, and counts those that their header leaves out.

    Returns:
        The records, and for each what names its patient; both by image_id.
    """
    records: dict[str, dict[str, object]] = {}
    patients: dict[str, str] = {}
    headers = _headers([row.path for row, _ in wanted], files)
    for (row, diagnosis), file, header in zip(wanted, files, headers, strict=True):
        if file.fault:
            continue
        if header.reasons_against:
            reason = "; ".join(header.reasons_against)
            left_out[row.source, reason] += 1
            passed_over.setdefault(f"left out, {reason}", []).append(row.path)
            continue
        record = _record(row, diagnosis, file, header)
        name = str(record["image_id"])
        patients.setdefault(name, header.patient or name)
        if (first := records.setdefault(name, record)) is not record:
            twice = "listed or copied twice under one name"
            differs = ", with another diagnosis" if first["diagnosis"] != diagnosis else ""
            left_out[row.source, twice + differs] += 1
    return records, patients


def _headers(paths: Sequence[Path], files: Sequence[FileFacts]) -> list[Header]:
    """Returns what the headers of good files say; nothing of other formats than DICOM.

    They are read each time: a Patient ID is not to be remembered in a file.
    """
    good = [path for path, file in zip(paths, files, strict=True) if not file.fault]
    with ThreadPoolExecutor() as threads:
        kinds = zip(good, threads.map(is_dicom_file, good), strict=True)
        dicom = [path for path, kind in kinds if kind]
        looked = threads.map(header_of, dicom)
        read = progress(looked, len(dicom), "Looking at DICOM headers") if dicom else ()
        headers = dict(zip(dicom, read, strict=True))
    return [headers.get(path) or Header() for path in paths]


def _record(row: SourceRow, diagnosis: str, file: FileFacts, header: Header) -> dict[str, object]:
    return {
        "image_id": image_id(row.source, row.path.stem, file.sha256),
        "path": str(row.path.resolve()),
        "source": row.source,
        "patient_id": row.patient_id,
        "group": row.group,
        "diagnosis": diagnosis,
        "finding": row.finding,
        "view": header.view if row.view == FRONTAL and header.view else row.view,
        "age": row.age,
        "sex": row.sex,
        "licence": row.licence,
        "width": file.width,
        "height": file.height,
        "sha256": file.sha256,
        "split": row.split,
        "fold": pd.NA if row.fold is None else row.fold,
    }


def _check_columns(table: pd.DataFrame, name: str) -> None:
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise ManifestError(
            f"{name} lacks the columns {', '.join(missing)}; it has {', '.join(table.columns)}. "
            "Make it again (make data DATA=folder)."
        )


def _check(table: pd.DataFrame, name: str) -> None:
    _check_columns(table, name)
    for column in ("image_id", "path", "group", "diagnosis"):
        if (table[column] == "").any():
            line = int((table[column] == "").to_numpy().argmax()) + 2
            raise ManifestError(f"{name} has no {column} in line {line}.")
    twice = table["image_id"][table["image_id"].duplicated()]
    if len(twice):
        raise ManifestError(f"{name} holds the image {twice.iloc[0]} more than once.")
    unsafe = table["image_id"][~table["image_id"].map(is_file_name).astype(bool)]
    if len(unsafe):
        raise ManifestError(
            f"{name} holds the image {unsafe.iloc[0]!r}, which cannot be the name of its mask: "
            "expected a file name without separators and control characters, of at most "
            f"{LONGEST_BYTES} bytes. Make it again (make data DATA=folder)."
        )
    strange = sorted(set(table["split"]) - set(SPLITS))
    if strange:
        raise ManifestError(
            f"{name} holds {strange[0]!r} as split; expected {', '.join(SPLITS[1:])} or nothing."
        )


def _whole_numbers(table: pd.DataFrame, column: str, path: Path) -> pd.Series:
    digits = table[column].str.fullmatch(r"\d+")
    if not digits.all():
        first = table[~digits.astype(bool)].iloc[0]
        raise ManifestError(
            f"{path} holds {first[column]!r} as {column} of the image {first['image_id']}; "
            "expected a whole number."
        )
    return pd.to_numeric(table[column])


def _either(names: Mapping[str, object]) -> str:
    return " or ".join(names)
