import subprocess
import sys
from dataclasses import replace

import pytest
from filelock import FileLock

from flannel.data.outputs import MARKER, mark_as_output
from flannel.errors import RunError
from flannel.files import MACHINE
from segmentation.checkpoint import MaskError
from segmentation.masks.biomarkers import Biomarkers
from segmentation.masks.folder import (
    JOURNAL,
    MaskFolder,
    MaskRow,
    load_biomarkers,
    load_mask_rows,
    open_mask_folder,
    predicted_masks,
)
from segmentation.masks.quality import MaskQuality

ROW = MaskRow("a", "predicted", MaskQuality(0.25, 2, 0.5, False, 0.0, 0.0, 0.75, ""), "f00")
MEASURES = Biomarkers(400, 0.25, 0.5, 0.125)


def test_what_was_noted_before_a_kill_is_there_afterwards(tmp_path):
    killed = MaskFolder(tmp_path)
    killed.add(ROW, MEASURES)
    with (tmp_path / JOURNAL).open("a") as stream:
        stream.write('[{"image_id": "b", "ori')
    with open_mask_folder(tmp_path) as masks:
        assert masks.rows == {"a": ROW}
        assert not (tmp_path / JOURNAL).exists()
        assert load_mask_rows(tmp_path / "masks.csv") == {"a": ROW}
    assert load_biomarkers(tmp_path / "biomarkers.csv") == {"a": MEASURES}


def test_predicted_masks_are_known_by_the_table_of_their_folder(tmp_path):
    """Also in sub-folders and through links; imported references and other files are not."""
    with open_mask_folder(tmp_path / "ours") as masks:
        masks.add(ROW, MEASURES)
        masks.add(replace(ROW, image_id="sub/1.2.3"), None)
        masks.add(replace(ROW, image_id="drawn", origin="reference"), None)
    (tmp_path / "link").symlink_to(tmp_path / "ours")
    (tmp_path / "single.png").symlink_to(tmp_path / "ours" / "a.png")
    (tmp_path / "marked").mkdir()
    mark_as_output(tmp_path / "marked")
    (tmp_path / "masks.csv").write_text("image,origin,a table of somebody else\n")
    predicted = ["ours/a.png", "ours/sub/1.2.3.png", "link/a.png", "single.png", "marked/b.png"]
    others = ["ours/drawn.png", "ours/unknown.png", "a.png", "elsewhere/a.png"]
    places = {tmp_path / name for name in predicted}
    assert predicted_masks(places | {tmp_path / name for name in others}) == places


def test_tables_are_saved_when_the_work_fails(tmp_path):
    def work() -> None:
        with open_mask_folder(tmp_path) as masks:
            masks.add(ROW, MEASURES)
            raise RuntimeError("by intention")

    with pytest.raises(RuntimeError, match="by intention"):
        work()
    assert load_mask_rows(tmp_path / "masks.csv") == {"a": ROW}


def test_a_mask_without_measures_takes_the_earlier_ones_away(tmp_path):
    masks = MaskFolder(tmp_path)
    masks.add(ROW, MEASURES)
    masks.add(ROW, None)
    assert masks.biomarkers == {}
    assert MaskFolder(tmp_path).biomarkers == {}


def test_half_written_files_of_a_killed_process_are_removed_and_nothing_else(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / f".{ended.pid}-{MACHINE}-a.png").touch()
    theirs = {".hidden", ".2026-11-30-notes.txt", ".3d-layout.json", ".12-tree.png", "a.png"}
    for name in theirs:
        (tmp_path / name).touch()
    (tmp_path / ".7-folder").mkdir()
    with open_mask_folder(tmp_path):
        pass
    ours = {MARKER, ".lock", "masks.csv", "biomarkers.csv"}
    assert {path.name for path in tmp_path.iterdir()} == theirs | ours | {".7-folder"}


def test_one_process_at_a_time_and_a_sentence_from_the_disk(tmp_path):
    with (
        FileLock(tmp_path / ".lock"),  # as another process would hold it
        pytest.raises(RunError, match="Another process"),
        open_mask_folder(tmp_path),
    ):
        pass
    (tmp_path / "file").touch()
    with (
        pytest.raises(MaskError, match="file cannot be written"),
        open_mask_folder(tmp_path / "file"),
    ):
        pass
