"""Masks in, arrays of bits out, and back."""

import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image

from flannel.data.file_checks import DECODING_FAULTS, RadiographError, checked_start
from flannel.data.picture_file import PICTURE_FORMATS, open_picture
from flannel.files import whole_file

ALIKE = 0.05
"""Share of a mask's pixels that may lie between its two levels: those of a smoothed outline."""
MOST_LABELS = 16
"""Different levels up to which what is no mask is thought to label several structures."""


def read_mask(path: Path) -> Bool[np.ndarray, "height width"]:
    """Reads a mask: True inside.

    Levels 0 / 255, 0 / 1 and palettes with the indices 0 / 1 (as some GIF copies of the SCR
    masks) are understood; in colour files the brightest channel counts. In transparent files the
    transparency counts instead where the colours are the same everywhere (`is_alpha_mask`).

    Raises:
        RadiographError: If the file cannot be read, holds labels, or its colours and its
            transparency show two different masks. Also if more than 5 % of its pixels lie between
            the two levels of a mask; a smoothed outline has fewer.
    """
    checked_start(path)
    picture = open_picture(path)
    inside = _two_levels(_mask_levels(picture), path)
    opaque = _opaque(picture, path)
    if opaque is None or opaque.all() == opaque.any():
        return inside
    if inside.all() == inside.any():
        return opaque
    if np.count_nonzero(inside != opaque) > ALIKE * inside.size:
        raise RadiographError(
            f"{path} shows one mask by its colours and another by its transparency; expected one. "
            "Save it without transparency."
        )
    return inside


def is_alpha_mask(path: Path) -> bool:
    """Returns whether `read_mask` takes a file's transparency, because its colours show nothing.

    Raises:
        RadiographError: As `read_mask`.
    """
    try:
        with Image.open(path, formats=PICTURE_FORMATS) as header:
            if not header.has_transparency_data:
                return False
    except DECODING_FAULTS:
        pass  # the whole file is opened with a sentence
    picture = open_picture(path)
    opaque = _opaque(picture, path)
    if opaque is None or opaque.all() == opaque.any():
        return False
    inside = _two_levels(_mask_levels(picture), path)
    return bool(inside.all() == inside.any())


def _opaque(picture: Image.Image, path: Path) -> Bool[np.ndarray, "height width"] | None:
    """Returns where a picture is not transparent; None for one that cannot be."""
    if not picture.has_transparency_data:
        return None
    return _two_levels(np.asarray(picture.convert("RGBA"))[..., 3], path)


def _mask_levels(picture: Image.Image) -> np.ndarray:
    two_indices = picture.mode == "P" and np.asarray(picture).max() <= 1
    if two_indices or picture.mode in ("1", "L", "I;16"):
        return np.asarray(picture)
    return np.asarray(picture.convert("RGB")).max(axis=2)


def _two_levels(levels: np.ndarray, path: Path) -> Bool[np.ndarray, "height width"]:
    highest = int(levels.max())
    if highest <= 1:
        return levels > 0
    between = np.count_nonzero((levels > highest // 8) & (levels < highest - highest // 8))
    if between > ALIKE * levels.size or (between and highest <= MOST_LABELS):
        labels = np.unique(levels).tolist()
        if len(labels) <= MOST_LABELS:
            raise RadiographError(
                f"{path} holds the labels {', '.join(map(str, labels))}; expected a mask with two "
                "levels. Write each structure into a file of its own (masks/left_lung/, "
                "masks/right_lung/)."
            )
        raise RadiographError(
            f"{path} holds grey levels between black and white in {between / levels.size:.0%} of "
            "its pixels; expected a mask with two levels. Is it a radiograph?"
        )
    return levels > highest // 2


def write_mask(mask: Bool[np.ndarray, "height width"], path: Path) -> None:
    """Writes a mask as an 8-bit PNG with 0 outside and 255 inside, whole or not at all."""
    with whole_file(path) as beside:
        # Runs of equal pixels are all there is to compress: quicker and smaller than the default.
        picture = Image.fromarray(mask.astype(np.uint8) * 255)
        picture.save(beside, format="PNG", compress_type=zlib.Z_RLE)
