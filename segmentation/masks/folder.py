"""A folder of lung masks, whose tables are right whenever a process that makes masks is killed."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from flannel.data.outputs import MARKER, is_output, mark_as_output
from flannel.files import remove_left_overs, whole_file
from flannel.runs.run import Run
from segmentation.checkpoint import MaskError
from segmentation.masks.biomarkers import Biomarkers
from segmentation.masks.quality import MaskQuality

Origin = Literal["predicted", "reference"]
MASK_COLUMNS = (
    "image_id", "origin", "area_share", "parts", "balance", "touches_border", "border_share",
    "removed_share", "mean_confidence", "flag", "made_from",
)  # fmt: skip
LATER_COLUMNS = ("balance", "border_share", "removed_share")
"""Columns that tables of earlier versions lack; they are read as unknown."""
BIOMARKER_COLUMNS = (
    "image_id", "lung_area_px", "lung_area_share", "mean_intensity", "sd_intensity",
    "cardiothoracic_ratio",
)  # fmt: skip


@dataclass(frozen=True)
class MaskRow:
    """One line of `masks.csv`: a radiograph's mask, where it comes from and how good it looks.

    Attributes:
        image_id: The radiograph.
        origin: `predicted` by the segmenter, or a `reference` that was imported.
        quality: How the mask looks.
        made_from: Hash of all that decides the mask: weights, radiograph and options, or the
            reference file.
    """

    image_id: str
    origin: Origin
    quality: MaskQuality
    made_from: str


def load_mask_rows(path: Path) -> dict[str, MaskRow]:
    """Reads a `masks.csv`, by image; an absent file holds no rows.

    Raises:
        MaskError: If the file lacks a column or holds something else than such rows.
    """
    required = tuple(name for name in MASK_COLUMNS if name not in LATER_COLUMNS)
    with _reading(path, required):
        return {cells["image_id"]: _mask_row(cells) for cells in _read_table(path, required)}


def save_mask_rows(rows: Mapping[str, MaskRow], path: Path) -> None:
    """Writes a `masks.csv`, sorted by image, whole or not at all."""
    _write_table(path, MASK_COLUMNS, [_mask_cells(row) for _, row in sorted(rows.items())])


def load_biomarkers(path: Path) -> dict[str, Biomarkers]:
    """Reads a `biomarkers.csv`, by image; an absent file holds no rows.

    Raises:
        MaskError: If the file lacks a column or holds something else than such rows.
    """
    with _reading(path, BIOMARKER_COLUMNS):
        return {
            cells["image_id"]: _biomarkers(cells) for cells in _read_table(path, BIOMARKER_COLUMNS)
        }


def save_biomarkers(measures: Mapping[str, Biomarkers], path: Path) -> None:
    """Writes a `biomarkers.csv`, sorted by image, whole or not at all."""
    records = [
        {"image_id": name, **_cells(asdict(measured))}
        for name, measured in sorted(measures.items())
    ]
    _write_table(path, BIOMARKER_COLUMNS, records)


def journal_line(row: MaskRow, measures: Biomarkers | None) -> str:
    """Writes a mask and its measures as one line."""
    return json.dumps([_mask_cells(row), _cells(asdict(measures)) if measures else None]) + "\n"


def from_journal_line(line: str) -> tuple[MaskRow, Biomarkers | None] | None:
    """Reads a line of `journal_line`; one that is torn, as a killed process leaves it, is None."""
    try:
        mask, measures = json.loads(line)
        return _mask_row(mask), _biomarkers(measures) if measures else None
    except (ValueError, KeyError, TypeError):
        return None


@contextmanager
def _reading(path: Path, columns: tuple[str, ...]) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, csv.Error) as fault:
        raise MaskError(
            f"{path} is no table with the columns {', '.join(columns)} ({fault!r}). "
            "Delete it, and the masks are made again; import references again, too."
        ) from fault


def _read_table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        lacking = set(columns) - set(reader.fieldnames or ())
        if lacking:
            raise KeyError(*sorted(lacking))
        return list(reader)


def _write_table(
    path: Path, columns: tuple[str, ...], records: Iterable[Mapping[str, str]]
) -> None:
    with whole_file(path) as beside, beside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(records)


def _cells(record: Mapping[str, object]) -> dict[str, str]:
    def text(value: object) -> str:
        return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)

    return {name: text(value) for name, value in record.items()}


def _mask_cells(row: MaskRow) -> dict[str, str]:
    head = {"image_id": row.image_id, "origin": row.origin, "made_from": row.made_from}
    return _cells({**head, **asdict(row.quality)})


def _number(text: str | None) -> float | None:
    return float(text) if text else None


def _mask_row(cells: Mapping[str, str]) -> MaskRow:
    match cells["origin"]:
        case "predicted" | "reference" as origin:
            pass
        case other:
            raise MaskError(f"origin {other!r}")
    return MaskRow(
        image_id=cells["image_id"],
        origin=origin,
        quality=MaskQuality(
            area_share=float(cells["area_share"]),
            parts=int(cells["parts"]),
            balance=_number(cells.get("balance")),
            touches_border={"True": True, "False": False}[cells["touches_border"]],
            border_share=_number(cells.get("border_share")),
            removed_share=_number(cells.get("removed_share")),
            mean_confidence=_number(cells["mean_confidence"]),
            flag=cells["flag"],
        ),
        made_from=cells["made_from"],
    )


def _biomarkers(cells: Mapping[str, str]) -> Biomarkers:
    return Biomarkers(
        lung_area_px=int(cells["lung_area_px"]),
        lung_area_share=float(cells["lung_area_share"]),
        mean_intensity=_number(cells["mean_intensity"]),
        sd_intensity=_number(cells["sd_intensity"]),
        cardiothoracic_ratio=_number(cells["cardiothoracic_ratio"]),
    )


TABLE = "masks.csv"
JOURNAL = ".journal.jsonl"


class MaskFolder:
    """Masks `<image_id>.png`, with `masks.csv` and `biomarkers.csv`.

    While masks are made, each is noted in a line of the journal, so that a kill loses none; `save`
    turns the journal into the tables.

    Args:
        path: The folder; it need not exist.

    Raises:
        MaskError: If a table is damaged.

    Attributes:
        path: The folder.
        rows: The masks, by image.
        biomarkers: The measures, by image.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = load_mask_rows(path / TABLE)
        self.biomarkers = load_biomarkers(path / "biomarkers.csv")
        journal = path / JOURNAL
        if journal.is_file():
            for line in journal.read_text(encoding="utf-8", errors="replace").splitlines():
                noted = from_journal_line(line)
                if noted is not None:
                    self._take(*noted)

    def place(self, image_id: str) -> Path:
        """Returns the file of an image's mask."""
        return self.path / f"{image_id}.png"

    def add(self, row: MaskRow, measures: Biomarkers | None) -> None:
        """Notes a mask that has just been written, in place of an earlier one."""
        self._take(row, measures)
        with writing(self.path), (self.path / JOURNAL).open("a", encoding="utf-8") as stream:
            stream.write(journal_line(row, measures))

    def save(self) -> None:
        """Writes both tables, each whole or not at all, and ends the journal."""
        with writing(self.path):
            save_mask_rows(self.rows, self.path / TABLE)
            save_biomarkers(self.biomarkers, self.path / "biomarkers.csv")
            (self.path / JOURNAL).unlink(missing_ok=True)

    def _take(self, row: MaskRow, measures: Biomarkers | None) -> None:
        self.rows[row.image_id] = row
        self.biomarkers.pop(row.image_id, None)
        if measures is not None:
            self.biomarkers[row.image_id] = measures


def predicted_masks(files: Iterable[Path]) -> set[Path]:
    """Returns the mask files that this project has predicted, by the tables of their folders.

    Raises:
        MaskError: If such a table is damaged.
    """
    origins: dict[Path, Mapping[Path, Origin]] = {}

    def is_predicted(file: Path) -> bool:
        at = file.resolve()
        for folder in at.parents:  # masks of radiographs in sub-folders lie in sub-folders too
            if is_output([TABLE], folder):
                if folder not in origins:
                    masks = MaskFolder(folder)
                    origins[folder] = {masks.place(i): row.origin for i, row in masks.rows.items()}
                return origins[folder].get(at) == "predicted"
        return (at.parent / MARKER).exists()

    return {file for file in files if is_predicted(file)}


@contextmanager
def open_mask_folder(path: Path) -> Iterator[MaskFolder]:
    """Opens a folder of masks for one process to write to; its tables are saved at the end.

    What a killed process has left half written is removed.

    Raises:
        MaskError: If a table is damaged, or the folder cannot be written.
        RunError: If another process works in the folder.
    """
    with writing(path):
        lock = Run(path, {}).lock()
    try:
        with writing(path):
            remove_left_overs(path)
            mark_as_output(path)
        masks = MaskFolder(path)
        masks.save()
        try:
            yield masks
        finally:
            masks.save()
    finally:
        lock.release()


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns what the disk says against a file in the folder into a sentence.

    Raises:
        MaskError: If the block raises an OSError.
    """
    try:
        yield
    except OSError as fault:
        raise MaskError(
            f"{folder} cannot be written ({fault.strerror or fault}). Make room or choose another "
            "folder: the same command goes on with the masks that are there."
        ) from fault
