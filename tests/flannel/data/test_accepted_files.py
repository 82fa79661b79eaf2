"""Kinds of good files that people have, each read as the radiograph that it is."""

import io
import struct
import zlib

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from flannel.data.inspection import inspect_file
from flannel.data.phantom import draw_phantom
from flannel.data.radiograph import read_levels

IMAGE = draw_phantom("Normal", np.random.default_rng(3), (96, 80)).image
DEEP = np.rint(IMAGE / 255 * 4095).astype(np.uint16)
NATIVE = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian, RLELossless,
)  # fmt: skip
WINDOW = {"WindowCenter": "2048", "WindowWidth": "4096"}


def dicom(path, pixels, bits, syntax=ExplicitVRLittleEndian, coded=None, **tags):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored = pixels.dtype.itemsize * 8, bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    if coded is not None:
        dataset.PixelData = encapsulate([coded])
    dataset["PixelData"].VR = "OW" if pixels.dtype.itemsize == 2 else "OB"
    for name, value in tags.items():
        setattr(dataset, name, value)
    if syntax == RLELossless:
        dataset.compress(RLELossless)
    dataset.save_as(path, enforce_file_format=True)
    return path


def shown(path):
    """Reads grey values as levels of 8 bits, and checks that the manifest takes the file."""
    stored = read_levels(path)
    assert inspect_file(path).fault == ""
    return stored.levels / (2.0**stored.bits - 1) * 255


def close(path, within=0.6):
    np.testing.assert_allclose(shown(path), IMAGE, atol=within)


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda syntax: syntax.name)
def test_dicom_of_every_encoding(tmp_path, syntax):
    extended = DEEP.astype(np.int16) - np.int16(2048)
    cut = (extended.view(np.uint16) & 0x0FFF).view(np.int16)  # without the bits of the sign
    for pixels, bits in ((IMAGE, 8), (DEEP, 12), (IMAGE.astype(np.uint16), 8), (extended, 12)):
        if syntax == RLELossless and (bits, pixels.itemsize) == (8, 2):
            continue  # not written by pydicom
        close(dicom(tmp_path / "a.dcm", pixels, bits, syntax))
    close(dicom(tmp_path / "a.dcm", cut, 12))
    inverted = {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}
    close(dicom(tmp_path / "a.dcm", 4095 - DEEP, 12, syntax, **inverted, **WINDOW))


def test_dicom_of_jpeg_and_jpeg_2000(tmp_path):
    for inverted, kind in ((IMAGE, "MONOCHROME2"), (255 - IMAGE, "MONOCHROME1")):
        content = io.BytesIO()
        Image.fromarray(inverted).save(content, "JPEG", quality=95)
        tags = {"PhotometricInterpretation": kind}
        path = dicom(tmp_path / "a.dcm", inverted, 8, JPEGBaseline8Bit, content.getvalue(), **tags)
        assert np.median(np.abs(shown(path) - IMAGE)) < 3
    content = io.BytesIO()
    Image.fromarray(IMAGE).save(content, "JPEG2000", no_jp2=True, irreversible=False)
    close(dicom(tmp_path / "a.dcm", IMAGE, 8, JPEG2000Lossless, content.getvalue()))


def test_an_overlay_beside_the_bits_is_no_part_of_the_picture(tmp_path):
    """Retired in PS3.5 8.1.2, and still met: bits above High Bit."""
    overlaid = DEEP | (np.indices(DEEP.shape)[0] % 2 << 15).astype(np.uint16)
    for syntax in (ExplicitVRLittleEndian, ExplicitVRBigEndian):
        close(dicom(tmp_path / "a.dcm", overlaid, 12, syntax))


def test_dicom_with_more_than_a_radiograph(tmp_path):
    icon = pydicom.Dataset()
    icon.Rows = icon.Columns = 4
    icon.SamplesPerPixel, icon.PhotometricInterpretation = 1, "MONOCHROME2"
    icon.BitsAllocated = icon.BitsStored = 8
    icon.HighBit, icon.PixelRepresentation = 7, 0
    icon.PixelData = bytes(16)
    tags = {
        "IconImageSequence": Sequence([icon]), "SpecificCharacterSet": "ISO_IR 192",
        "PatientName": "Müller^Jürgen", "Modality": "DX",
    }  # fmt: skip
    path = dicom(tmp_path / "Лёгкие 肺.dcm", DEEP, 12, **tags)
    path.write_bytes(path.read_bytes() + bytes(64))
    close(path)


@pytest.mark.parametrize(
    "tags",
    [
        {"WindowCenter": ["2048", "300"], "WindowWidth": ["4096", "50"]},
        {"WindowCenter": "2048", "WindowWidth": "4095", "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": "500"},
        {"PresentationLUTShape": "INVERSE"},  # of MONOCHROME2: as it is met, a mistake
    ],
    ids=str,
)
def test_dicom_with_windows(tmp_path, tags):
    close(dicom(tmp_path / "a.dcm", DEEP, 12, **tags))


def png(path, bits, data, *chunks):
    """Writes a grey PNG of rows that are packed already."""
    height, width = IMAGE.shape
    rows = zlib.compress(b"".join(b"\0" + row for row in data))
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    parts = ((b"IHDR", header), *chunks, (b"IDAT", rows), (b"IEND", b""))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in parts
        )
    )  # fmt: skip
    return path


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("chunk", [(), ((b"gAMA", struct.pack(">I", 100000)),)], ids=len)
def test_png_of_few_bits_and_with_a_gamma(tmp_path, bits, chunk):
    levels = IMAGE >> (8 - bits)
    ones = np.unpackbits(levels[..., None], axis=2)[..., 8 - bits :].reshape(len(levels), -1)
    path = png(tmp_path / "a.png", bits, [row.tobytes() for row in np.packbits(ones, 1)], *chunk)
    np.testing.assert_allclose(shown(path), levels * (255 / (2**bits - 1)), atol=0.6)


def test_png_with_a_transparent_level(tmp_path):
    transparent = (b"tRNS", struct.pack(">H", int(IMAGE[40, 40])))
    close(png(tmp_path / "a.png", 8, [row.tobytes() for row in IMAGE], transparent))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.jpg"])
def test_turned_pictures_stand_upright(tmp_path, name, orientation):
    turns = {1: 0, 3: 2, 6: 1, 8: 3}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"tiffinfo": {274: orientation}} if name == "a.tif" else {"exif": exif}
    if name == "a.jpg":
        options["quality"] = 98
    Image.fromarray(np.rot90(IMAGE, turns)).save(tmp_path / name, **options)
    close(tmp_path / name, within=12 if name == "a.jpg" else 0.6)


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("a.jpg", "CMYK", {"quality": 98}),
        ("a.jpg", "RGB", {"progressive": True, "quality": 98}),
        ("a.PNG", "LA", {}),
        ("a.PNG", "P", {}),
        ("a.BMP", "L", {}),
        ("b.TIFF", "RGBA", {}),
        ("фото 🫁.png", "L", {}),
        ("胸部.jpg", "L", {"quality": 98}),
    ],
)
def test_pictures_of_every_mode(tmp_path, name, mode, options):
    Image.fromarray(IMAGE).convert(mode).save(tmp_path / name, **options)
    apart = np.abs(shown(tmp_path / name) - IMAGE)
    assert np.median(apart) <= 3
    assert apart.max() < 40


def test_sixteen_bits_with_transparency(tmp_path):
    """Pillow reads the upper 8 bits of such a PNG."""
    deep = IMAGE.astype(">u2") * 257
    height, width = IMAGE.shape
    rows = np.dstack([deep, deep]).astype(">u2")
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 4, 0, 0, 0)),
        (b"IDAT", data), (b"IEND", b""),
    )  # fmt: skip
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in parts
        )
    )  # fmt: skip
    close(tmp_path / "a.png")
