"""Files and folders as people have them."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from flannel.files import sha256_of
from flannel.prediction.incoming import COLUMNS, collect


def write(path, level=100, size=(50, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.full(size[::-1], level, np.uint8)
    levels[:5] = 7
    Image.fromarray(levels).save(path)
    return path


def test_folders_are_gone_through_and_files_are_named_by_content(tmp_path):
    folder = tmp_path / "in"
    one = write(folder / "ward 3" / "Müller, A.png")
    write(folder / ".hidden" / "x.png", 1)
    write(folder / ".y.png", 2)
    write(folder / "out" / "mask.png", 3)
    (folder / "notes.txt").write_text("read me")
    inbox = collect([folder], folder / "out")
    assert tuple(inbox.table.columns) == COLUMNS
    (row,) = inbox.table.itertuples()
    assert row.image_id == f"M_ller_A-{sha256_of(one)[:8]}"
    assert (row.path, row.sha256, row.width, row.height) == (str(one), sha256_of(one), 50, 40)
    assert inbox.faults == ()
    assert inbox.passed_over == (
        f"{folder}: 2 hidden: .hidden, .y.png",
        f"{folder}: 1 not images: notes.txt",
        f"{folder}: 1 made by this project: out",
    )


def test_bad_files_are_told_together_and_good_ones_go_through(tmp_path):
    good = write(tmp_path / "good.png")
    copy = tmp_path / "copy" / "good.png"
    copy.parent.mkdir()
    shutil.copy(good, copy)
    (tmp_path / "pdf.png").write_bytes(b"%PDF-1.4")
    write(tmp_path / "dot.png", size=(1, 1))
    (tmp_path / "cut.jpg").write_bytes(write(tmp_path / "whole.jpg", 30).read_bytes()[:-40])
    (tmp_path / "empty.png").touch()
    (tmp_path / "nothing").mkdir()
    named = ["good.png", "pdf.png", "dot.png", "cut.jpg", "empty.png", "copy/good.png", "nothing"]
    absent = [tmp_path / "absent", tmp_path / ("long" * 100)]
    inbox = collect([*(tmp_path / name for name in named), *absent], tmp_path / "out")
    assert inbox.table["path"].tolist() == [str(good)]
    faults = "\n".join(inbox.faults)
    assert len(inbox.faults) == 8
    for part in (
        "pdf.png is not an image",
        "dot.png is 1 x 1 pixels",
        "cut.jpg is damaged or truncated",
        "empty.png is empty",
        "is the same file as",
        "nothing holds no radiograph",
        "absent does not exist",
        "cannot be looked at (File name too long)",
    ):
        assert part in faults


@pytest.mark.parametrize("stem", ["x" * 200, ".1-x", "\u4e2d", "-", "flagged"])
def test_every_name_becomes_one_that_a_file_may_have(tmp_path, stem):
    path = write(tmp_path / f"{stem}.png")
    (image_id,) = collect([path], tmp_path / "out").table["image_id"]
    assert len(image_id) < 100
    assert not image_id.startswith(".")
    assert image_id.endswith(sha256_of(path)[:8])
    assert "/" not in image_id


def test_a_known_file_keeps_its_name(tmp_path):
    path = write(tmp_path / "one.png")
    inbox = collect([path], tmp_path / "out", lambda _, sha256: f"known-{sha256[:4]}")
    assert inbox.table["image_id"].tolist() == [f"known-{sha256_of(path)[:4]}"]
    assert collect([], tmp_path).table.empty


def test_names_that_no_table_can_hold_and_links_that_lead_nowhere(tmp_path):
    good = write(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "loop.png").symlink_to(tmp_path / "in" / "loop.png")
    for number, name in enumerate(("two\nlines.png", os.fsdecode(b"latin\xe9.png"))):
        write(tmp_path / "plain.png", number).rename(tmp_path / "in" / name)
    inbox = collect([tmp_path / "in", tmp_path / "a\x1bb"], tmp_path / "out")
    assert inbox.table["path"].tolist() == [str(good)]
    (fault,) = inbox.faults
    assert fault.startswith(r"'")
    assert r"a\x1bb' does not exist; expected PNG, JPEG" in fault
    passed_over = "\n".join(inbox.passed_over)
    assert "2 with a name that is no text, to be renamed" in passed_over
    assert r"two\nlines.png" in passed_over
    assert r"latin\udce9.png" in passed_over
    assert "1 neither files nor folders: loop.png" in passed_over
