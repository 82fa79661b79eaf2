"""Broken and hostile files for `flannel predict`, drawn at random: good ones, ruined."""

import contextlib
import io
import os
import socket
import string
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path

import gdcm
import jpeg_ls
import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from tiny import phantom

Draw = np.random.Generator

PICTURES = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "ICO", "PPM", "TGA", "PCX", "ICNS", "SGI")
MODES = ("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "I;16")
SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".dcm", ".dicom", ".img", ".IMG",
    ".PNG", ".pdf", ".txt", "", ".png.exe", ".nii.gz", ".webp",
)  # fmt: skip
EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
SYNTAXES = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian, RLELossless, JPEGBaseline8Bit, JPEGExtended12Bit,
    JPEG2000Lossless, JPEGLSLossless, JPEGLosslessSV1,
)  # fmt: skip
TAGS = (
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "SamplesPerPixel", "NumberOfFrames", "WindowCenter", "WindowWidth", "RescaleSlope",
    "RescaleIntercept", "PlanarConfiguration", "PhotometricInterpretation", "PixelData",
    "Modality", "BodyPartExamined", "ViewPosition", "VOILUTFunction", "ModalityLUTSequence",
    "VOILUTSequence", "PixelPaddingValue", "PixelPaddingRangeLimit",
)  # fmt: skip
VALUES = (0, 1, -1, 3, 8, 12, 16, 32, 64, 65535, "", "MONOCHROME1", "RGB", "PALETTE COLOR", "x",
          b"", b"\0", "1e999", "nan", [1, 2], [], None)  # fmt: skip
SPECIAL = (
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/proc/self/mem",
    "/dev",
    "~",
    "-",
    "",
)


def place(draw: Draw, folder: Path) -> Path:
    """Returns a file or folder that `predict` might be asked about, in a fresh folder."""
    kind = draw.random()
    if kind < 0.03:
        return Path(str(draw.choice(SPECIAL)))
    if kind < 0.09:
        return _odd_place(draw, folder)
    path = folder / _name(draw)
    content = _content(draw)
    if kind < 0.15:
        folder = folder / "within" / "deeper"
        folder.mkdir(parents=True)
        for _ in range(int(draw.integers(1, 4))):
            _write(folder / _name(draw), content if draw.random() < 0.3 else _content(draw))
        return folder.parent
    _write(path, content)
    return path


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except (OSError, ValueError):  # a name that the file system does not take
        path.with_name("plain.png").write_bytes(content)


def _name(draw: Draw) -> str:
    suffix = str(draw.choice(SUFFIXES))
    if draw.random() < 0.7:
        return f"radiograph{suffix}"
    stem = str(
        draw.choice(
            [
                "new\nline", "\x1b[31mred", "\udcff\udc80", "a" * (255 - len(suffix)), "é" * 100,
                "--out=x", ".hidden", "con", "a,b;c\"d'e", "%s%n{0}", "a\u202eb", " ", "..png",
                "$(id)", "<b>", "\u202f", "=1+1", "a|b",
            ]
        )
    )  # fmt: skip
    return stem + suffix


def _odd_place(draw: Draw, folder: Path) -> Path:
    path = folder / "place.png"
    match int(draw.integers(9)):
        case 0:
            path.symlink_to(path)
        case 1:
            (folder / "one").mkdir()
            (folder / "one" / "back").symlink_to(folder)
            (folder / "one" / "loop.png").symlink_to(folder / "one" / "loop.png")
            return folder
        case 2:
            path.symlink_to(folder / "nowhere.png")
        case 3:
            os.mkfifo(path)
            return folder if draw.random() < 0.5 else path
        case 4:
            path.mkdir()
        case 5:
            with path.open("wb") as stream:  # a file of many gigabytes that takes no disk
                stream.write(_picture(draw)[: int(draw.integers(200))])
                stream.truncate(int(draw.choice([2**31, 2**33, 2**40])))
        case 6:
            path.symlink_to(str(draw.choice(SPECIAL[:5])))
        case 7:
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(str(path))
        case _:
            return path  # nothing there
    return path


def _content(draw: Draw) -> bytes:
    """Draws a file's content: of any kind, ruined in most cases."""
    kind = draw.random()
    if kind < 0.5:
        content = _picture(draw)
    elif kind < 0.75:
        content = _dicom(draw)
    elif kind < 0.78:
        content = _jsrt(draw)
    elif kind < 0.88:
        content = _png_of_chunks(draw)
    else:
        content = _something_else(draw)
    for _ in range(int(draw.choice([0, 0, 0, 1, 1, 3]))):
        content = _ruined(draw, content)
    return content


def _levels(draw: Draw) -> np.ndarray:
    """Draws grey levels: a phantom, or a picture of an odd shape."""
    if draw.random() < 0.75:
        return phantom(int(draw.integers(8)))
    side = int(draw.choice([1, 2, 31, 32, 33, 500]))
    shape = (side, int(draw.choice([1, 7, 40, 1500])))
    return draw.integers(0, int(draw.choice([1, 2, 256])), shape, np.uint8)


def _picture(draw: Draw) -> bytes:
    """Draws a picture of any format, mode and kind of compression that Pillow writes."""
    picture = Image.fromarray(_levels(draw))
    form = str(draw.choice(PICTURES, p=[0.3, 0.25, 0.1, 0.05, 0.23, *[0.01] * 7]))
    options: dict[str, object] = {}
    if draw.random() < 0.2:
        exif = Image.Exif()
        exif[0x0112] = int(draw.choice([0, 3, 6, 8, 9, 65535]))
        options["exif"] = exif
    if draw.random() < 0.1:
        options |= {"save_all": True, "append_images": [picture] * int(draw.integers(1, 4))}
    if form == "TIFF":
        compressions = ("raw", "tiff_lzw", "tiff_deflate", "jpeg", "packbits", "group4", "zstd")
        options["compression"] = str(draw.choice(compressions))
    if form == "JPEG":
        options["progressive"] = bool(draw.random() < 0.5)
    mode = str(draw.choice(MODES))
    for attempt in (mode, "RGB", "L"):
        content = io.BytesIO()
        try:
            picture.convert(attempt).save(content, form, **options)
        except (OSError, ValueError, KeyError, SystemError, RuntimeError, AttributeError):
            continue
        return content.getvalue()
    return content.getvalue()


def _png_of_chunks(draw: Draw) -> bytes:
    """Draws a PNG whose every chunk has its checksum, and whose header lies."""
    side, wide = (int(draw.choice([0, 1, 32, 96, 20_000, 2**31 - 1, 2**32 - 1])) for _ in range(2))
    bits, colour = int(draw.choice([1, 2, 4, 8, 16, 3])), int(draw.choice([0, 2, 3, 4, 6, 1]))
    header = struct.pack(">IIBBBBB", wide, side, bits, colour, 0, 0, int(draw.integers(2)))
    rows = zlib.compress(bytes(int(draw.choice([0, 97 * 96, 10_000_000]))), 9)
    chunks = [(b"IHDR", header)]
    extra = (
        (b"PLTE", bytes(range(12))), (b"tRNS", b"\0" * 9), (b"eXIf", b"MM\0*\0\0\0\x08\xff\xff"),
        (b"iCCP", b"x\0\0" + zlib.compress(bytes(5_000_000))), (b"acTL", b"\xff" * 8),
        (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n 8\nzz" * 99)),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation='6'"), (b"fcTL", b"\0" * 26),
        (b"gAMA", b"\0" * 4), (b"pHYs", b"\xff" * 9), (b"cHRM", b"1"), (b"PLTE", b""),
    )  # fmt: skip
    chunks += [extra[int(n)] for n in draw.integers(len(extra), size=draw.integers(3))]
    chunks += [(b"IDAT", rows[: int(draw.integers(1, len(rows) + 1))]), (b"IEND", b"")]
    whole = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + whole


def _dicom(draw: Draw) -> bytes:
    """Draws a DICOM file whose tags may contradict each other and its pixels."""
    levels = _levels(draw)
    bits = int(draw.choice([8, 12, 16]))
    stored = levels if bits == 8 else levels.astype(np.uint16) << (bits - 8)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = SYNTAXES[int(draw.choice(len(SYNTAXES), p=[0.4, *[0.6 / 9] * 9]))]
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, int(draw.integers(2))
    dataset.PhotometricInterpretation = f"MONOCHROME{draw.integers(1, 3)}"
    dataset.BitsAllocated = stored.dtype.itemsize * 8
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelData = stored.tobytes()
    syntax = meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.PixelData = encapsulate([_frame(draw, stored, dataset)])
        meta.TransferSyntaxUID = syntax
        dataset["PixelData"].is_undefined_length = True
    for _ in range(int(draw.choice([0, 0, 1, 2, 4]))):
        tag = str(draw.choice(TAGS))
        try:
            if draw.random() < 0.3:
                delattr(dataset, tag)
            else:
                setattr(dataset, tag, VALUES[int(draw.integers(len(VALUES)))])
        except (ValueError, TypeError, AttributeError, OverflowError):
            continue
    if draw.random() < 0.2:
        tables = pydicom.Sequence([_lut(draw) for _ in range(int(draw.integers(3)))])
        setattr(dataset, str(draw.choice(["ModalityLUTSequence", "VOILUTSequence"])), tables)
    content = io.BytesIO()
    try:
        pydicom.dcmwrite(content, dataset, enforce_file_format=True)
    except Exception:  # whatever pydicom raises for tags that it does not write
        return b"\0" * 128 + b"DICM" + draw.bytes(200)
    return content.getvalue()


def _frame(draw: Draw, stored: np.ndarray, plain: pydicom.Dataset) -> bytes:
    """Draws the compressed pixels of a frame, perhaps damaged, and of any compression."""
    picture, content = Image.fromarray(stored), io.BytesIO()
    form = str(draw.choice(["JPEG", "JPEG2000", "JPEG-LS", "lossless", "RLE"]))
    if form == "JPEG-LS":
        with contextlib.suppress(RuntimeError):  # of noise, which grows
            content.write(bytes(jpeg_ls.encode_array(np.ascontiguousarray(stored))))
    elif form == "lossless":
        with contextlib.suppress(ValueError, struct.error):  # GDCM left them as they were
            content.write(_lossless(plain))
    elif form == "RLE":
        content.write(bytes(64) + draw.bytes(int(draw.integers(2000))))
    else:
        options = {"no_jp2": True} if form == "JPEG2000" else {}
        (picture if form == "JPEG2000" else picture.convert("L")).save(content, form, **options)
    frame = bytearray(content.getvalue() or draw.bytes(100))
    for _ in range(int(draw.choice([0, 0, 0, 1, 3, 20]))):
        frame[int(draw.integers(len(frame)))] = int(draw.integers(256))
    return bytes(frame[: len(frame) if draw.random() < 0.7 else int(draw.integers(len(frame)))])


def _lossless(dataset: pydicom.Dataset) -> bytes:
    """Compresses the pixels of a data set as lossless JPEG (PS3.5 A.4.2)."""
    with tempfile.TemporaryDirectory() as folder:
        reader, change, writer = (
            gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter(),
        )  # fmt: skip
        pydicom.dcmwrite(f"{folder}/plain.dcm", dataset, enforce_file_format=True)
        reader.SetFileName(f"{folder}/plain.dcm")
        reader.Read()
        syntax = gdcm.TransferSyntax.JPEGLosslessProcess14_1
        change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
        change.SetInput(reader.GetImage())
        change.Change()
        writer.SetFileName(f"{folder}/lossless.dcm")
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.Write()
        return get_frame(pydicom.dcmread(f"{folder}/lossless.dcm").PixelData, 0, number_of_frames=1)


def _lut(draw: Draw) -> pydicom.Dataset:
    """Draws a lookup table whose descriptor may lie about its entries."""
    item = pydicom.Dataset()
    size = int(draw.choice([0, 1, 2, 255, 256, 4096, 65535]))
    first, bits = int(draw.choice([0, 1, 32768, 65535])), int(draw.choice([0, 8, 12, 16, 99]))
    parts = (size, first, bits)[: int(draw.choice([0, 1, 3, 3, 3]))]
    if draw.random() < 0.9:
        item.add_new("LUTDescriptor", "US", list(parts))
    if draw.random() < 0.9:
        count = int(draw.choice([0, 1, size // 2, size, size, size + 1]))
        item.add_new("LUTData", "OW", draw.bytes(2 * count))
    return item


def _jsrt(draw: Draw) -> bytes:
    top = int(draw.choice([4095, 4096, 65535]))
    return draw.integers(0, top + 1, (2048, 2048)).astype(">u2").tobytes()


def _something_else(draw: Draw) -> bytes:
    """Draws what is no radiograph at all."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("inner.zip", bytes(1_000_000))
    array = io.BytesIO()
    np.save(array, np.zeros((4, 4)))
    letters = "".join(draw.choice(list(string.printable), 300))
    others = (
        b"", b"\n", b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n%%EOF", archive.getvalue(),
        array.getvalue(), letters.encode(), b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        draw.bytes(int(draw.integers(1, 5000))), b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a",
        b"BM", b"II*\0", b"II+\0\x08\0\0\0" + draw.bytes(60), b"MM\0*" + draw.bytes(100),
        b"\0" * 128 + b"DICM", b"\xff\xd8\xff\xe0" + draw.bytes(400) + b"\xff\xd9",
        b"\x80\x04\x95cos\nsystem\n", b"\x1f\x8b" + draw.bytes(50), bytes(8_388_608),
    )  # fmt: skip
    return others[int(draw.integers(len(others)))]


def _ruined(draw: Draw, content: bytes) -> bytes:
    """Ruins a content in one way."""
    if not content:
        return content
    # Headers are at the beginning.
    at = int(draw.integers(len(content) if draw.random() < 0.5 else min(len(content), 400)))
    some = int(draw.integers(1, 50))
    before, after = content[:at], content[at:]
    width = int(draw.choice([1, 2, 4, 8]))
    number = int(draw.choice(EXTREMES)) & (256**width - 1)
    order = "big" if draw.random() < 0.5 else "little"
    ways = (
        before,
        before + after[some:],
        before + draw.bytes(some) + after,
        before + draw.bytes(1) + after[1:],
        before + bytes(64) + after[64:],
        before + number.to_bytes(width, order) + after[width:],
        content + draw.bytes(some),
        content + content,
        _flipped(draw, content, some),
    )
    return ways[int(draw.integers(len(ways)))]


def _flipped(draw: Draw, content: bytes, bits: int) -> bytes:
    data = bytearray(content)
    for place in draw.integers(len(data), size=bits):
        data[place] ^= 1 << int(draw.integers(8))
    return bytes(data)
