"""DICOM files: as data sets, also without what PS3.10 7.1 wants before them, and as pixels."""

import io
import warnings
from pathlib import Path

import numpy as np
import pydicom
from jaxtyping import Int64
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import get_frame
from pydicom.errors import BytesLengthException
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
)

from flannel.data.dicom_levels import (
    GreyTable,
    grey_table,
    spelt_out,
    stored_values,
    value_of,
    whole_number_of,
)
from flannel.data.file_checks import (
    DECODING_FAULTS,
    RadiographError,
    check_pixels,
    check_side,
)
from flannel.data.formats import DICOM_AT, DICOM_PREFIX, first_bytes
from flannel.data.jpeg import jpeg_damage

FILE_META_GROUP = b"\x02\x00"

BEYOND_GDCM = (HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL)
"""Compressions that the extra `dicom` cannot decode."""
NEEDED = (
    "PhotometricInterpretation", "SamplesPerPixel", "Rows", "Columns", "BitsAllocated",
    "BitsStored", "PixelRepresentation",
)  # fmt: skip
"""Attributes without which pixels cannot be read (PS3.3 C.7.6.3, Type 1)."""


def read_dataset(path: Path, pixels: bool) -> pydicom.Dataset:
    """Reads a DICOM file, without preamble, prefix or file meta information too.

    Without the latter the pixels are taken as not compressed, in the encoding of the attributes.

    Args:
        path: The file.
        pixels: Read the pixels too.

    Raises:
        Exception: One of `DECODING_FAULTS`; a ValueError if nothing says how pixels are compressed.
    """
    start = first_bytes(path)
    source: Path | io.BytesIO = path
    if start[:4] == DICOM_PREFIX:
        source = io.BytesIO(bytes(DICOM_AT) + path.read_bytes())
    elif start[:2] == FILE_META_GROUP and start[DICOM_AT : DICOM_AT + 4] != DICOM_PREFIX:
        source = io.BytesIO(bytes(DICOM_AT) + DICOM_PREFIX + path.read_bytes())
    dataset = pydicom.dcmread(source, stop_before_pixels=not pixels, force=True)
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    if dataset.file_meta.get("TransferSyntaxUID") is None:
        if "PixelData" in dataset and dataset["PixelData"].is_undefined_length:
            raise ValueError("its file meta information, which names the compression, is missing")
        implicit, little_endian = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little_endian else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset


def read_dicom(path: Path) -> tuple[Int64[np.ndarray, "height width"], GreyTable]:
    """Reads a DICOM radiograph.

    Returns:
        The row of the table for each pixel, and the table of what each stored value is shown as.

    Raises:
        RadiographError: If the file is no single radiograph in grey levels, or is damaged.
    """
    try:
        with warnings.catch_warnings():  # of values that deviate a little from the standard
            warnings.simplefilter("ignore", UserWarning)
            return _pixels(path, read_dataset(path, pixels=True))
    except RadiographError:
        raise
    except DECODING_FAULTS as fault:
        raise RadiographError(
            f"{path} is a DICOM file whose pixels cannot be read{_reason(fault)}; export it again."
        ) from fault


def _pixels(
    path: Path, dataset: pydicom.Dataset
) -> tuple[Int64[np.ndarray, "height width"], GreyTable]:
    _check_image(path, dataset)
    _check_decoder(path, dataset)
    table, stored = grey_table(dataset), stored_values(dataset)
    if dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit and (
        damage := jpeg_damage(get_frame(dataset.PixelData, 0, number_of_frames=1))
    ):
        raise ValueError(damage)
    if stored.ndim != 2:
        raise RadiographError(
            f"{path} holds pixels of several samples; expected one grey level a pixel."
        )
    rows = stored.astype(np.int64) - table.first
    if rows.min() < 0 or rows.max() >= table.grey.size:
        raise ValueError("its pixels hold more bits than Bits Stored")
    return rows, table


def _check_image(path: Path, dataset: pydicom.Dataset) -> None:
    """Refuses what is no single radiograph in grey levels, before its pixels are decoded."""
    if value_of(dataset, "PixelData") is None:
        kind = dataset.file_meta.get("MediaStorageSOPClassUID")
        name = f" ({kind.name})" if kind else ""
        raise RadiographError(
            f"{path} is a DICOM file without pixels{name}; expected a radiograph."
        )
    missing = [name for name in NEEDED if value_of(dataset, name) is None]
    if missing:
        raise RadiographError(
            f"{path} is a DICOM file without {', '.join(map(spelt_out, missing))}, which its "
            "pixels cannot be read without. Export it again."
        )
    columns, rows = whole_number_of(dataset, "Columns"), whole_number_of(dataset, "Rows")
    check_pixels(path, columns, rows)
    check_side(path, columns, rows)
    frames = whole_number_of(dataset, "NumberOfFrames", default=1)
    if frames not in (0, 1):
        raise RadiographError(f"{path} holds {frames} frames; expected one radiograph.")
    kind = str(value_of(dataset, "PhotometricInterpretation"))
    if kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise RadiographError(
            f"{path} is a DICOM file of {kind}; expected MONOCHROME1 or MONOCHROME2."
        )


def _check_decoder(path: Path, dataset: pydicom.Dataset) -> None:
    """Refuses compressed pixels for which no decoder is installed."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        return
    try:
        decoders = set(get_decoder(syntax).available_plugins)
    except NotImplementedError:
        return  # of no known syntax, or of one of films: its own sentence follows
    if syntax == JPEGExtended12Bit and whole_number_of(dataset, "BitsStored") > 8:
        decoders -= {"pillow"}
    if not decoders:
        extra = "pip install 'patched-flannel[dicom]', or pip install -e '.[dicom]' here"
        raise RadiographError(
            f"{path} is a DICOM file compressed as {syntax.name}, and no decoder for it is "
            + (
                "known. Export the file uncompressed."
                if syntax in BEYOND_GDCM
                else f"installed. Install one ({extra}), or export the file uncompressed."
            )
        )


def _reason(fault: BaseException) -> str:
    """Returns what pydicom says of a file in brackets; nothing where Python itself speaks."""
    spoken = isinstance(fault, ValueError | RuntimeError | OSError | BytesLengthException)
    reason = " ".join(str(fault).split())  # pydicom's list of decoders has a line for each
    return f" ({reason.rstrip('.')})" if spoken and reason else ""
