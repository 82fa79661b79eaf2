"""DICOM's grey values against a plain computation of the standard's formulas, one pixel a time."""

import math
import struct
from collections import Counter

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    RLELossless,
    generate_uid,
)

from flannel.data.file_checks import RadiographError
from flannel.data.radiograph import read_levels

SIDE = 32
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless)


def written(path, pixels, syntax=ExplicitVRLittleEndian, **tags):
    """Writes unsigned words as a DX image; the tags replace what is usual."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.BitsStored, dataset.HighBit = dataset.BitsAllocated, dataset.BitsAllocated - 1
    dataset.PixelRepresentation = 0
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    dataset["PixelData"].VR = "OB" if pixels.dtype == np.uint8 else "OW"
    for name, value in tags.items():
        if value is ...:
            delattr(dataset, name)
        elif isinstance(value, pydicom.DataElement):
            dataset.add(value)
        else:
            setattr(dataset, name, value)
    if syntax == RLELossless:
        dataset.compress(RLELossless)
    dataset.save_as(path, enforce_file_format=True)
    return path


def lut(entries, first=0, bits=16, packed=False, size=None, order="<"):
    """A LUT sequence; packed holds its entries in bytes, two of them to a word."""
    item = pydicom.Dataset()
    size = len(entries) % 65536 if size is None else size
    item.add_new(0x00283002, "SS" if first < 0 else "US", [size, first, bits])
    if first < 0 and size > 32767:
        item.add_new(0x00283002, "SS", [size - 65536, first, bits])
    if packed:
        data = bytes(entries) + b"\0" * (len(entries) % 2)
        words = struct.unpack(f"<{len(data) // 2}H", data)
        item.add_new(0x00283006, "OW", struct.pack(f"{order}{len(words)}H", *words))
    elif len(entries) > 32767:  # more than an explicit US can be long
        item.add_new(0x00283006, "OW", struct.pack(f"{order}{len(entries)}H", *entries))
    else:
        item.add_new(0x00283006, "US", list(entries))
    return Sequence([item])


def ramp(levels=4096, dtype=np.uint16):
    return np.linspace(0, levels - 1, SIDE * SIDE).astype(dtype).reshape(SIDE, SIDE)


class Plain:
    """A header in plain words, and what one stored value is shown as by the standard."""

    def __init__(self, bits, signed, modality, voi, inverted):
        self.bits, self.signed, self.inverted = bits, signed, inverted
        self.modality, self.voi = modality, voi

    @property
    def stored(self):
        lowest = -(2 ** (self.bits - 1)) if self.signed else 0
        return range(lowest, lowest + 2**self.bits)

    def modality_value(self, value):
        kind, *words = self.modality
        if kind == "lut":
            first, entries = words
            return entries[min(max(value - first, 0), len(entries) - 1)]
        slope, intercept = words
        return value * slope + intercept

    def shown(self, stored):
        """Computes the grey value, 0 to 1, of stored values."""
        values = {value: self.modality_value(value) for value in stored}
        kind, *words = self.voi
        if kind == "none":
            whole = [self.modality_value(value) for value in self.stored]
            lowest, highest = min(whole), max(whole)
        top = 1
        while kind == "lut" and top < max(words[1]):
            top = 2 * top + 1
        grey = {}
        for value, x in values.items():
            if kind == "lut":
                first, entries = words
                y = entries[min(max(math.floor(x) - first, 0), len(entries) - 1)] / top
            elif kind == "LINEAR":
                c, w = words
                if x <= c - 0.5 - (w - 1) / 2:
                    y = 0.0
                elif x > c - 0.5 + (w - 1) / 2:
                    y = 1.0
                else:
                    y = (x - (c - 0.5)) / (w - 1) + 0.5
            elif kind == "LINEAR_EXACT":
                c, w = words
                y = 0.0 if x <= c - w / 2 else 1.0 if x > c + w / 2 else (x - c) / w + 0.5
            elif kind == "SIGMOID":
                c, w = words
                y = 1 / (1 + math.exp(min(-4 * (x - c) / w, 700)))
            else:
                y = (x - lowest) / (highest - lowest or 1)
            grey[value] = 1 - y if self.inverted else y
        return grey


def whole_bits(low, high, top):
    """Takes the first whole number of bits, from either end, that a range fills by half."""
    for bits in range(1, 17):
        part = (2**bits - 1) / top
        if (high - low) * 2 >= part and high <= part + 1e-9 * part:
            return 0.0, part
        if (high - low) * 2 >= part and 1 - low <= part + 1e-9 * part:
            return 1 - part, 1.0
    return low, high


def expected(plain, picture, padding):
    """Computes 16-bit (8-bit) levels of stored values; None where nothing can be seen."""
    grey, top = plain.shown(set(picture)), 255 if plain.bits <= 8 else 65535
    counted = [value for value in picture if value not in padding]
    used = sorted({grey[value] for value in counted})
    low, high = 0.0, 1.0
    if used and top == 65535:
        if 0.5 / 65535 < used[-1] - used[0] < 0.25:
            low, high = whole_bits(used[0], used[-1], 2**plain.bits - 1)
        else:
            for inner in (used[1:], used[:-1], used[1:-1]):
                if len(inner) > 16 and 0.5 / 65535 < inner[-1] - inner[0] < 0.125:
                    low, high = whole_bits(inner[0], inner[-1], 2**plain.bits - 1)
                    break
    shown = {v: min(max((g - low) / (high - low), 0), 1) * top for v, g in grey.items()}
    counts = Counter(round(round(shown[value]) * 255 / top) for value in counted)
    most = max(counts.values(), default=0)
    clipped = counts[0] + counts[255]
    if most >= 0.999 * len(counted) or (plain.voi[0] != "none" and clipped > 0.95 * len(counted)):
        return None
    return [shown[value] for value in picture]


@st.composite
def cases(draw):  # noqa: C901  a choice for each part of a header
    """Draws a header, its plain meaning, and a picture of it."""
    bits = draw(st.sampled_from((1, 4, 7, 8, 10, 11, 12, 13, 14, 15, 16)))
    allocated = 8 if bits <= 8 and draw(st.booleans()) else 16
    high = draw(st.integers(bits - 1, allocated - 1)) if draw(st.booleans()) else bits - 1
    signed = bits > 1 and draw(st.booleans())
    syntaxes = SYNTAXES if allocated == 8 or bits > 8 else SYNTAXES[:-1]  # not written by pydicom
    syntax = draw(st.sampled_from(syntaxes))
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    tags = {
        "BitsStored": bits, "HighBit": high, "PixelRepresentation": int(signed),
        "BitsAllocated": allocated,
    }  # fmt: skip
    lowest = -(2 ** (bits - 1)) if signed else 0

    def table(first_low, first_high):
        size = draw(st.sampled_from((2, 3, 255, 256, 257, 1024, 4096, 65536)))
        most = 65535 if first_low >= 0 else 32767  # of a word without and with a sign
        first = draw(st.integers(min(max(first_low, -32768), most), min(first_high, most)))
        if size > 32767 and first < 0:
            first = 0
        packed = draw(st.booleans())
        depth = draw(st.integers(3, 8 if packed else 16))
        rising = [i * (2**depth - 1) // (size - 1) for i in range(size)]
        entries = rising[::-1] if draw(st.booleans()) else rising
        declared = draw(st.sampled_from((depth, 8, 16)))
        return first, entries, lut(entries, first, declared, packed, order=order)

    match draw(st.sampled_from(("none", "empty", "rescale", "rescale", "lut"))):
        case "none":
            modality = ("linear", 1, 0)
        case "empty":
            modality = ("linear", 1, 0)
            tags |= {"RescaleSlope": None, "RescaleIntercept": None}
            tags |= {"ModalityLUTSequence": Sequence([])}
        case "rescale":
            slope = draw(st.sampled_from((1, 2, -1, -10, 0.5, 0.0625, -0.25, 16)))
            intercept = draw(st.sampled_from((0, 4095, -1024, 3000, 0.5)))
            modality = ("linear", slope, intercept)
            tags |= {"RescaleSlope": str(slope), "RescaleIntercept": str(intercept)}
        case _:
            first, entries, sequence = table(lowest, lowest + 2**bits - 1)
            modality = ("lut", first, entries)
            tags |= {"ModalityLUTSequence": sequence}
    plain = Plain(bits, signed, modality, ("none",), draw(st.booleans()))
    tags["PhotometricInterpretation"] = f"MONOCHROME{2 - plain.inverted}"
    ends = [plain.modality_value(value) for value in (plain.stored[0], plain.stored[-1])]
    kind = draw(st.sampled_from(("none", "empty", "window", "window", "lut")))
    if kind == "empty":
        tags |= {"WindowCenter": None, "WindowWidth": None, "VOILUTFunction": ""}
        tags |= {"VOILUTSequence": Sequence([pydicom.Dataset()]), "PixelPaddingValue": None}
    elif kind == "window":
        span = abs(ends[1] - ends[0])
        width = max(1, round(span * draw(st.sampled_from((0.01, 0.1, 0.3, 0.7, 1, 1.5, 5)))))
        center = round(min(ends) + span * draw(st.sampled_from((0, 0.2, 0.5, 0.9, 3))))
        function = draw(st.sampled_from(("LINEAR", "LINEAR_EXACT", "SIGMOID")))
        plain.voi = (function, center, width)
        tags |= {"WindowCenter": [str(center), "7"], "WindowWidth": [str(width), "9"]}
        if function != "LINEAR" or draw(st.booleans()):
            tags["VOILUTFunction"] = function
    elif kind == "lut":
        first, entries, sequence = table(math.floor(min(ends)), math.ceil(max(ends)))
        plain.voi = ("lut", first, entries)
        tags |= {"VOILUTSequence": sequence}
    padding = range(0)
    if draw(st.booleans()) and kind != "empty":
        ends = sorted(draw(st.integers(lowest, lowest + 2**bits - 1)) for _ in range(2))
        padding = range(ends[0], ends[0 if draw(st.booleans()) else 1] + 1)
        vr = "SS" if signed else "US"
        tags["PixelPaddingValue"] = pydicom.DataElement(0x00280120, vr, padding[0])
        if len(padding) > 1:
            tags["PixelPaddingRangeLimit"] = pydicom.DataElement(0x00280121, vr, padding[-1])
    share = draw(st.sampled_from((1, 1, 1 / 2, 1 / 16)))  # of the stored values occurs
    used = max(2, round(2**bits * share))
    start = draw(st.integers(0, 2**bits - used))
    seed = draw(st.integers(0, 2**32 - 1))
    generator = np.random.default_rng(seed)
    picture = generator.integers(start, start + used, SIDE * SIDE) + lowest
    if draw(st.booleans()):
        picture[:40] = plain.stored[-1]
    junk = generator.integers(0, 2**allocated, SIDE * SIDE)
    return tags, plain, picture, padding, syntax, junk


def words_of(tags, picture, junk):
    """Packs stored values into words: bits beside them hold anything (PS3.5 8.1.1)."""
    bits, shift = tags["BitsStored"], tags["HighBit"] + 1 - tags["BitsStored"]
    kept = (2**bits - 1) << shift
    words = ((picture << shift) & kept) | (junk & ~kept)
    dtype = np.uint8 if tags["BitsAllocated"] == 8 else np.uint16
    return words.astype(dtype).reshape(SIDE, SIDE)


def check(header, path):
    """Compares what is read of a header and its picture with the plain computation."""
    tags, plain, picture, padding, syntax, junk = header
    written(path, words_of(tags, picture, junk), syntax, **tags)
    right = expected(plain, picture.tolist(), padding)
    if right is None:
        with pytest.raises(RadiographError, match=r"one grey level|a window that makes"):
            read_levels(path)
        return
    shown = read_levels(path)
    assert shown.bits == (8 if plain.bits <= 8 else 16)
    apart = np.abs(shown.levels.ravel().astype(float) - right)
    assert apart.max() <= 0.5 + 1e-6


@pytest.mark.slow
@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=HealthCheck)
@given(case=cases())
def test_random_headers_are_shown_as_the_standard_says(case, tmp_path_factory):
    check(case, tmp_path_factory.getbasetemp() / "random.dcm")


def full(picture, **tags):
    """A window over 12 bits."""
    return {"BitsStored": 12, "HighBit": 11, "WindowCenter": "2048", "WindowWidth": "4096", **tags}


def correlation(path, picture):
    return np.corrcoef(read_levels(path).levels.ravel(), picture.ravel())[0, 1]


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("slope", [-1, -10])
def test_a_falling_slope_inverts_nothing(tmp_path, slope, function):
    """Dark is the lowest value behind the slope (C.11.2.1.2), whatever the slope's sign."""
    picture = ramp()
    tags = full(picture, RescaleSlope=str(slope), RescaleIntercept=str(-4095 * slope))
    tags |= {"VOILUTFunction": function, "WindowWidth": str(-4096 * slope)}
    tags |= {"WindowCenter": str(-2048 * slope)}
    assert correlation(written(tmp_path / "a.dcm", 4095 - picture, **tags), picture) > 0.98
    tags["PhotometricInterpretation"] = "MONOCHROME1"
    assert correlation(written(tmp_path / "b.dcm", picture, **tags), picture) > 0.98


def test_a_lut_of_other_bits_than_its_descriptor_says(tmp_path):
    """4,096 entries of 8, 10, 12 or 15 bits, whatever is declared: black to white either way."""
    picture = ramp()
    for bits in (8, 10, 12, 15, 16):
        entries = [value * (2**bits - 1) // 4095 for value in range(4096)]
        for declared in (8, 12, 16):
            tags = {"BitsStored": 12, "HighBit": 11, "VOILUTSequence": lut(entries, bits=declared)}
            shown = read_levels(written(tmp_path / "a.dcm", picture, **tags)).levels / 65535
            np.testing.assert_allclose(shown, picture / 4095, atol=1.3 / (2**bits - 1))


@pytest.mark.parametrize(
    "tags",
    [
        {"HighBit": ...},
        {"HighBit": None},
        {"RescaleSlope": None, "RescaleIntercept": None},
        {"RescaleSlope": "1", "RescaleIntercept": None},
        {"ModalityLUTSequence": Sequence([])},
        {"ModalityLUTSequence": Sequence([pydicom.Dataset()])},
        {"VOILUTSequence": Sequence([])},
        {"VOILUTSequence": Sequence([pydicom.Dataset()])},
        {"VOILUTFunction": ""},
        {"NumberOfFrames": None},
        {"PixelPaddingValue": None},
        {"PixelPaddingRangeLimit": None},
        {"PresentationLUTShape": ""},
        {"WindowCenter": None},
        {"WindowWidth": None},
        {"WindowCenter": ["", "2048"], "WindowWidth": ["", "4096"]},
    ],
    ids=str,
)
def test_what_is_empty_is_absent(tmp_path, tags):
    """PS3.5 7.4.5: an attribute of zero length means what its absence means."""
    picture = ramp()
    path = written(tmp_path / "a.dcm", picture, **full(picture, **tags))
    np.testing.assert_allclose(read_levels(path).levels / 65535, picture / 4095, atol=1e-4)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"PhotometricInterpretation": ...}, "without Photometric Interpretation, which"),
        ({"PhotometricInterpretation": ""}, "without Photometric Interpretation, which"),
        ({"BitsStored": ...}, "without Bits Stored, which"),
        ({"Rows": None, "Columns": ...}, "without Rows, Columns, which"),
        ({"PixelRepresentation": ...}, "without Pixel Representation, which"),
        ({"PixelRepresentation": 2}, "Pixel Representation is 2; expected 0 or 1"),
        ({"PixelData": ...}, r"without pixels \(Digital X-Ray Image Storage - For Presentation\)"),
        ({"HighBit": 9}, "High Bit is 9 with 12 bits stored of 16; expected 11"),
        ({"HighBit": 16}, "High Bit is 16 with 12 bits stored of 16"),
        ({"BitsStored": 17}, "Bits Stored is 17 of 16 that are allocated; expected 1 to 16"),
        ({"RescaleSlope": "0", "RescaleIntercept": "0"}, "Rescale Slope is 0, which makes all"),
        ({"WindowWidth": "0"}, "Window Width is 0; expected at least 1"),
        ({"WindowWidth": "-3", "VOILUTFunction": "SIGMOID"}, "expected more than 0"),
        ({"VOILUTFunction": "CUBIC"}, "VOI LUT Function is CUBIC; expected LINEAR, LINEAR_EXACT"),
        ({"VOILUTSequence": lut(range(10), size=99)}, "VOI LUT Sequence has 10 words for 99"),
        ({"WindowCenter": "-9000"}, "shows one grey level only .255 of 255."),
        ({"WindowCenter": "3000", "WindowWidth": "2"}, "a window that makes 100% of its pixels"),
    ],
    ids=str,
)
def test_what_cannot_be_shown_is_a_sentence_without_pythons_words(tmp_path, tags, words):
    picture = ramp()
    with pytest.raises(RadiographError, match=words) as fault:
        read_levels(written(tmp_path / "a.dcm", picture, **full(picture, **tags)))
    assert str(fault.value).startswith(f"{tmp_path / 'a.dcm'} ")
    assert "object" not in str(fault.value)


def test_a_directory_of_files_is_no_radiograph(tmp_path):
    path = written(tmp_path / "DICOMDIR", ramp(), PixelData=..., PhotometricInterpretation=...)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    dataset.save_as(path)
    with pytest.raises(RadiographError, match=r"without pixels \(Media Storage Directory Storage"):
        read_levels(path)


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"WindowCenter": None, "WindowWidth": None},
        {"WindowCenter": "32768", "WindowWidth": "65536"},
        {"PixelPaddingValue": 65535},
        {"PixelPaddingValue": 60000, "PixelPaddingRangeLimit": 65535},
    ],
    ids=str,
)
def test_few_bits_of_sixteen_are_spread_whatever_pads_them(tmp_path, bits, tags):
    """Of 65,536 levels 8 bits would keep 4 or 16; padding is no part of the picture."""
    picture = ramp(2**bits)
    padded = picture.copy()
    if "PixelPaddingValue" in tags:
        padded[:, :4] = 65535
        padded[:, 4:6] = tags["PixelPaddingValue"]
    shown = read_levels(written(tmp_path / "a.dcm", padded, **tags)).levels[:, 6:] / 65535
    np.testing.assert_allclose(shown, picture[:, 6:] / (2**bits - 1), atol=1e-4)


def test_padding_with_a_sign(tmp_path):
    picture = ramp().astype(np.int16)
    picture[:, :6] = -32768
    tags = {"PixelRepresentation": 1, "PixelPaddingValue": -32768}
    shown = read_levels(written(tmp_path / "a.dcm", picture.view(np.uint16), **tags)).levels
    assert np.unique(shown[:, 6:] >> 8).size > 200
    assert (shown[:, :6] == 0).all()
