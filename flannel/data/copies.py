"""Copies of radiographs: which hashes show the same picture, moved, mirrored, turned or inverted.

Chests are alike, and a turned copy differs from its original more than another child's chest does.
So few pairs are chosen by a description that changes little when a picture is moved (a linear
discriminant analysis of moved pictures), and these are laid over each other
(`flannel.data.registration`) and compared pixel by pixel.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, product
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int64
from scipy.linalg import eigh

from flannel.data.duplicates import details, has_structure, unpacked, waves
from flannel.data.registration import (
    Pictures,
    blurred,
    halved,
    random_moves,
    register,
    sampled,
    unmoved,
)

SAME = 0.76
"""Two pictures are the same from this correlation of their detail on, laid over each other.

Chosen on one half of the patients of 1,819 real files, changed in 36 ways, and on phantoms, and
measured on the other half: docs/protocols.md.
"""
NEAR_WAVES = 24
"""Two pictures are the same, too, when at most so many of 256 low frequencies differ in sign.

These outlive a JPEG of 150 px and quality 30, which detail does not always. Measured on 1,819 real
files: copies at other sizes and compressions are at most 16 apart, different patients at least 44.
"""

NUMBERS = 64
"""Numbers that describe a picture where pairs are chosen."""
FITTED_ON, VARIANTS = 800, 4
"""Pictures that these numbers are fitted on, and random moves of each."""
SPREAD = 0.3
"""Variance added to that of the moves, as a share of its mean: there are few pictures."""
EVENED = 0.25
"""Each number is divided by this power of its discriminant, so that no few of them decide."""

PAIRS_AN_IMAGE, PAIRS_ASKED = 32, 128
FEWEST_PAIRS, MOST_PAIRS = 2_000, 100_000
"""Pairs that are compared pixel by pixel: so many of an image, within one list and of an image that
is looked for in another one, but no less and no more in all."""
SPARE = 1.5
"""So many times the pairs are chosen at first, as the limit is estimated from a sample."""
ALIKE_AT_16_PX, ALIKE_AT_32_PX, ALIKE_AT_64_PX, ALIKE_IN_DETAIL = 0.65, 0.75, 0.65, 0.5
"""Correlations below which a pair is given up before more of its pixels are compared.

Of 7,130 copies of real files 99.9 % pass all four. Of 3,000 similar pairs of different patients 59,
8 and 0.1 % are left after the first three, and after the last one pair that is a copy after all.
"""

BLOCK, COLUMNS, PAIRS_AT_ONCE = 256, 1024, 256
SAMPLED_VALUES = 10_000_000


class _Position(NamedTuple):
    """How a picture is turned: by quarters, anticlockwise, and then perhaps mirrored."""

    quarters: int = 0
    mirrored: bool = False

    def of(self, pictures: np.ndarray) -> np.ndarray:
        """Returns pictures in this position."""
        turned = np.rot90(pictures, self.quarters, (1, 2))
        return turned[:, :, ::-1] if self.mirrored else turned


class _Basis(NamedTuple):
    """What describes a picture: directions in its even and in its odd part.

    A mirrored picture has the same even numbers and the odd ones with the other sign, and a
    negative has all of them with the other sign. So one comparison serves all four.
    """

    usual: Float32[np.ndarray, " pixels"]
    even: Float32[np.ndarray, "half_pixels even_numbers"]
    odd: Float32[np.ndarray, "half_pixels odd_numbers"]


class _Described(NamedTuple):
    """Pictures as they are, and again those that lie on a side, upright: numbers of length 1."""

    rows: Int64[np.ndarray, " entries"]
    quarters: Int64[np.ndarray, " entries"]
    even: Float32[np.ndarray, "entries even_numbers"]
    odd: Float32[np.ndarray, "entries odd_numbers"]


class _Pairs(NamedTuple):
    """Pictures of a first list beside those of a second one, all in one position each."""

    first: Int64[np.ndarray, " pairs"]
    second: Int64[np.ndarray, " pairs"]
    first_position: _Position
    second_position: _Position


def near_duplicates(hashes: Sequence[bytes]) -> list[tuple[int, int, float]]:
    """Finds radiographs that are the same picture; flat pictures are near to none.

    Args:
        hashes: One `perceptual_hash` for each image.

    Returns:
        First position, second position (the larger) and likeness up to 1, sorted by the positions.
    """
    rows: dict[bytes, list[int]] = {}
    for row, value in enumerate(hashes):
        if has_structure(value):
            rows.setdefault(value, []).append(row)
    equal = [pair for same in rows.values() for pair in combinations(same, 2)]
    different = list(rows.values())
    pairs = [(i, j, 1.0) for i, j in equal] + [
        (min(row, copy), max(row, copy), likeness)
        for (i, j), likeness in _same(list(rows), None).items()
        for row, copy in product(different[i], different[j])
    ]
    return sorted(pairs)


def copies_among(known: Sequence[bytes], asked: Sequence[bytes]) -> dict[int, tuple[int, float]]:
    """Finds which pictures of one list are in another one.

    Args:
        known: Hashes of the list that is looked into.
        asked: Hashes of the pictures that are looked for.

    Returns:
        By position in `asked`: the position in `known` of the most alike, and the likeness.
    """
    places = {value: row for row, value in enumerate(known) if has_structure(value)}
    wanted = [row for row, value in enumerate(asked) if has_structure(value)]
    copies = {row: (places[asked[row]], 1.0) for row in wanted if asked[row] in places}
    left = [row for row in wanted if row not in copies]
    if not places or not left:
        return copies
    rows = list(places.values())
    for (i, j), likeness in _same(list(places), [asked[row] for row in left]).items():
        if likeness > copies.get(left[j], (0, 0.0))[1]:
            copies[left[j]] = (rows[i], likeness)
    return copies


def _same(first: Sequence[bytes], second: Sequence[bytes] | None) -> dict[tuple[int, int], float]:
    """Compares two lists of different hashes, or with None the first with itself."""
    within = second is None
    others = first if second is None else second
    if len(first) < 1 + within:
        return {}
    batches = [
        pairs._replace(first=pairs.first[start:end], second=pairs.second[start:end])
        for pairs in _chosen(first, second)
        for start in range(0, len(pairs.first), PAIRS_AT_ONCE)
        for end in [start + PAIRS_AT_ONCE]
    ]
    same: dict[tuple[int, int], float] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        likenesses = pool.map(lambda pairs: _likeness(first, others, pairs), batches)
        for pairs, values in zip(batches, likenesses, strict=True):
            for k in np.flatnonzero(values >= SAME):
                i, j = int(pairs.first[k]), int(pairs.second[k])
                key = (min(i, j), max(i, j)) if within else (i, j)
                same[key] = max(float(values[k]), same.get(key, 0.0))
    return same


def _chosen(first: Sequence[bytes], second: Sequence[bytes] | None) -> Iterator[_Pairs]:
    """Yields the pairs whose descriptions are most alike, those of one position together."""
    sample = [*first[:: -(-len(first) // FITTED_ON)]]
    if second is not None:
        sample += second[:: -(-len(second) // FITTED_ON)]
    basis = _fitted(sample)
    left = _described(first, basis)
    right = left if second is None else _described(second, basis)
    pairs = len(first) * PAIRS_AN_IMAGE if second is None else len(second) * PAIRS_ASKED
    wanted = min(MOST_PAIRS, max(FEWEST_PAIRS, pairs))
    least = _least(left, right, round(SPARE * wanted))
    i, j = _above(left, right, least)
    even = np.einsum("ij,ij->i", left.even[i], right.even[j])
    odd = np.einsum("ij,ij->i", left.odd[i], right.odd[j])
    best = _best(left.rows[i], right.rows[j], np.abs(even) + np.abs(odd), wanted)
    i, j, even, odd = i[best], j[best], even[best], odd[best]
    for mirrored, alike in ((False, np.abs(even + odd)), (True, np.abs(even - odd))):
        near = alike >= least
        for turn, other_turn in product(range(4), range(4)):
            pairs = near & (left.quarters[i] == turn) & (right.quarters[j] == other_turn)
            yield _Pairs(
                left.rows[i[pairs]],
                right.rows[j[pairs]],
                _Position(turn),
                _Position(other_turn, mirrored),
            )


def _fitted(hashes: Sequence[bytes]) -> _Basis:
    """Fits the directions in which pictures differ most, compared with a picture and its moves.

    Mirrored pictures count as much, so that each direction is even or odd. None leads along the
    usual picture, so that a negative has the same numbers but for their sign.
    """
    generator = np.random.default_rng(0)
    pictures = halved(unpacked(hashes).astype(np.float32))
    variants = [pictures] + [
        sampled(pictures, random_moves(len(pictures), generator))[0].reshape(pictures.shape)
        for _ in range(VARIANTS)
    ]
    features = np.stack([_features(variant) for variant in variants])
    usual = features.mean(axis=(0, 1))
    even, odd = _halves(features)
    along = even.mean(axis=(0, 1))
    along /= np.linalg.norm(along) + np.float32(1e-6)
    fitted = [_discriminants(part) for part in (even - (even @ along)[..., None] * along, odd)]
    least = np.sort(np.concatenate([values for values, _ in fitted]))[-NUMBERS]
    chosen = [
        (directions / values**EVENED)[:, values >= least].astype(np.float32)
        for values, directions in fitted
    ]
    return _Basis(usual, chosen[0] - np.outer(along, along @ chosen[0]), chosen[1])


def _discriminants(
    features: Float32[np.ndarray, "variants images half_pixels"],
) -> tuple[Float32[np.ndarray, " half_pixels"], Float32[np.ndarray, "half_pixels half_pixels"]]:
    """Returns how much more pictures differ than their variants do, by direction."""
    centres = features.mean(axis=0)
    within = (features - centres).reshape(-1, centres.shape[1])
    between = centres - centres.mean(axis=0)
    spread = within.T @ within / len(within)
    ridge = SPREAD * np.trace(spread) / len(spread) + 1e-6
    spread += ridge * np.eye(len(spread), dtype=np.float32)
    values, directions = eigh(between.T @ between / len(between), spread)
    return np.maximum(values, 1e-6), directions


def _halves(
    features: Float32[np.ndarray, "*batch pixels"],
) -> tuple[Float32[np.ndarray, "*batch half_pixels"], Float32[np.ndarray, "*batch half_pixels"]]:
    """Returns the even and the odd part of pictures, each of their left halves only."""
    side = round(features.shape[-1] ** 0.5)
    pictures = features.reshape(-1, side, side)
    left, right = pictures[:, :, : side // 2], pictures[:, :, : side // 2 - 1 : -1]
    shape = (*features.shape[:-1], side * side // 2)
    return (left + right).reshape(shape), (left - right).reshape(shape)


def _features(pictures: Pictures) -> Float32[np.ndarray, "images pixels"]:
    """Returns the structure of pictures of 32 px, weaker at the edges, each of length 1."""
    structure = blurred(pictures, 0.5) - blurred(pictures, 3.0)
    line = np.linspace(-1, 1, pictures.shape[-1], dtype=np.float32)
    fading = np.sqrt(1 - line**4)
    flat = (structure * np.outer(fading, fading)).reshape(len(pictures), -1)
    return flat / (np.linalg.norm(flat, axis=1, keepdims=True) + np.float32(1e-6))


def _described(hashes: Sequence[bytes], basis: _Basis) -> _Described:
    """Describes pictures as they are, and those that lie on a side also upright."""
    side = round(len(basis.usual) ** 0.5)
    usual = basis.usual.reshape(1, side, side)
    upright = np.stack([np.rot90(usual, -k, (1, 2)).ravel() for k in range(4)], axis=1)

    def block(start: int) -> _Described:
        bits = unpacked(hashes[start : start + BLOCK])
        features = _features(halved(bits.astype(np.float32)))
        quarters = np.abs(features @ upright).argmax(axis=1)
        pictures = features.reshape(-1, side, side)
        entries = [(np.arange(len(bits)), 0, features)]
        for turn in (1, 2, 3):
            rows = np.flatnonzero(quarters == turn)
            turned = np.rot90(pictures[rows], turn, (1, 2)).reshape(len(rows), len(basis.usual))
            entries.append((rows, turn, turned))
        rows = np.concatenate([rows for rows, _, _ in entries])
        turns = np.concatenate([np.full(len(rows), turn) for rows, turn, _ in entries])
        even, odd = _halves(np.concatenate([turned for _, _, turned in entries]))
        numbers = even @ basis.even, odd @ basis.odd
        length = np.sqrt(sum((part**2).sum(axis=1, keepdims=True) for part in numbers)) + 1e-6
        return _Described(start + rows, turns, numbers[0] / length, numbers[1] / length)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        blocks = list(pool.map(block, range(0, len(hashes), BLOCK)))
    return _Described(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))


def _alike(
    left: _Described, right: _Described, rows: slice | Int64[np.ndarray, " rows"], columns: slice
) -> Float32[np.ndarray, "rows columns"]:
    """Returns how alike descriptions are, at best of as they are, mirrored or negative."""
    even = left.even[rows] @ right.even[columns].T
    odd = left.odd[rows] @ right.odd[columns].T
    np.abs(even, out=even)
    even += np.abs(odd, out=odd)
    return even


def _least(left: _Described, right: _Described, wanted: int) -> float:
    """Returns the likeness above which about as many pairs are as are wanted, from a sample."""
    pairs = len(left.rows) * len(right.rows) // (1 + (left is right))
    if pairs <= wanted:
        return -1.0
    generator = np.random.default_rng(0)
    count = min(len(left.rows), max(1, SAMPLED_VALUES // len(right.rows)))
    rows = np.sort(generator.choice(len(left.rows), count, replace=False))
    alike = _alike(left, right, rows, slice(None))
    if left is right:
        alike[left.rows[rows][:, None] == right.rows] = 0
    return float(np.quantile(alike, 1 - wanted / pairs))


def _above(
    left: _Described, right: _Described, least: float
) -> tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]]:
    """Returns the entries whose descriptions are alike; each pair once within one list."""
    within = left is right

    def block(start: int) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for column in range(start if within else 0, len(right.rows), COLUMNS):
            alike = _alike(
                left, right, slice(start, start + BLOCK), slice(column, column + COLUMNS)
            )
            if alike.max() >= least:
                i, j = np.nonzero(alike >= least)
                rows.append(start + i)
                columns.append(column + j)
        return np.concatenate(rows), np.concatenate(columns)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        blocks = list(pool.map(block, range(0, len(left.rows), BLOCK)))
    i, j = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    if within:
        once = (i < j) & (left.rows[i] != left.rows[j])
        i, j = i[once], j[once]
    return i, j


def _best(
    first: Int64[np.ndarray, " pairs"],
    second: Int64[np.ndarray, " pairs"],
    alike: Float32[np.ndarray, " pairs"],
    wanted: int,
) -> Int64[np.ndarray, " best"]:
    """Returns the places of the best pairs: each image's best one, then its second, and so on."""
    order = np.argsort(-alike, kind="stable")
    ranks = [pd.Series(rows[order]).groupby(rows[order]).cumcount() for rows in (first, second)]
    return order[np.argsort(np.minimum(*ranks), kind="stable")[:wanted]]


def _likeness(
    first: Sequence[bytes], second: Sequence[bytes], pairs: _Pairs
) -> Float32[np.ndarray, " pairs"]:
    """Returns how alike the details are once a picture lies over the other, 0 where given up."""
    chosen = [
        [hashes[row] for row in rows.tolist()]
        for hashes, rows in ((first, pairs.first), (second, pairs.second))
    ]
    positions = (pairs.first_position, pairs.second_position)
    moving, fixed = (
        position.of(unpacked(hashes)).astype(np.float32)
        for hashes, position in zip(chosen, positions, strict=True)
    )
    apart = (waves(chosen[0]) != waves(chosen[1])).sum(axis=(1, 2))
    likeness = np.where(apart <= NEAR_WAVES, SAME, 0).astype(np.float32)
    left, moves = np.arange(len(moving)), unmoved(len(moving))
    for pictures, steps, least in (
        (_at_16_px, 4, ALIKE_AT_16_PX),
        (_at_32_px, 2, ALIKE_AT_32_PX),
        (_at_64_px, 2, ALIKE_AT_64_PX),
    ):
        correlation, moves = register(pictures(moving[left]), pictures(fixed[left]), moves, steps)
        alike = np.abs(correlation) >= least
        left, moves = left[alike], moves[alike]
        if not len(left):
            return likeness
    moving, fixed = (
        _detail(position.of(details([hashes[row] for row in left.tolist()])))
        for hashes, position in zip(chosen, positions, strict=True)
    )
    correlation, _ = register(moving, fixed, moves, 0)
    alike = np.abs(correlation) >= ALIKE_IN_DETAIL
    left, moving, fixed, moves = left[alike], moving[alike], fixed[alike], moves[alike]
    correlation, _ = register(moving, fixed, moves, 3)
    likeness[left] = np.maximum(likeness[left], np.abs(correlation))
    return likeness


def _detail(values: Pictures) -> Pictures:
    fine = blurred(values, 0.5)
    return fine - blurred(fine, 1.5)


def _at_64_px(bits: Pictures) -> Pictures:
    fine = blurred(bits, 0.7)
    return fine - blurred(fine, 2.0)


def _at_32_px(bits: Pictures) -> Pictures:
    fine = blurred(halved(bits), 0.5)
    return fine - blurred(fine, 3.0)


def _at_16_px(bits: Pictures) -> Pictures:
    fine = halved(blurred(halved(bits), 0.7))
    return fine - blurred(fine, 4.0)
