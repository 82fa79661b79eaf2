"""Duplicates: the same file twice, the same radiograph in two files, and the groups they join."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from scipy.fft import dctn

HASH_SIDE = 16
HASH_BITS = HASH_SIDE**2
REDUCED_PX = 32
"""Side of the reduction whose lowest HASH_SIDE x HASH_SIDE cosine coefficients are hashed."""

NEAR_DISTANCE = 24
"""Two radiographs at most so many of 256 bits apart count as near duplicates.

Measured on 1,819 real files of CCX and KCX. 402 pairs are the same radiograph at another size,
compressed anew, or a known duplicate: at most 8 bits apart. 1.65 million pairs are of different
patients: at least 44 apart, and the closest were looked at and are different children. Two
radiographs of one patient are 48 or more apart, so follow-ups are not joined. Among different
pairs a tenth is left for every 7 bits less: 24 should join no wrong pair among 35,000 radiographs.

What is found when a radiograph was changed: saved as a JPEG of 150 px and quality 30 all (at most
16 bits), with gamma 0.6 or 1.6 nine of ten (median 16), equalised one of two. Not found: cut by
2 % on each side (median 36) or more, a large letter burnt in (52), a border of 10 % (90).
"""

BLOCK = 512
"""Rows compared at a time: a block of 512 x 35,000 distances takes 72 MB."""


def perceptual_hash(levels: UInt8[np.ndarray, "height width"]) -> int:
    """Gives 256 bits that stay nearly the same when a radiograph is resized or compressed.

    The radiograph is stretched to 32 x 32; each of its 16 x 16 lowest cosine coefficients gives one
    bit: 1 above their median. Adding to all grey levels or multiplying them changes no bit.

    Args:
        levels: Grey levels 0..255 of any size, as decoded or from the store.

    Returns:
        A number below 2**256; `(a ^ b).bit_count()` is the distance of two.
    """
    side = (REDUCED_PX, REDUCED_PX)
    # The gap lets Pillow average whole blocks first: ten times as quick for 1024 px.
    reduced = Image.fromarray(levels).resize(side, Image.Resampling.BICUBIC, reducing_gap=2.0)
    lowest = dctn(np.asarray(reduced, np.float64), norm="ortho")[:HASH_SIDE, :HASH_SIDE].ravel()
    # Rounded, so that the zeros of a flat picture are equal on every machine.
    rounded = np.round(lowest, 6)
    return int.from_bytes(np.packbits(rounded > np.median(rounded)).tobytes())


def near_duplicates(
    hashes: Sequence[int], max_distance: int = NEAR_DISTANCE
) -> list[tuple[int, int, int]]:
    """Finds all pairs of hashes that differ in few bits.

    All pairs are compared, as products of blocks of bits.

    Args:
        hashes: One `perceptual_hash` for each image.
        max_distance: Bits in which a pair may differ.

    Returns:
        First position, second position (the larger) and distance, sorted by the positions.

    Raises:
        ValueError: If a hash is negative or has more than 256 bits.
    """
    bad = [value for value in hashes if not 0 <= value < 2**HASH_BITS]
    if bad:
        raise ValueError(f"The hash {bad[0]} does not fit; expected 0 to 2**{HASH_BITS} - 1.")
    packed = b"".join(value.to_bytes(HASH_BITS // 8) for value in hashes)
    bits = np.unpackbits(np.frombuffer(packed, np.uint8)).reshape(len(hashes), HASH_BITS)
    ones = bits.astype(np.float32)  # sums of up to 256 bits are exact
    weight = ones.sum(axis=1)
    pairs: list[tuple[int, int, int]] = []
    for start in range(0, len(hashes), BLOCK):
        block = ones[start : start + BLOCK]
        shared = block @ ones[start:].T  # (rows of the block, rows from the block on)
        distances = weight[start : start + BLOCK, None] + weight[None, start:] - 2 * shared
        first, second = np.nonzero(distances <= max_distance)
        for i, j in zip(first.tolist(), second.tolist(), strict=True):
            if i < j:
                pairs.append((start + i, start + j, int(distances[i, j])))
    return pairs


def joined_groups(
    groups: Sequence[str],
    fingerprints: Sequence[str],
    near: Sequence[tuple[int, int, int]] = (),
) -> list[str]:
    """Joins the patient groups that share an identical file or a near duplicate.

    Args:
        groups: The patient group of each image.
        fingerprints: The SHA-256 of each image's file.
        near: Pairs of positions with their distance, as `near_duplicates` gives them.

    Returns:
        One name for each image: the first, in alphabetical order, of all groups that are linked
        through identical files or near duplicates.
    """
    parent = {group: group for group in groups}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    def join(one: str, other: str) -> None:
        first, second = sorted((root(one), root(other)))
        parent[second] = first

    owner: dict[str, str] = {}
    for group, fingerprint in zip(groups, fingerprints, strict=True):
        join(owner.setdefault(fingerprint, group), group)
    for i, j, _ in near:
        join(groups[i], groups[j])
    return [root(group) for group in groups]
