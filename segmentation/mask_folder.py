"""A folder of lung masks, whose tables are right whenever a process that makes masks is killed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flannel.data.files import remove_left_overs
from flannel.data.outputs import mark_as_output
from flannel.runs import Run
from segmentation.biomarkers import Biomarkers
from segmentation.mask_tables import (
    MaskRow,
    from_journal_line,
    journal_line,
    load_biomarkers,
    load_mask_rows,
    save_biomarkers,
    save_mask_rows,
)
from segmentation.masks import MaskError

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
        self.rows = load_mask_rows(path / "masks.csv")
        self.biomarkers = load_biomarkers(path / "biomarkers.csv")
        journal = path / JOURNAL
        if journal.is_file():
            for line in journal.read_text(encoding="utf-8", errors="replace").splitlines():
                noted = from_journal_line(line)
                if noted is not None:
                    self._take(*noted)

    def place(self, image_id: str) -> Path:
        """Gives the file of an image's mask."""
        return self.path / f"{image_id}.png"

    def add(self, row: MaskRow, measures: Biomarkers | None) -> None:
        """Notes a mask that has just been written, in place of an earlier one."""
        self._take(row, measures)
        with writing(self.path), (self.path / JOURNAL).open("a", encoding="utf-8") as stream:
            stream.write(journal_line(row, measures))

    def save(self) -> None:
        """Writes both tables, each whole or not at all, and ends the journal."""
        with writing(self.path):
            save_mask_rows(self.rows, self.path / "masks.csv")
            save_biomarkers(self.biomarkers, self.path / "biomarkers.csv")
            (self.path / JOURNAL).unlink(missing_ok=True)

    def _take(self, row: MaskRow, measures: Biomarkers | None) -> None:
        self.rows[row.image_id] = row
        self.biomarkers.pop(row.image_id, None)
        if measures is not None:
            self.biomarkers[row.image_id] = measures


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
