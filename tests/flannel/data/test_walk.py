"""Every file of a folder is taken, or left for a reason that is reported."""

import os
import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from flannel.data.outputs import MARKER, mark_as_output
from flannel.data.walk import (
    CLOSED,
    HIDDEN,
    NO_FILE,
    NO_IMAGE,
    OURS,
    SEEN,
    folders_in,
    gather,
    left_in_words,
    walk,
)

PNG = b"\x89PNG\r\n\x1a\n"


def put(path, content=PNG):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("PNG", ""), ("JPEG", ".jfif"), ("JPEG", ".txt"), ("GIF", ".1"), ("BMP", ".x"), ("TIFF", "")],
)
def test_pictures_are_told_by_their_content(tmp_path, kind, suffix):
    path = tmp_path / f"picture{suffix}"
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(path, kind)
    assert walk(tmp_path).images == [path]


def test_files_of_a_known_suffix_are_taken_whatever_they_hold(tmp_path):
    """So that whoever reads them says what is wrong with them."""
    paths = [put(tmp_path / name, b"") for name in ("a.dicom", "b.JFIF", "c.webp", "d.IMG")]
    assert walk(tmp_path).images == paths


def test_what_is_left_is_told_by_reason(tmp_path):
    taken = [put(tmp_path / "a.png"), put(tmp_path / "ward" / "b.png")]
    put(tmp_path / ".hidden.png")
    put(tmp_path / ".git" / "c.png")
    put(tmp_path / "BMW.md", b"BM and so on, a long text that is no bitmap at all")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "absent")
    mark_as_output(put(tmp_path / "masks" / "a.png").parent)
    found = walk(tmp_path)
    assert found.images == taken
    names = {reason: [path.name for path in paths] for reason, paths in found.left.items()}
    assert names == {
        HIDDEN: [".git", ".hidden.png"],
        NO_IMAGE: ["BMW.md"],
        NO_FILE: ["nowhere.png", "pipe"],
        OURS: ["masks"],
    }
    assert walk(tmp_path, ours=True).images == [taken[0], tmp_path / "masks/a.png", taken[1]]
    assert walk(tmp_path / "masks").images == [tmp_path / "masks" / "a.png"]
    assert [path.name for path in folders_in(tmp_path)] == ["ward"]
    assert left_in_words({NO_IMAGE: [tmp_path / str(n) for n in range(7)]}, tmp_path, 2) == [
        "7 not images: 0, 1 and 5 more"
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (MARKER, b""),
        ("masks.csv", b"image_id,origin,area_share\n"),
        ("predictions.json", b'{\n  "diagnoses": []}'),
        ("fingerprint.json", b'{\n  "finished": true}'),
        ("manifest.csv", b"image_id,path,source,patient_id\n"),
        ("run-abc.wandb", b":W&B"),
    ],
)
def test_folders_of_ours_are_known_without_a_marker(tmp_path, name, content):
    put(tmp_path / "there" / "a.png")
    put(tmp_path / "there" / name, content)
    assert walk(tmp_path).left == {OURS: [tmp_path / "there"]}


def test_files_of_the_same_names_that_are_not_ours_change_nothing(tmp_path):
    taken = put(tmp_path / "theirs" / "a.png")
    put(tmp_path / "theirs" / "masks.csv", b"image,mask\n")
    put(tmp_path / "theirs" / "manifest.csv", b"file,label\n")
    put(tmp_path / "theirs" / ".wandb", b"settings")
    assert walk(tmp_path).images == [taken]


def test_linked_folders_are_gone_through_once_and_cycles_end(tmp_path):
    put(tmp_path / "elsewhere" / "inner" / "x.png")
    folder = tmp_path / "in"
    put(folder / "z" / "real.png")
    (folder / "a-link").symlink_to(folder / "z")
    (folder / "b-link").symlink_to(tmp_path / "elsewhere")
    (folder / "c-link").symlink_to(tmp_path / "elsewhere" / "inner")
    (folder / "up").symlink_to(tmp_path)
    (folder / "z" / "self").symlink_to(folder)
    found = walk(folder)
    assert found.images == [folder / "z" / "real.png", folder / "b-link" / "inner" / "x.png"]
    assert sorted(path.name for path in found.left[SEEN]) == ["a-link", "c-link", "self", "up"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read any folder")
def test_a_closed_folder_is_told(tmp_path):
    closed = put(tmp_path / "closed" / "a.png").parent
    closed.chmod(0)
    try:
        assert walk(tmp_path).left == {CLOSED: [closed]}
    finally:
        closed.chmod(0o700)


def test_a_place_is_a_file_or_a_folder_or_a_sentence(tmp_path):
    text = put(tmp_path / "scan.bin", b"anything")
    assert gather(text, tmp_path / "out")[0].images == [text]
    assert gather(text, tmp_path / "out")[1] == ""
    assert "does not exist" in gather(tmp_path / "absent", tmp_path)[1]
    assert "holds no radiograph" in gather(tmp_path, tmp_path / "out")[1]
    assert (
        "name that is no text"
        in left_in_words(gather(put(tmp_path / "a\tb.png"), tmp_path / "out")[0].left, tmp_path)[0]
    )


names = st.text(string.ascii_letters + string.digits + "._- é", min_size=1, max_size=8).filter(
    lambda name: name.strip(".") and "/" not in name
)
trees = st.dictionaries(names, st.sampled_from([PNG, b"text", b""]), max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.tuples(names, names), trees, max_size=4))
def test_no_file_is_lost_without_a_word(tmp_path_factory, tree):
    top = tmp_path_factory.mktemp("tree")
    files = set()
    for parts, inside in tree.items():
        for name, content in inside.items():
            path = top.joinpath(*parts, name)
            try:
                files.add(put(path, content))
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                continue
    found = walk(top)
    listed = [path for paths in found.left.values() for path in paths]
    for path in files:
        covers = [place for place in listed if path == place or path.is_relative_to(place)]
        assert (path in found.images) + len(covers) == 1
        hidden = any(part.startswith(".") for part in path.relative_to(top).parts)
        assert (path in found.images) <= (not hidden)
        assert (path in found.images) >= (path.read_bytes() == PNG and not hidden)


def test_a_link_to_itself_is_an_os_error(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(OSError, match="loop"):
        walk(loop)
