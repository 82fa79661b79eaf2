import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flannel.data import inspection
from flannel.data.file_checks import RadiographError
from flannel.data.inspection import FileFacts, inspect_file, inspect_files
from flannel.data.radiograph import read_levels
from flannel.files import sha256_of

TURNED_RIGHT = 6


def noise(height=40, width=50, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


def turned():
    exif = Image.Exif()
    exif[0x0112] = TURNED_RIGHT
    return exif


def written(folder, name, **options):
    path = folder / name
    mode = options.pop("mode", "L")
    Image.fromarray(noise()).convert(mode).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.jpg", {}),
        ("a.jpg", {"mode": "CMYK"}),
        ("a.jpg", {"exif": turned()}),
        ("a.png", {}),
        ("a.png", {"mode": "RGBA"}),
        ("a.png", {"mode": "P"}),
        ("a.png", {"exif": turned()}),
        ("png.jpg", {"format": "png"}),
        ("a.gif", {}),
        ("a.bmp", {}),
        ("a.tif", {}),
    ],
)
def test_facts_are_those_of_the_decoded_file(tmp_path, name, options):
    path = written(tmp_path, name, **options)
    height, width = read_levels(path).levels.shape
    assert inspect_file(path) == FileFacts(width, height, sha256_of(path))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.gif", "a.bmp", "a.tif"])
@pytest.mark.parametrize("kept", [0.5, 0.97])
def test_truncated_files_are_faults(tmp_path, name, kept):
    path = written(tmp_path, name)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(RadiographError) as fault:
        read_levels(path)
    assert inspect_file(path) == FileFacts(fault=str(fault.value))


def test_a_png_with_a_flipped_bit_is_a_fault(tmp_path):
    path = written(tmp_path, "a.png")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "damaged or truncated" in inspect_file(path).fault


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda path: path.touch(), "is empty"),
        (lambda path: path.write_bytes(b"\xff\xd8\xff no picture \xff\xd9"), "not an image"),
        (lambda path: path.mkdir(), "not a file"),
        (lambda path: Image.fromarray(noise(20, 50)).save(path), "50 x 20 pixels"),
        (lambda path: path.with_name("b"), "does not exist"),
    ],
)
def test_what_is_no_radiograph_is_a_sentence(tmp_path, make, fault):
    path = tmp_path / "a.jpg"
    make(path)
    assert fault in inspect_file(path).fault


@pytest.mark.parametrize("level", [0, 90, 255])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.gif", "a.bmp"])
def test_what_shows_one_grey_level_is_a_fault(tmp_path, name, mode, level):
    grey = np.full((400, 300), level, np.uint8)
    grey[7, 9] = 255 - level  # a dead pixel
    picture = Image.fromarray(grey).convert("RGB" if mode == "CMYK" and name != "a.jpg" else mode)
    picture.save(tmp_path / name, **({"subsampling": 0} if name == "a.jpg" else {}))
    fault = inspect_file(tmp_path / name).fault
    assert f"{name} shows one grey level only (" in fault


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_good_pictures_are_not_decoded(tmp_path, monkeypatch, suffix):
    path = written(tmp_path, f"a.{suffix}")
    monkeypatch.setattr(inspection, "read_levels", lambda path: pytest.fail("it was decoded"))
    assert inspect_file(path).width == 50


@pytest.fixture
def looked_at(monkeypatch):
    """Names the files that were read."""
    names = []
    plain = inspection.inspect_file
    monkeypatch.setattr(
        inspection, "inspect_file", lambda path: (names.append(path.name), plain(path))[1]
    )
    return names


def test_a_second_look_reads_what_changed(tmp_path, looked_at):
    paths = [written(tmp_path, f"{number}.png") for number in range(5)]
    (tmp_path / "bad.png").write_bytes(b"bad")
    paths += [tmp_path / "bad.png", paths[0]]
    cache = tmp_path / "study" / "files.csv"
    first = inspect_files(paths, cache)
    assert sorted(looked_at) == ["0.png", "1.png", "2.png", "3.png", "4.png", "bad.png"]
    looked_at.clear()
    assert inspect_files(paths, cache) == first
    assert looked_at == ["bad.png"]
    Image.fromarray(noise(60, 70)).save(paths[1])  # another size
    os.utime(paths[2], ns=(1, 1))  # another time
    paths[3].unlink()
    looked_at.clear()
    second = inspect_files(paths, cache)
    assert sorted(looked_at) == ["1.png", "2.png", "3.png", "bad.png"]
    assert (second[1].width, second[2], second[4]) == (70, first[2], first[4])
    assert "does not exist" in second[3].fault


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content.replace(b",50,", b",51,"),
        lambda content: b"\xff\x00" + content,
        lambda content: b"",
    ],
)
def test_a_damaged_cache_is_made_anew(tmp_path, looked_at, damage, capsys):
    paths = [written(tmp_path, f"{number}.png") for number in range(3)]
    cache = tmp_path / "files.csv"
    first = inspect_files(paths, cache)
    whole = cache.read_bytes()
    cache.write_bytes(damage(whole))
    assert inspect_files(paths, cache) == first
    assert "is damaged or from another version" in capsys.readouterr().err
    assert len(looked_at) == 6
    assert cache.read_bytes() == whole


def test_relative_and_absolute_paths_are_one_file(tmp_path, looked_at, monkeypatch):
    written(tmp_path, "a.png")
    inspect_files([tmp_path / "a.png"], tmp_path / "files.csv")
    monkeypatch.chdir(tmp_path)
    inspect_files([Path("a.png")], Path("files.csv"))
    assert looked_at == ["a.png"]
