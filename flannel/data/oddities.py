"""What a file itself says against being a front view of a chest: by its colours or its header."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from flannel.data.headers import header_of
from flannel.data.radiograph import DECODING_FAULTS, PICTURE_FORMATS

LOOKED_AT_PX = 256
COLOURED = 32
"""Distance between a pixel's brightest and darkest channel, of 255, from which it has a colour."""
COLOURED_SHARE = 0.1
"""Share of coloured pixels from which a picture is one in colour. Of 1,682 real radiographs 78 are
stored in colour, with annotations, and 0.3 % of their pixels have one at most; two photographs:
33 and 79 %."""


def oddities(path: Path) -> Iterator[str]:
    """Names, in few words, what is odd about a file that `read_levels` can read."""
    header = header_of(path)
    if header is not None:
        yield from header.reasons_against
        return
    try:
        if path.suffix.lower() != ".img" and _coloured_share(path) > COLOURED_SHARE:
            yield "a picture in colour"
    except DECODING_FAULTS:
        return  # what cannot be read here tells nothing: the radiograph itself was read


def _coloured_share(path: Path) -> float:
    with Image.open(path, formats=PICTURE_FORMATS) as picture:
        if picture.mode in ("1", "L", "LA", "I;16", "I;16B", "I;16L", "I;16N"):
            return 0.0
        small = picture.convert("RGB")
    small.thumbnail((LOOKED_AT_PX, LOOKED_AT_PX))
    channels = np.asarray(small, np.int16)
    return float((np.ptp(channels, axis=2) > COLOURED).mean())
