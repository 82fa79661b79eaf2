"""Damage that decoders forgive is reported, and whole files of every kind pass."""

import io
import os
import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from flannel.data.file_checks import RadiographError
from flannel.data.inspection import inspect_file
from flannel.data.jpeg import jpeg_damage
from flannel.data.phantom import draw_phantom
from flannel.data.radiograph import read_levels

REAL = Path(os.environ.get("FLANNEL_REAL_DATA", Path(__file__).parents[4] / "shared" / "data"))
END = b"\xff\xd9"
KINDS = (
    {}, {"quality": 95}, {"quality": 100}, {"optimize": True}, {"progressive": True},
    {"restart_marker_rows": 1}, {"restart_marker_blocks": 5},
)  # fmt: skip


def coded(image, mode="L", **options):
    content = io.BytesIO()
    Image.fromarray(image).convert(mode).save(content, "JPEG", **options)
    return content.getvalue()


@pytest.fixture(scope="module")
def phantom():
    return draw_phantom("COVID-19", np.random.default_rng(5), (192, 160)).image


@pytest.mark.parametrize("options", KINDS, ids=str)
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_whole_files_are_whole(phantom, mode, options):
    noise = np.random.default_rng(2).integers(0, 256, (70, 50), np.uint8)
    stripes = (np.indices((64, 64))[1] % 2 * 255).astype(np.uint8)
    for image in (phantom, noise, stripes, np.zeros_like(phantom), phantom[:33, :47]):
        content = coded(image, mode, **options)
        assert jpeg_damage(content) == ""
        assert jpeg_damage(content + bytes(3000) + b"\xff\xd8\xff trailing") == ""
        filled = content[: -len(END)] + b"\xff" * 9 + END  # fill bytes before a marker are allowed
        assert jpeg_damage(filled) == ""


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    options=st.sampled_from(KINDS),
    mode=st.sampled_from(("L", "RGB")),
    place=st.floats(0.05, 0.9),
    length=st.sampled_from((64, 500, 2000, 10**9)),
    kind=st.sampled_from(("end early", "end early, the rest behind it", "zeros")),
)
def test_lost_pixels_are_told(phantom, options, mode, place, length, kind):
    whole = coded(phantom, mode, **options)
    scans = [match.end() for match in re.finditer(rb"\xff\xda", whole)]
    first = scans[0] + 20
    at = int(first + place * (len(whole) - first))
    if kind == "zeros":
        length = min(length, len(whole) - 2 - at)
        damaged = whole[:at] + bytes(length) + whole[at + length :]
        with Image.open(io.BytesIO(damaged)) as picture, np.errstate(all="ignore"):
            try:
                picture.load()
            except OSError:
                return  # the decoder itself refuses it
            with Image.open(io.BytesIO(whole)) as before:
                apart = np.abs(np.asarray(picture, int) - np.asarray(before, int))
        if (apart > 16).mean() < 0.02:
            return  # next to nothing is lost
    else:
        damaged = whole[:at] + END + (whole[at:] if "rest" in kind else b"")
    assert jpeg_damage(damaged)


def test_a_progressive_file_without_its_last_scans(phantom):
    whole = coded(phantom, progressive=True)
    scans = [match.start() for match in re.finditer(rb"\xff\xda", whole)]
    assert len(scans) > 3
    for start in scans[1:]:
        assert jpeg_damage(whole[:start] + END) == "some of its scans are missing"


def test_a_damaged_file_is_refused_wherever_it_is_read(tmp_path, phantom):
    whole = coded(phantom)
    half = whole[: len(whole) // 2] + END
    (tmp_path / "half.jpg").write_bytes(half)
    words = r"half\.jpg is damaged or truncated \(Corrupt JPEG data: premature end of data segment"
    with pytest.raises(RadiographError, match=words):
        read_levels(tmp_path / "half.jpg")
    assert re.search(words, inspect_file(tmp_path / "half.jpg").fault)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_damaged_jpeg_within_tiff(tmp_path, mode):
    image = draw_phantom("Normal", np.random.default_rng(6), (500, 400)).image
    picture = Image.fromarray(image).convert(mode)
    picture.save(tmp_path / "a.tif", compression="jpeg", quality=90)
    assert np.median(np.abs(read_levels(tmp_path / "a.tif").levels.astype(int) - image)) < 4
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with Image.open(tmp_path / "a.tif") as header:
        middle = header.tag_v2[273][0] + header.tag_v2[279][0] // 2
    content[middle : middle + 600] = bytes(600)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(RadiographError, match=r"a\.tif is damaged or truncated"):
        read_levels(tmp_path / "a.tif")


def test_a_damaged_jpeg_within_dicom(tmp_path, phantom):
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = phantom.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    whole = coded(phantom, quality=95)
    dataset.PixelData = encapsulate([whole])
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    apart = np.abs(read_levels(tmp_path / "a.dcm").levels.astype(int) - phantom)
    assert np.median(apart) < 3
    dataset.PixelData = encapsulate([whole[: len(whole) // 2] + END])
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(RadiographError, match="premature end of data segment"):
        read_levels(tmp_path / "a.dcm")


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real radiographs in {REAL}")
def test_no_real_file_is_called_damaged():
    paths = [path for path in REAL.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg")]
    contents = [path.read_bytes() for path in paths]
    assert not any(jpeg_damage(c) for c in contents if c.startswith(b"\xff\xd8"))
