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
from jaxtyping import Float32, Int64
from scipy.linalg import eigh

from flannel.data.duplicates import details, has_structure, unpacked, waves
from flannel.data.registration import Pictures, blurred, halved, register, sampled, unmoved

SAME = 0.76
"""Two pictures are the same from this correlation of their detail on, laid over each other.

Measured on 1,819 real files, 200 of them changed in 36 ways, and on phantoms: docs/protocols.md.
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
LARGEST_TURN, LARGEST_SCALE, LARGEST_SHIFT = np.deg2rad(7), 0.1, 0.05
"""Of these moves: radians, logarithm of the scale, share of half of the side."""
SPREAD = 0.3
"""Variance added to that of the moves, as a share of its mean: there are few pictures."""

PAIRS_AN_IMAGE, FEWEST_PAIRS, MOST_PAIRS = 16, 5_000, 100_000
"""Pairs that are compared pixel by pixel: so many of an image, but no less and no more in all."""
ALIKE_AT_16_PX, ALIKE_AT_32_PX, ALIKE_AT_64_PX = 0.65, 0.75, 0.65
"""Correlations below which a pair is given up before more of its pixels are compared."""

BLOCK, COLUMNS, PAIRS_AT_ONCE = 256, 4096, 256
SAMPLED_VALUES = 10_000_000


class _Position(NamedTuple):
    """How a picture is turned: by quarters, anticlockwise, and then perhaps mirrored."""

    quarters: int = 0
    mirrored: bool = False

    def of(self, pictures: np.ndarray) -> np.ndarray:
        """Returns pictures in this position."""
        turned = np.rot90(pictures, self.quarters, (1, 2))
        return turned[:, :, ::-1] if self.mirrored else turned


class _View(NamedTuple):
    """Some pictures in one position, as (images, numbers) of length 1."""

    position: _Position
    rows: Int64[np.ndarray, " images"]
    numbers: Float32[np.ndarray, "images numbers"]


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
        (min(one, other), max(one, other), likeness)
        for (i, j), likeness in _same(list(rows), None).items()
        for one, other in product(different[i], different[j])
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
    found = {row: (places[asked[row]], 1.0) for row in wanted if asked[row] in places}
    left = [row for row in wanted if row not in found]
    if not places or not left:
        return found
    rows = list(places.values())
    for (i, j), likeness in _same(list(places), [asked[row] for row in left]).items():
        if likeness > found.get(left[j], (0, 0.0))[1]:
            found[left[j]] = (rows[i], likeness)
    return found


def _same(first: Sequence[bytes], second: Sequence[bytes] | None) -> dict[tuple[int, int], float]:
    """Compares two lists of different hashes, or with None the first with itself."""
    within = second is None
    others = first if second is None else second
    if len(first) < 1 + within:
        return {}
    found: dict[tuple[int, int], float] = {}
    chosen = list(_chosen(first, others, within))
    batches = [
        pairs._replace(first=pairs.first[start:end], second=pairs.second[start:end])
        for pairs in chosen
        for start in range(0, len(pairs.first), PAIRS_AT_ONCE)
        for end in [start + PAIRS_AT_ONCE]
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        likenesses = pool.map(lambda pairs: _likeness(first, others, pairs), batches)
        for pairs, values in zip(batches, likenesses, strict=True):
            for i, j, likeness in zip(pairs.first, pairs.second, values, strict=True):
                place = (min(i, j), max(i, j)) if within else (i, j)
                if likeness >= SAME:
                    key = (int(place[0]), int(place[1]))
                    found[key] = max(float(likeness), found.get(key, 0.0))
    return found


def _chosen(first: Sequence[bytes], second: Sequence[bytes], within: bool) -> Iterator[_Pairs]:
    """Chooses the pairs whose descriptions are most alike."""
    sample = [*first[:: -(-len(first) // FITTED_ON)]]
    if not within:
        sample += second[:: -(-len(second) // FITTED_ON)]
    mean, directions = _fitted(sample)
    left = _views(first, mean, directions, mirrored=False)
    right = _views(second, mean, directions, mirrored=True)
    wanted = min(MOST_PAIRS, max(FEWEST_PAIRS, PAIRS_AN_IMAGE * max(len(first), len(second))))
    least = _least(left[0], right[:2], within, wanted)
    for one, other in product(left, right):
        both_whole = within and one.position == _Position() and other.position.quarters == 0
        yield from _above(one, other, least, within, upper=both_whole)


def _fitted(
    hashes: Sequence[bytes],
) -> tuple[Float32[np.ndarray, " pixels"], Float32[np.ndarray, "pixels numbers"]]:
    """Fits the directions in which pictures differ most, compared with a picture and its moves."""
    generator = np.random.default_rng(0)
    pictures = halved(unpacked(hashes).astype(np.float32))
    variants = [pictures] + [
        sampled(pictures, _random_moves(len(pictures), generator))[0].reshape(pictures.shape)
        for _ in range(VARIANTS)
    ]
    features = np.stack([_features(one) for one in variants])
    centres = features.mean(axis=0)
    mean = centres.mean(axis=0)
    within = (features - centres).reshape(-1, len(mean))
    between = centres - mean
    spread = within.T @ within / len(within)
    spread += (SPREAD * np.trace(spread) / len(mean) + 1e-6) * np.eye(len(mean), dtype=np.float32)
    last = len(mean) - 1
    _, directions = eigh(
        between.T @ between / len(between), spread, subset_by_index=[last - NUMBERS + 1, last]
    )
    return mean, directions.astype(np.float32)


def _random_moves(count: int, generator: np.random.Generator) -> Float32[np.ndarray, "pairs 2 3"]:
    turn = generator.uniform(-LARGEST_TURN, LARGEST_TURN, count)
    scale = np.exp(generator.uniform(-LARGEST_SCALE, LARGEST_SCALE, (2, count)))
    shift = generator.uniform(-LARGEST_SHIFT, LARGEST_SHIFT, (2, count))
    rows = [
        [scale[0] * np.cos(turn), -np.sin(turn), shift[0]],
        [np.sin(turn), scale[1] * np.cos(turn), shift[1]],
    ]
    return np.array(rows, np.float32).transpose(2, 0, 1)


def _features(pictures: Pictures) -> Float32[np.ndarray, "images pixels"]:
    """Returns the structure of pictures of 32 px, weaker at the edges, each of length 1."""
    structure = blurred(pictures, 0.5) - blurred(pictures, 3.0)
    line = np.linspace(-1, 1, pictures.shape[-1], dtype=np.float32)
    fading = np.sqrt(1 - line**4)
    flat = (structure * np.outer(fading, fading)).reshape(len(pictures), -1)
    return flat / (np.linalg.norm(flat, axis=1, keepdims=True) + np.float32(1e-6))


def _views(
    hashes: Sequence[bytes],
    mean: Float32[np.ndarray, " pixels"],
    directions: Float32[np.ndarray, "pixels numbers"],
    mirrored: bool,
) -> list[_View]:
    """Describes pictures as they are, those that lie on a side also upright, and all mirrored."""
    whole = [_Position(0, one) for one in (False, True)[: 1 + mirrored]]
    side = round(len(mean) ** 0.5)
    usual = mean.reshape(1, side, side)
    upright = np.stack([_Position(-k % 4).of(usual).ravel() for k in range(4)], axis=1)
    turns: list[Int64[np.ndarray, " images"]] = []
    described: dict[_Position, list[Float32[np.ndarray, "images numbers"]]] = {
        position: [] for position in whole
    }
    for features in _in_blocks(hashes):
        turns.append(np.abs(features @ upright).argmax(axis=1))
        for position in whole:
            described[position].append(_described(features, position, mean, directions))
    everything = np.arange(len(hashes))
    views = [_View(p, everything, np.concatenate(parts)) for p, parts in described.items()]
    quarters = np.concatenate(turns)
    for turn, position in product((1, 2, 3), whole):
        rows = np.flatnonzero(quarters == turn)
        if len(rows):
            turned = _Position(turn, position.mirrored)
            parts = [
                _described(features, turned, mean, directions)
                for features in _in_blocks([hashes[row] for row in rows.tolist()])
            ]
            views.append(_View(turned, rows, np.concatenate(parts)))
    return views


def _in_blocks(hashes: Sequence[bytes]) -> Iterator[Float32[np.ndarray, "images pixels"]]:
    for start in range(0, len(hashes), COLUMNS):
        bits = unpacked(hashes[start : start + COLUMNS])
        yield _features(halved(bits.astype(np.float32)))


def _described(
    features: Float32[np.ndarray, "images pixels"],
    position: _Position,
    mean: Float32[np.ndarray, " pixels"],
    directions: Float32[np.ndarray, "pixels numbers"],
) -> Float32[np.ndarray, "images numbers"]:
    """Describes pictures in a position."""
    side = round(len(mean) ** 0.5)
    turned = position.of(features.reshape(-1, side, side)).reshape(features.shape)
    numbers = (turned - mean) @ directions
    return numbers / (np.linalg.norm(numbers, axis=1, keepdims=True) + np.float32(1e-6))


def _least(left: _View, right: Sequence[_View], within: bool, wanted: int) -> float:
    """Returns the correlation above which about as many pairs are as are wanted."""
    counted = sum(len(left.rows) * len(view.rows) for view in right)
    if counted <= wanted:
        return -1.0
    step = max(1, counted // SAMPLED_VALUES)
    rows = left.rows[::step]
    values = []
    for view in right:
        alike = np.abs(left.numbers[rows] @ view.numbers.T)
        if within:
            alike[np.arange(len(rows)), rows] = 0
        values.append(alike.ravel())
    sample = np.concatenate(values)
    # Within one list, each pair is there twice.
    share = wanted * (2 if within else 1) / counted
    return float(np.quantile(sample, max(0.0, 1 - share)))


def _above(one: _View, other: _View, least: float, within: bool, upper: bool) -> Iterator[_Pairs]:
    """Yields the pairs whose descriptions are alike; of the upper triangle where that is all."""

    def block(start: int) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = [], []
        for column in range(start if upper else 0, len(other.rows), COLUMNS):
            part = other.numbers[column : column + COLUMNS]
            alike = one.numbers[start : start + BLOCK] @ part.T
            near = np.abs(alike, out=alike) >= least
            if near.any():
                i, j = np.nonzero(near)
                rows.append(one.rows[start + i])
                columns.append(other.rows[column + j])
        nothing = np.zeros(0, np.int64)
        return np.concatenate([nothing, *rows]), np.concatenate([nothing, *columns])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(block, range(0, len(one.rows), BLOCK)))
    first, second = (np.concatenate(parts) for parts in zip(*found, strict=True))
    if within:
        kept = first < second if upper else first != second
        first, second = first[kept], second[kept]
    if len(first):
        yield _Pairs(first, second, one.position, other.position)


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
        found, moves = register(pictures(moving[left]), pictures(fixed[left]), moves, steps)
        alike = np.abs(found) >= least
        left, moves = left[alike], moves[alike]
        if not len(left):
            return likeness
    moving, fixed = (
        _detail(position.of(details([hashes[row] for row in left.tolist()])))
        for hashes, position in zip(chosen, positions, strict=True)
    )
    found, _ = register(moving, fixed, moves, 3)
    likeness[left] = np.maximum(likeness[left], np.abs(found))
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
