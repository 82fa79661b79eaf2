"""The perceptual hash of a radiograph, which stays nearly the same when it is saved anew."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image
from scipy.fft import dctn

from flannel.data.registration import blurred

HASH_SIDE, DETAIL_SIDE, WAVES = 64, 96, 16
"""Sides of the three parts of a hash: structure, detail, and the lowest cosine coefficients."""
HASH_BYTES = (HASH_SIDE**2 + 2 * DETAIL_SIDE**2 + WAVES**2) // 8
STRUCTURE_PX, DETAIL_PX = (0.7, 3.0), (0.75, 2.25)
"""Sigmas of the two Gaussian filters whose difference is taken, at the side of the part."""
LEAST_STRUCTURE, LEAST_DETAIL = 0.1, 0.35
"""Share of the local contrast above which a pixel differs: noise in an even area does not."""
REDUCED_PX = 32
"""Side of the reduction whose lowest WAVES x WAVES cosine coefficients are hashed."""

TRIMMED_AT_PX = 256
EVEN_LEVELS = 12
"""A margin's rows hold grey levels at most so far apart, but for 2 % at each end."""
LEAST_CONTENT = 0.2
"""A picture is not trimmed to less than this share of itself."""

LEAST_BITS = HASH_SIDE**2 // 16
"""A picture with structure has a third to a half of the bits; a flat one has hardly any."""


def perceptual_hash(levels: UInt8[np.ndarray, "height width"]) -> bytes:
    """Returns bits that stay nearly the same when a radiograph is saved in another way.

    Even margins, such as the bars of a letterbox, are cut off, and the rest is stretched to a
    square. *Structure*: a bit of 64 x 64 tells whether a pixel is brighter than its surroundings.
    *Detail*: two bits of 96 x 96 tell whether it is brighter or darker than those close by. So
    brightness, contrast, size and compression matter little, and the hash of a moved copy is the
    moved hash. *Waves*: a bit for each of the 16 x 16 lowest cosine coefficients of the whole
    picture, margins included, tells whether it is above their median.

    Args:
        levels: Grey levels 0..255 of any size, as decoded or from the store.

    Returns:
        2,848 bytes: structure, brighter, darker, waves, each row by row; all zeros for a flat
        picture.
    """
    picture = Image.fromarray(levels)
    # The gap lets Pillow average whole blocks first: ten times as quick for 1024 px.
    reduced = picture.resize((REDUCED_PX, REDUCED_PX), Image.Resampling.BICUBIC, reducing_gap=2.0)
    picture.thumbnail((TRIMMED_AT_PX, TRIMMED_AT_PX), Image.Resampling.BOX)
    trimmed = Image.fromarray(_trimmed(np.asarray(picture)))
    structure, contrast = _differences(trimmed, HASH_SIDE, STRUCTURE_PX)
    bright = structure > LEAST_STRUCTURE * contrast + 0.1
    if not bright.any():
        return bytes(HASH_BYTES)
    detail, contrast = _differences(trimmed, DETAIL_SIDE, DETAIL_PX)
    least = LEAST_DETAIL * contrast + 0.05
    parts = (bright, detail > least, detail < -least, _waves(np.asarray(reduced)))
    return b"".join(np.packbits(part).tobytes() for part in parts)


def unpacked(hashes: Sequence[bytes]) -> Bool[np.ndarray, "images side side"]:
    """Returns the structure of hashes as pictures of bits.

    Raises:
        ValueError: If one has another length.
    """
    return _bits(hashes, 0, HASH_SIDE)


def details(hashes: Sequence[bytes]) -> Float32[np.ndarray, "images side side"]:
    """Returns the detail of hashes: 1 where brighter, -1 where darker, 0 elsewhere.

    Raises:
        ValueError: If one has another length.
    """
    brighter = HASH_SIDE**2 // 8
    darker = brighter + DETAIL_SIDE**2 // 8
    values = (_bits(hashes, start, DETAIL_SIDE) for start in (brighter, darker))
    bright, dark = (bits.astype(np.float32) for bits in values)
    return bright - dark


def waves(hashes: Sequence[bytes]) -> Bool[np.ndarray, "images 16 16"]:
    """Returns the bits of the lowest cosine coefficients.

    Raises:
        ValueError: If one has another length.
    """
    return _bits(hashes, HASH_BYTES - WAVES**2 // 8, WAVES)


def has_structure(value: bytes) -> bool:
    """Returns whether a picture was more than flat: flat ones are alike, and no duplicates."""
    bits = int.from_bytes(value[: HASH_SIDE**2 // 8]).bit_count()
    return LEAST_BITS <= bits <= HASH_SIDE**2 - LEAST_BITS


def _bits(hashes: Sequence[bytes], start: int, side: int) -> Bool[np.ndarray, "images side side"]:
    for value in hashes:
        if len(value) != HASH_BYTES:
            raise ValueError(f"A hash has {len(value)} bytes; expected {HASH_BYTES}.")
    packed = b"".join(value[start : start + side**2 // 8] for value in hashes)
    bits = np.unpackbits(np.frombuffer(packed, np.uint8))
    return bits.reshape(len(hashes), side, side).astype(bool)


def _differences(
    picture: Image.Image, side: int, sigmas: tuple[float, float]
) -> tuple[Float32[np.ndarray, "side side"], Float32[np.ndarray, "side side"]]:
    """Returns how pixels differ from their surroundings, and how much they do there usually."""
    fine, coarse = sigmas
    # Enlarged by BOX, a mirrored picture would not be the mirror image.
    smaller = min(picture.size) >= side
    way = Image.Resampling.BOX if smaller else Image.Resampling.BICUBIC
    grey = np.asarray(picture.resize((side, side), way), np.float32)[None]
    differences = blurred(grey, fine) - blurred(grey, coarse)
    contrast = np.sqrt(blurred(differences**2, 1.5 * coarse))
    return differences[0], (contrast + contrast.mean() / 4)[0]


def _waves(reduced: UInt8[np.ndarray, "32 32"]) -> Bool[np.ndarray, "16 16"]:
    # Rounded, so that the zeros of a flat picture are equal on every machine.
    lowest = np.round(dctn(reduced.astype(np.float64), norm="ortho")[:WAVES, :WAVES], 6)
    return lowest > np.median(lowest)


def _trimmed(levels: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "rows columns"]:
    """Cuts even margins off."""
    box = levels
    for _ in range(2):  # bars above shorten the columns beside, and the other way round
        box = box[_content(box)]
        box = box[:, _content(box.T)]
    return box if box.size >= LEAST_CONTENT * levels.size else levels


def _content(levels: UInt8[np.ndarray, "lines length"]) -> slice:
    """Returns the lines between even ones at both ends; all where every line is even."""
    low, high = np.percentile(levels, [2, 98], axis=1, method="nearest").astype(np.int16)
    uneven = np.flatnonzero(high - low > EVEN_LEVELS)
    return slice(uneven[0], uneven[-1] + 1) if len(uneven) else slice(None)
