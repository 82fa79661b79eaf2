"""Decodes compressed pixels with GDCM in a process of its own, which a damaged file may crash."""

import io
import subprocess
import sys

import numpy as np
import pydicom
from pydicom.pixels.utils import pixel_array

LONGEST_SECONDS = 120
PIXEL_ATTRIBUTES = (
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows",
    "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData",
)  # fmt: skip


def decoded_apart(dataset: pydicom.Dataset, bits_stored: int) -> np.ndarray:
    """Returns the stored values of a data set, decoded by another process.

    Args:
        dataset: Compressed pixels, and what describes them.
        bits_stored: Bits that are decoded of each value.

    Raises:
        ValueError: If they cannot be decoded, in few words.
    """
    pixels, content = pydicom.Dataset(), io.BytesIO()
    pixels.file_meta = pydicom.dataset.FileMetaDataset()
    pixels.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    for name in PIXEL_ATTRIBUTES:
        if name in dataset:
            pixels[name] = dataset[name]
    pydicom.dcmwrite(content, pixels)
    # -P: nothing of the current folder is imported, nor of this file's.
    command = [sys.executable, "-P", __file__, str(bits_stored)]
    try:
        process = subprocess.run(
            command,
            input=content.getvalue(),
            capture_output=True,
            timeout=LONGEST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as fault:
        raise ValueError(f"GDCM takes more than {LONGEST_SECONDS} s") from fault
    if process.returncode < 0:
        raise ValueError(f"GDCM was ended by signal {-process.returncode}: damaged pixels")
    if process.returncode:
        lines = process.stderr.decode("utf-8", "replace").split("\n")
        raise ValueError(" ".join([line for line in lines if line.strip()][-1:]))
    return np.asarray(np.load(io.BytesIO(process.stdout), allow_pickle=False))


def main() -> int:
    """Decodes a data set from standard input, and writes its values to standard output."""
    dataset = pydicom.dcmread(io.BytesIO(sys.stdin.buffer.read()), force=True)
    try:
        values = pixel_array(dataset, bits_stored=int(sys.argv[1]), decoding_plugin="gdcm")
    except Exception as fault:  # whatever GDCM and pydicom raise
        print(" ".join(str(fault).split()), file=sys.stderr)
        return 1
    np.save(sys.stdout.buffer, values, allow_pickle=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
