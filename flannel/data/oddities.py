"""What a file itself says against being a front view of a chest: by its colours or its header."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image

from flannel.data.radiograph import DECODING_FAULTS, PICTURE_FORMATS, read_header

MODALITIES = ("CR", "DX", "DR", "RF", "RG", "")
"""DICOM's names for what makes radiographs; an unknown modality is passed over."""
LATERAL_VIEWS = ("LL", "RL", "LLD", "RLD", "LAT", "LATERAL")
CHEST = ("CHEST", "THORAX", "LUNG")
LOOKED_AT_PX = 256
COLOURED = 32
"""Distance between a pixel's brightest and darkest channel, of 255, from which it has a colour."""
COLOURED_SHARE = 0.1
"""Share of coloured pixels from which a picture is one in colour. Of 1,682 real radiographs 78 are
stored in colour, with annotations, and 0.3 % of their pixels have one at most; two photographs:
33 and 79 %."""


def oddities(path: Path) -> Iterator[str]:
    """Names, in few words, what is odd about a file that `read_levels` can read."""
    with path.open("rb") as stream:
        is_dicom = stream.read(132)[128:] == b"DICM"
    try:
        if is_dicom:
            yield from _of_header(read_header(path))
        elif path.suffix.lower() != ".img" and _coloured_share(path) > COLOURED_SHARE:
            yield "a picture in colour"
    except DECODING_FAULTS:
        return  # what cannot be read here tells nothing: the radiograph itself was read


def _of_header(header: pydicom.Dataset) -> Iterator[str]:
    modality = _word(header, "Modality")
    if modality not in MODALITIES:
        yield f"modality {modality}, not a radiograph"
    part = _word(header, "BodyPartExamined")
    if part and not any(word in part for word in CHEST):
        yield f"body part {part}, not the chest"
    if _word(header, "ViewPosition") in LATERAL_VIEWS:
        yield "a lateral view by its header"


def _word(header: pydicom.Dataset, name: str) -> str:
    return str(header.get(name) or "").strip().upper()


def _coloured_share(path: Path) -> float:
    with Image.open(path, formats=PICTURE_FORMATS) as picture:
        if picture.mode in ("1", "L", "LA", "I;16", "I;16B", "I;16L", "I;16N"):
            return 0.0
        small = picture.convert("RGB")
    small.thumbnail((LOOKED_AT_PX, LOOKED_AT_PX))
    channels = np.asarray(small, np.int16)
    return float((np.ptp(channels, axis=2) > COLOURED).mean())
