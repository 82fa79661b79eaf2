"""Registration of small pictures: the affine move that lays one over another, many pairs at once.

Baker and Matthews, Lucas-Kanade 20 Years On: A Unifying Framework, IJCV 2004, section 3.2 (inverse
compositional). Unlike there, the correlation is compared instead of the squared difference, so
that neither brightness nor contrast matters, and the best of all steps is kept.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float32
from scipy.ndimage import gaussian_filter1d

Pictures = Float32[np.ndarray, "pairs side side"]
Moves = Float32[np.ndarray, "pairs 2 3"]

LEAST_OVERLAP = 0.6
"""Share of the weighted picture that must lie inside the other one."""
VALUES_AT_ONCE = 2**17
"""What the processor's cache holds."""
LARGEST_TURN, LARGEST_SCALE, LARGEST_SHIFT = np.deg2rad(7), 0.1, 0.05
"""Of random moves: radians, logarithm of the scale, share of half of the side."""
LARGEST_MOVE = 0.35
"""Change of any number of a move: of half of the side, or of the scale."""


def unmoved(pairs: int) -> Moves:
    """Returns the moves that leave pictures where they are."""
    return np.tile(np.eye(2, 3, dtype=np.float32), (pairs, 1, 1))


def random_moves(count: int, generator: np.random.Generator) -> Moves:
    """Returns moves as copies have them: a little turned, scaled and shifted."""
    turn = generator.uniform(-LARGEST_TURN, LARGEST_TURN, count)
    scale = np.exp(generator.uniform(-LARGEST_SCALE, LARGEST_SCALE, (2, count)))
    shift = generator.uniform(-LARGEST_SHIFT, LARGEST_SHIFT, (2, count))
    rows = [
        [scale[0] * np.cos(turn), -np.sin(turn), shift[0]],
        [np.sin(turn), scale[1] * np.cos(turn), shift[1]],
    ]
    return np.array(rows, np.float32).transpose(2, 0, 1)


def blurred(pictures: Pictures, sigma: float) -> Pictures:
    """Returns pictures after a Gaussian filter; beyond the edges they go on as they end.

    Args:
        pictures: Any values.
        sigma: In pixels.
    """
    weights = _gaussian(pictures.shape[-1], sigma)
    return weights @ pictures @ weights.T


def halved(pictures: Pictures) -> Pictures:
    """Returns the means of 2 x 2 pixels; the side is even."""
    rows = pictures[:, ::2] + pictures[:, 1::2]
    return (rows[:, :, ::2] + rows[:, :, 1::2]) * np.float32(0.25)


def register(
    moving: Pictures, fixed: Pictures, moves: Moves, steps: int
) -> tuple[Float32[np.ndarray, " pairs"], Moves]:
    """Looks for the move under which each picture is most like its partner, or like its negative.

    Args:
        moving: The pictures that are moved; any values.
        fixed: Their partners.
        moves: Where to start: rows of a matrix that takes coordinates (x, y, 1) of the fixed
            picture to those of the moving one; both go from -1 to 1.
        steps: Gauss-Newton steps at most; with 0 the first move is only judged.

    Returns:
        The weighted correlation where they overlap, in [-1, 1], and the move; 0 and the first move
        where they never overlap enough.
    """
    at_once = max(1, VALUES_AT_ONCE // fixed.shape[-1] ** 2)
    parts = [
        _registered(moving[start:end], fixed[start:end], moves[start:end], steps)
        for start in range(0, len(fixed), at_once)
        for end in [start + at_once]
    ]
    likeness, after = zip(*parts, strict=True) if parts else ((np.zeros(0, np.float32),), (moves,))
    return np.concatenate(likeness), np.concatenate(after)


def sampled(
    moving: Pictures, moves: Moves
) -> tuple[Float32[np.ndarray, "pairs pixels"], Bool[np.ndarray, "pairs pixels"]]:
    """Returns pictures sampled where their moves lead, bilinearly, and what of that is inside."""
    pairs, side, _ = moving.shape
    place = (moves @ _grid(side)[0] + 1) * np.float32(side / 2) - np.float32(0.5)
    inside = ((place > -0.5) & (place < side - 0.5)).all(axis=1)
    np.clip(place, 0, side - 1, out=place)
    corner = np.minimum(place.astype(np.int32), side - 2)
    right, down = (place - corner.astype(np.float32)).transpose(1, 0, 2)
    start = np.arange(pairs, dtype=np.int32)[:, None] * (side * side)
    index = start + corner[:, 1] * side + corner[:, 0]
    flat = moving.ravel()
    upper, lower = (
        left + right * (flat.take(index + row + 1) - left)
        for row, left in ((row, flat.take(index + row)) for row in (0, side))
    )
    return upper + down * (lower - upper), inside


def _registered(
    moving: Pictures, fixed: Pictures, moves: Moves, steps: int
) -> tuple[Float32[np.ndarray, " pairs"], Moves]:
    pairs, side, _ = fixed.shape
    coordinates, weights = _grid(side)
    if steps:
        slopes = _steepest(fixed, coordinates)  # (pairs, 6, pixels)
        normal = (slopes * weights) @ slopes.transpose(0, 2, 1)
        inverse = np.linalg.inv(normal + 0.01 * np.eye(6, dtype=np.float32))
    goal = fixed.reshape(pairs, -1)
    best, at = np.zeros(pairs, np.float32), moves.copy()
    for step in range(steps + 1):
        values, inside = sampled(moving, moves)
        likeness, error = _compared(values, goal, inside * weights)
        better = np.abs(likeness) > np.abs(best)
        best[better], at[better] = likeness[better], moves[better]
        if step < steps:
            change = (inverse @ (slopes @ error[:, :, None])).reshape(pairs, 2, 3)
            moves = _composed(moves, change)
    return best, at


@lru_cache
def _gaussian(side: int, sigma: float) -> Float32[np.ndarray, "side side"]:
    return gaussian_filter1d(np.eye(side), sigma, axis=0, mode="nearest").astype(np.float32)


@lru_cache
def _grid(side: int) -> tuple[Float32[np.ndarray, "3 pixels"], Float32[np.ndarray, " pixels"]]:
    """Returns the coordinates (x, y, 1) of all pixels, and weights that fall off at the edges."""
    line = ((np.arange(side) + 0.5) / side * 2 - 1).astype(np.float32)
    down, across = np.meshgrid(line, line, indexing="ij")
    weights = (1 - across**6) * (1 - down**6)
    return np.stack([across.ravel(), down.ravel(), np.ones_like(across).ravel()]), weights.ravel()


def _steepest(
    fixed: Pictures, coordinates: Float32[np.ndarray, "3 pixels"]
) -> Float32[np.ndarray, "pairs 6 pixels"]:
    """Returns how each pixel changes with each number of the move."""
    pairs, side, _ = fixed.shape
    across, down = np.zeros_like(fixed), np.zeros_like(fixed)
    across[:, :, 1:-1] = (fixed[:, :, 2:] - fixed[:, :, :-2]) * (side / 4)
    down[:, 1:-1] = (fixed[:, 2:] - fixed[:, :-2]) * (side / 4)
    gradients = np.stack([across, down], axis=1).reshape(pairs, 2, 1, side * side)
    return (gradients * coordinates).reshape(pairs, 6, side * side)


def _compared(
    values: Float32[np.ndarray, "pairs pixels"],
    goal: Float32[np.ndarray, "pairs pixels"],
    weights: Float32[np.ndarray, "pairs pixels"],
) -> tuple[Float32[np.ndarray, " pairs"], Float32[np.ndarray, "pairs pixels"]]:
    """Returns the weighted correlation, and the weighted error after the best gain."""
    total = weights.sum(axis=1, keepdims=True) + np.float32(1e-6)
    first = values - (values * weights).sum(axis=1, keepdims=True) / total
    second = goal - (goal * weights).sum(axis=1, keepdims=True) / total
    product, squares, others = (
        np.einsum("ij,ij,ij->i", *three)
        for three in (
            (first, second, weights), (first, first, weights), (second, second, weights)
        )
    )  # fmt: skip
    likeness = product / np.sqrt(np.maximum(squares * others, 1e-9))
    whole = _grid(round(values.shape[1] ** 0.5))[1].sum()
    likeness[total[:, 0] < LEAST_OVERLAP * whole] = 0
    gain = product / np.maximum(squares, 1e-9)
    return likeness, (first * gain[:, None] - second) * weights


def _composed(moves: Moves, change: Moves) -> Moves:
    """Returns the moves after the inverse of a change, where that does not lead too far."""
    square = np.tile(np.eye(3, dtype=np.float32), (2, len(moves), 1, 1))
    square[0, :, :2] = moves
    square[1, :, :2] += change
    singular = np.abs(np.linalg.det(square[1])) < 0.1
    square[1, singular] = np.eye(3, dtype=np.float32)
    after = (square[0] @ np.linalg.inv(square[1]))[:, :2]
    far = np.abs(after - np.eye(2, 3)).max(axis=(1, 2)) > LARGEST_MOVE
    return np.where(far[:, None, None], moves, after).astype(np.float32)
