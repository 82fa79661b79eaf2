"""A DICOM file as a data set, also where what PS3.10 7.1 wants before it is missing."""

import io
from pathlib import Path

import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from flannel.data.formats import DICOM_AT, DICOM_PREFIX, first_bytes

FILE_META_GROUP = b"\x02\x00"


def read_dataset(path: Path, pixels: bool) -> pydicom.Dataset:
    """Reads a DICOM file, without preamble, prefix or file meta information too.

    Without the latter the pixels are taken as not compressed, in the encoding of the attributes.

    Args:
        path: The file.
        pixels: Read the pixels too.

    Raises:
        ValueError: If the pixels are compressed, and nothing says how.
        Exception: Whatever pydicom raises for damaged files.
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
