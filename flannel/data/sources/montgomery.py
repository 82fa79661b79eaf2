"""Montgomery County radiographs with lung masks (Jaeger, Candemir et al. 2014, NLM).

138 radiographs, one of each patient: 80 normal and 58 with tuberculosis, 4020 x 4892 pixels.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from flannel.data.diagnosis import FLANNEL
from flannel.data.file_checks import RadiographError
from flannel.data.mask import read_mask, write_mask
from flannel.data.phantom import varied_size, write_phantom
from flannel.data.sources.mask_pairs import (
    SIDES,
    MaskPair,
    files_by_stem,
    paired,
    tell_left_out,
)

NAME = "montgomery"
CONVENTION = "montgomery"
TOP = "MontgomerySet"
MASKS = ("leftMask", "rightMask")


def is_here(folder: Path) -> bool:
    """Returns whether the folder, or `MontgomerySet` in it, is laid out as this data set."""
    top = _top(folder)
    masks = [top / "ManualMask" / name for name in MASKS]
    return all(place.is_dir() for place in (top / "CXR_png", *masks))


def pairs(folder: Path) -> list[MaskPair]:
    """Lists the radiographs that have both lung masks, sorted by stem.

    The read-me does not say whose left `leftMask` is, and public programs take it for the left
    of the picture. So the first masks that can be read decide for the whole set: the left lung,
    the patient's as in all sets, is the one on the right of the picture. Radiographs that lack a
    mask are left out and named on stderr.

    Args:
        folder: Holds `CXR_png/`, `ManualMask/leftMask/` and `ManualMask/rightMask/`, or
            `MontgomerySet/` with these.
    """
    top = _top(folder)
    named = {
        side: files_by_stem(top / "ManualMask" / name)
        for side, name in zip(SIDES, MASKS, strict=True)
    }
    usable, faults = paired(files_by_stem(top / "CXR_png"), named, NAME, CONVENTION)
    tell_left_out(folder, faults)
    left, right = SIDES
    if _left_is_the_pictures(usable):
        usable = [
            replace(pair, masks={left: pair.masks[right], right: pair.masks[left]})
            for pair in usable
        ]
    # MCUCXR_0001_0: the last part is the finding.
    return [replace(pair, patient=pair.stem.rpartition("_")[0]) for pair in usable]


def _top(folder: Path) -> Path:
    return folder / TOP if (folder / TOP).is_dir() else folder


def _left_is_the_pictures(pairs: list[MaskPair]) -> bool:
    """Returns whether `leftMask` holds the lung on the left of the picture."""
    for pair in pairs:
        try:
            columns = [np.nonzero(read_mask(pair.masks[side][0]))[1] for side in SIDES]
        except RadiographError:
            continue
        if all(some.size for some in columns):
            return bool(columns[0].mean() < columns[1].mean())
    return False


def write_phantoms(folder: Path, count: int, seed: int, size: int = 512) -> None:
    """Writes made-up pairs in this layout, `leftMask` on the left of the picture.

    Args:
        folder: Gets `MontgomerySet/`.
        count: Pairs to draw.
        seed: Seed of all randomness.
        size: Nominal side of the images in pixels.
    """
    top = folder / TOP
    for number in range(count):
        generator = np.random.default_rng([seed, 5, number])
        diagnosis = FLANNEL[number % len(FLANNEL)]
        name = f"MCUCXR_{number + 1:04d}_{int(diagnosis != 'Normal')}.png"
        size_px = varied_size(generator, size)
        phantom = write_phantom(top / "CXR_png" / name, diagnosis, generator, size_px)
        write_mask(phantom.right_lung, top / "ManualMask" / "leftMask" / name)
        write_mask(phantom.left_lung, top / "ManualMask" / "rightMask" / name)
