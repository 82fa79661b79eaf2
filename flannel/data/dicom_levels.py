"""DICOM's grey levels: one table from every stored value to what is shown (PS3.3 C.11)."""

from collections.abc import Callable, Sized
from dataclasses import dataclass

import numpy as np
import pydicom
from jaxtyping import Bool, Float64, Int64
from pydicom.datadict import dictionary_description
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, JPEGExtended12Bit, RLELossless

from flannel.data.gdcm_decoder import decoded_apart

MOST_BITS = 16
"""Bits Stored of radiographs end here (PS3.3 C.8.11.3), and so does the table."""

Values = Float64[np.ndarray, " values"]


@dataclass(frozen=True)
class GreyTable:
    """What each stored value of a file is shown as.

    Attributes:
        first: The stored value of the first entry; the others follow one by one.
        grey: Grey value of each stored value, 0 black to 1 white, lungs dark.
        counted: Whether a stored value is part of the picture, and no padding.
        chosen: Whether a window or VOI LUT of the file chooses what is black and white.
    """

    first: int
    grey: Values
    counted: Bool[np.ndarray, " values"]
    chosen: bool


def value_of(dataset: pydicom.Dataset, keyword: str) -> object | None:
    """Returns an attribute's value, None if it is absent or of zero length: the same (PS3.5 7.4.5).

    Args:
        dataset: Holds the attribute, or does not.
        keyword: DICOM's own, such as `WindowWidth`.
    """
    value = dataset.get(keyword)
    if isinstance(value, str):
        return value.strip(" \0") or None
    return None if isinstance(value, Sized) and not len(value) else value


def spelt_out(keyword: str) -> str:
    """Returns the standard's name of an attribute, such as "Window Width"."""
    return dictionary_description(keyword)


def number_of(dataset: pydicom.Dataset, keyword: str) -> float | None:
    """Returns an attribute's number, the first of several; None if it is absent or empty.

    Raises:
        ValueError: If it is no finite number.
    """
    numbers = _numbers(dataset, keyword)
    return numbers[0] if numbers else None


def whole_number_of(dataset: pydicom.Dataset, keyword: str, default: int | None = None) -> int:
    """Returns an attribute's whole number, or the default where it is absent or empty.

    Raises:
        ValueError: If it is no whole number, or is absent without a default.
    """
    number = number_of(dataset, keyword)
    if number is None:
        if default is None:
            raise ValueError(f"{spelt_out(keyword)} is missing")
        return default
    if number != int(number):
        raise ValueError(f"{spelt_out(keyword)} is {number:g}; expected a whole number")
    return int(number)


def stored_values(dataset: pydicom.Dataset) -> np.ndarray:
    """Decodes the pixels as the values that are stored (PS3.5 8.1.1), signed or not.

    Raises:
        Exception: Of pydicom, or a ValueError of a header that contradicts itself.
    """
    bits, high = _bits(dataset)
    syntax = dataset.file_meta.TransferSyntaxUID
    # What JPEG and its successors encode has no unused bits.
    shift = 0 if syntax.is_encapsulated and syntax != RLELossless else high + 1 - bits
    decoder = _decoder_of(syntax, bits)
    if decoder == "gdcm":
        values = decoded_apart(dataset, bits + shift)
    else:
        values = pixel_array(dataset, bits_stored=bits + shift, decoding_plugin=decoder)
    return values >> shift if shift else values


def _decoder_of(syntax: UID, bits: int) -> str:
    """Returns Pillow where it can decode, else what is there, GDCM last; "" for any.

    So what lossy files show does not depend on the decoders that are installed.
    """
    if not syntax.is_encapsulated:
        return ""
    decoders = get_decoder(syntax).available_plugins
    if syntax == JPEGExtended12Bit and bits > 8:
        decoders = tuple(name for name in decoders if name != "pillow")
    if "pillow" in decoders:
        return "pillow"
    return "gdcm" if decoders == ("gdcm",) else next((d for d in decoders if d != "gdcm"), "")


def grey_table(dataset: pydicom.Dataset) -> GreyTable:
    """Maps every value that can be stored to the grey value that is shown.

    The way is the standard's: Modality LUT or rescale (C.11.1), then VOI LUT or window (C.11.2), of
    which the first is taken, or else the whole range; MONOCHROME1 is inverted last. Presentation
    LUT Shape is passed over: it says INVERSE of a MONOCHROME1 once more, and of others wrongly.

    Unlike the standard, a VOI LUT whose descriptor promises other bits than its entries use is
    shown over the bits that they use, as viewers do.

    Raises:
        ValueError: If a value makes no sense, in words that name the attribute.
    """
    bits, _ = _bits(dataset)
    first = -(2 ** (bits - 1)) if _is_signed(dataset) else 0
    stored = np.arange(first, first + 2**bits, dtype=np.int64)
    values = _modality_values(dataset, stored)
    ends = float(values.min()), float(values.max())
    voi, chosen = _voi(dataset, ends)
    grey = np.clip(voi(values), 0, 1)
    if value_of(dataset, "PhotometricInterpretation") == "MONOCHROME1":
        grey = 1 - grey
    return GreyTable(first, grey, ~_padding(dataset, stored), chosen)


def _numbers(dataset: pydicom.Dataset, keyword: str) -> list[float | None]:
    """Returns an attribute's numbers; None for an empty one of several."""
    value = value_of(dataset, keyword)
    if value is None:
        return []
    several = isinstance(value, Sized) and not isinstance(value, str | bytes)
    return [_number(part, keyword) for part in (list(value) if several else [value])]  # type: ignore[call-overload]


def _number(value: object, keyword: str) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise ValueError(f"{spelt_out(keyword)} is {value!r}; expected a number")
    return number


def _is_signed(dataset: pydicom.Dataset) -> bool:
    representation = whole_number_of(dataset, "PixelRepresentation")
    if representation not in (0, 1):
        raise ValueError(f"Pixel Representation is {representation}; expected 0 or 1")
    return representation == 1


def _bits(dataset: pydicom.Dataset) -> tuple[int, int]:
    """Returns Bits Stored and High Bit."""
    allocated = whole_number_of(dataset, "BitsAllocated")
    bits = whole_number_of(dataset, "BitsStored")
    if not 1 <= bits <= min(allocated, MOST_BITS):
        raise ValueError(
            f"Bits Stored is {bits} of {allocated} that are allocated; expected 1 to "
            f"{min(allocated, MOST_BITS)}"
        )
    high = whole_number_of(dataset, "HighBit", default=bits - 1)
    if not bits - 1 <= high < allocated:
        raise ValueError(
            f"High Bit is {high} with {bits} bits stored of {allocated}; expected {bits - 1}"
        )
    return bits, high


def _padding(
    dataset: pydicom.Dataset, stored: Int64[np.ndarray, " values"]
) -> Bool[np.ndarray, " values"]:
    """Returns which stored values are padding, and no part of the picture (C.7.5.1.1.2)."""
    padding = number_of(dataset, "PixelPaddingValue")
    if padding is None:
        return np.zeros(stored.size, bool)
    limit = number_of(dataset, "PixelPaddingRangeLimit")
    # Whether the header's integers have a sign is as uncertain as their width: modulo the range.
    edges = (padding, padding if limit is None else limit)
    ends = sorted((int(edge) - stored[0]) % stored.size for edge in edges)
    rows = np.arange(stored.size)
    return (rows >= ends[0]) & (rows <= ends[1])


def _modality_values(dataset: pydicom.Dataset, stored: Int64[np.ndarray, " values"]) -> Values:
    """Maps stored values through the Modality LUT, or slope and intercept (C.11.1)."""
    lut = _lut(dataset, "ModalityLUTSequence", lowest=int(stored[0]), highest=int(stored[-1]))
    if lut is not None:
        return lut.of(stored.astype(np.float64))
    slope, intercept = number_of(dataset, "RescaleSlope"), number_of(dataset, "RescaleIntercept")
    if slope == 0:
        raise ValueError("Rescale Slope is 0, which makes all values the same; expected another")
    return stored * (1.0 if slope is None else slope) + (intercept or 0.0)


@dataclass(frozen=True)
class _LUT:
    """A lookup table: values below the first entry's get the first, beyond the last's the last."""

    first: int
    entries: Int64[np.ndarray, " entries"]

    def of(self, values: Values) -> Values:
        rows = np.clip(np.floor(values) - self.first, 0, self.entries.size - 1)
        return self.entries[rows.astype(np.int64)].astype(np.float64)


def _lut(dataset: pydicom.Dataset, sequence: str, lowest: float, highest: float) -> _LUT | None:
    """Reads the first lookup table of a sequence that is not hollow.

    Args:
        dataset: Holds the sequence, or does not.
        sequence: Its keyword.
        lowest: The lowest value that can come in; below 0 the first one mapped may have a sign.
        highest: The highest.
    """
    for item in dataset.get(sequence) or ():
        descriptor = [int(part) for part in _numbers(item, "LUTDescriptor") if part is not None]
        data = value_of(item, "LUTData")
        if len(descriptor) != 3 or data is None:
            continue
        size, first, _ = descriptor
        size = size % 2**16 or 2**16  # 0 stands for 65,536, and some readers see a sign
        if first >= 2**15 and lowest < 0:
            first -= 2**16
        elif first < 0 <= lowest and highest >= 2**15:
            first += 2**16
        little = dataset.original_encoding[1] is not False
        return _LUT(first, _entries(data, size, little, spelt_out(sequence)))
    return None


def _entries(data: object, size: int, little: bool, name: str) -> Int64[np.ndarray, " entries"]:
    """Returns a lookup table's entries, of 16 bits or of 8 bits, two of them to a word."""
    if isinstance(data, bytes):
        words = np.frombuffer(data[: len(data) // 2 * 2], "<u2" if little else ">u2")
    else:
        words = np.atleast_1d(np.asarray(data, np.int64)).astype(np.uint16)
    if words.size == (size + 1) // 2:
        words = words.astype("<u2").view(np.uint8)
    if words.size < size:
        raise ValueError(f"{name} has {words.size} words for {size} entries; expected as many")
    return words[:size].astype(np.int64)


def _voi(
    dataset: pydicom.Dataset, ends: tuple[float, float]
) -> tuple[Callable[[Values], Values], bool]:
    """Returns what maps values of interest to 0 and beyond 1, and whether the file chooses it."""
    lowest, highest = ends
    lut = _lut(dataset, "VOILUTSequence", lowest, highest)
    if lut is not None:
        top = 2 ** max(int(lut.entries.max()).bit_length(), 1) - 1
        return lambda values: lut.of(values) / top, True
    windows = zip(_numbers(dataset, "WindowCenter"), _numbers(dataset, "WindowWidth"), strict=False)
    for center, width in windows:
        if center is not None and width is not None:
            function = str(value_of(dataset, "VOILUTFunction") or "LINEAR")
            return _window(function, center, width), True
    return lambda values: (values - lowest) / (highest - lowest or 1), False


def _window(function: str, center: float, width: float) -> Callable[[Values], Values]:
    """Returns a window's curve, which is black at 0 and below, and white at 1 and beyond.

    The formulas of C.11.2.1.2.1 (LINEAR), C.11.2.1.3.1 (SIGMOID) and C.11.2.1.3.2 (LINEAR_EXACT),
    for an output from 0 to 1.
    """
    least = 1 if function == "LINEAR" else 0
    if width < least or width == 0:
        raise ValueError(
            f"Window Width is {width:g}; expected {'at least 1' if least else 'more than 0'}"
        )
    match function:
        case "LINEAR" if width == 1:
            return lambda values: (values > center - 0.5).astype(np.float64)
        case "LINEAR":
            return lambda values: (values - (center - 0.5)) / (width - 1) + 0.5
        case "LINEAR_EXACT":
            return lambda values: (values - center) / width + 0.5
        case "SIGMOID":
            # 1 / (1 + exp(-4 (x - c) / w)), in a form that cannot overflow.
            return lambda values: 0.5 + 0.5 * np.tanh(2 * (values - center) / width)
        case _:
            raise ValueError(
                f"VOI LUT Function is {function}; expected LINEAR, LINEAR_EXACT or SIGMOID"
            )
