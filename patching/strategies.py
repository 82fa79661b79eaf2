"""Ways to draw the centres of patches: chance alone, or chance that keeps the centres apart.

The papers draw every centre for itself. What the patches see and how they vote then varies from
draw to draw, and it takes many patches to cover the lungs. The strategies beside theirs place the
same number of centres so that they vary less. None lists the lung's pixels: counts along the rows
(or along bands of rows) tell where the pixel with a given number lies.
"""

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor
from torch.nn import functional as F

BLUE_NOISE_CANDIDATES = 8
"""Lung pixels among which `blue_noise` chooses, for every centre."""

RELAXED_PIXELS = 16
"""Lung pixels that stand for the lungs in `relaxed`, for every centre."""

RELAXATIONS = 3
"""How often `relaxed` moves its centres; the more often, the more alike two draws become."""


def uniform(
    mask: Bool[Tensor, "height width"], k: int, generator: torch.Generator
) -> Int64[Tensor, "k 2"]:
    """Draws lung pixels, all equally likely, with replacement (paper 004, Section 2.2)."""
    counts = mask.sum(dim=1)  # lung pixels in each row
    ends = counts.cumsum(dim=0)
    numbers = torch.randint(int(ends[-1]), (k,), generator=generator, device=mask.device)
    rows = torch.searchsorted(ends, numbers, right=True)
    place_in_row = numbers - (ends - counts)[rows]
    return torch.stack([rows, _place_of(mask[rows], place_in_row)], dim=1)


def independent(
    mask: Bool[Tensor, "height width"], k: int, generator: torch.Generator
) -> Int64[Tensor, "k 2"]:
    """Draws row and column apart, each of a lung pixel, as the papers' code does.

    On the SCR masks about 75 % of such centres lie in the lungs.
    """
    rows = uniform(mask, k, generator)[:, 0]
    columns = uniform(mask, k, generator)[:, 1]
    return torch.stack([rows, columns], dim=1)


def spread(
    mask: Bool[Tensor, "height width"], k: int, generator: torch.Generator
) -> Int64[Tensor, "k 2"]:
    """Draws one lung pixel from each of k compact strata of equal area (stratified sampling).

    Every lung pixel is as likely as any other to be a centre. The strata follow a path through
    bands of rows as high as the side of a square of one stratum's area, from left to right in one
    band and back in the next.
    """
    area = int(mask.sum())
    band_rows = max(1, round((area / k) ** 0.5))
    height, width = mask.shape
    bands = -(-height // band_rows)
    banded = F.pad(mask, (0, 0, 0, bands * band_rows - height)).view(bands, band_rows, width)
    counts = banded.sum(dim=1)  # (bands, width) lung pixels in each band's columns
    counts[1::2] = counts[1::2].flip(1)
    counts = counts.flatten()
    ends = counts.cumsum(dim=0)
    inside_stratum = torch.rand(k, generator=generator, device=mask.device, dtype=torch.float64)
    strata = torch.arange(k, device=mask.device)
    position = ((strata + inside_stratum) * (area / k)).long().clamp(max=area - 1)
    along = torch.searchsorted(ends, position, right=True)
    band, column = along // width, along % width
    column = torch.where(band % 2 == 0, column, width - 1 - column)
    row_in_band = _place_of(banded[band, :, column], position - (ends - counts)[along])
    return torch.stack([band * band_rows + row_in_band, column], dim=1)


def blue_noise(
    mask: Bool[Tensor, "height width"], k: int, generator: torch.Generator
) -> Int64[Tensor, "k 2"]:
    """Keeps centres apart: each is, of many uniform draws, the one farthest from those before it.

    Any lung pixel can be a centre, but those at the rim of the lungs are more often than others:
    nothing lies beyond them. Weighing each vote by its share of the lungs
    (`patching.coverage.area_weights`) makes up for that. The first centres of a draw are themselves
    far apart, so that a run with this strategy can be cut short at any k.
    """
    candidates = uniform(mask, BLUE_NOISE_CANDIDATES * k, generator)
    places = candidates.float()
    chosen = [0]
    distance = places.new_full((len(places),), torch.inf)
    for _ in range(k - 1):
        apart = (places - places[chosen[-1]]).square_().sum(dim=1)
        distance = torch.minimum(distance, apart)
        chosen.append(int(distance.argmax()))
    return candidates[chosen]


def relaxed(
    mask: Bool[Tensor, "height width"], k: int, generator: torch.Generator
) -> Int64[Tensor, "k 2"]:
    """Moves each of k spread centres into the middle of the part of the lungs that is its own.

    A few steps of Lloyd's algorithm over a uniform draw of lung pixels, to one of which each centre
    then goes. Neighbouring patches overlap evenly, and each speaks for about the same area. Any
    lung pixel can be a centre, but one at the rim seldom is.
    """
    pixels = uniform(mask, RELAXED_PIXELS * k, generator)
    places = pixels.float()
    middles = spread(mask, k, generator).float()
    for _ in range(RELAXATIONS):
        nearest = distances(places, middles).argmin(dim=1)
        counts = torch.bincount(nearest, minlength=k)[:, None]
        sums = torch.zeros_like(middles).index_add_(0, nearest, places)
        middles = torch.where(counts > 0, sums / counts.clamp(min=1), middles)
    return pixels[distances(places, middles).argmin(dim=0)]


def distances(
    some: Float32[Tensor, "some 2"], others: Float32[Tensor, "others 2"]
) -> Float32[Tensor, "some others"]:
    """Measures how far each of some places is from each of the others, without rounding away."""
    return torch.cdist(some, others, compute_mode="donot_use_mm_for_euclid_dist")


def _place_of(lines: Bool[Tensor, "k length"], number: Int64[Tensor, " k"]) -> Int64[Tensor, " k"]:
    """Finds in each line the True that has so many before it."""
    reached = lines.cumsum(dim=1, dtype=torch.int32)
    return torch.searchsorted(reached, (number[:, None] + 1).int())[:, 0]
