import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from patching.coverage import area_weights
from patching.sampling import (
    EmptyMaskError,
    box_of_windows,
    corners_inside,
    crop_patches,
    lung_box,
    sample_centres,
)

IN_LUNG = ["uniform", "spread", "blue_noise", "relaxed"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def two_lungs(height: int = 60, width: int = 80) -> torch.Tensor:
    """Two rectangles, drawn at 60 x 80 and enlarged."""
    mask = torch.zeros(60, 80, dtype=torch.bool)
    mask[10:50, 8:30] = True
    mask[15:45, 50:70] = True
    return mask.repeat_interleave(height // 60, dim=0).repeat_interleave(width // 80, dim=1)


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 10_000),
    k=st.integers(1, 40),
    pixels=st.sets(st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=1),
    strategy=st.sampled_from(IN_LUNG),
)
def test_every_centre_lies_in_the_lung(seed, k, pixels, strategy):
    mask = torch.zeros(7, 10, dtype=torch.bool)
    for row, column in pixels:
        mask[row, column] = True
    centres = sample_centres(mask, k, seeded(seed), strategy)
    assert centres.shape == (k, 2)
    assert bool(mask[centres[:, 0], centres[:, 1]].all())


@pytest.mark.parametrize("strategy", [*IN_LUNG, "independent"])
def test_same_generator_same_centres(strategy):
    mask = two_lungs()
    first = sample_centres(mask, 20, seeded(4), strategy)
    assert torch.equal(first, sample_centres(mask, 20, seeded(4), strategy))
    assert not torch.equal(first, sample_centres(mask, 20, seeded(5), strategy))


@pytest.mark.parametrize("strategy", ["uniform", "spread"])
def test_every_lung_pixel_is_equally_likely(strategy):
    """5 lung pixels, 4,000 centres: 800 each, standard deviation 25 when independent."""
    mask = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 1]], dtype=torch.bool)
    generator = seeded()
    counts = torch.zeros(3, 4)
    for _ in range(1_000):
        for row, column in sample_centres(mask, 4, generator, strategy).tolist():
            counts[row, column] += 1
    assert counts.sum() == 4_000
    assert bool((counts[~mask] == 0).all())
    assert bool(((counts[mask] - 800).abs() < 130).all())


def test_independent_rows_and_columns_are_weighted_by_lung_pixels():
    """Rows hold 3 and 1 of 4 lung pixels, columns 1, 1 and 2: P(row 0, column 0) = 3/4 * 1/4."""
    mask = torch.tensor([[1, 1, 1], [0, 0, 1]], dtype=torch.bool)
    centres = sample_centres(mask, 20_000, seeded(), "independent")
    corner = ((centres == torch.tensor([0, 0])).all(dim=1)).double().mean()
    outside = ((centres[:, 0] == 1) & (centres[:, 1] < 2)).double().mean()
    assert corner.item() == pytest.approx(3 / 16, abs=0.012)
    assert outside.item() == pytest.approx(1 / 4 * 1 / 2, abs=0.012)


def test_spread_centres_vary_less_from_draw_to_draw():
    """Deviation, over 100 draws, of the mean position of 40 centres: down to less than a third."""

    def deviation(strategy):
        generator, mask = seeded(), two_lungs()
        means = torch.stack(
            [sample_centres(mask, 40, generator, strategy).double().mean(dim=0) for _ in range(100)]
        )
        return means.std(dim=0)

    assert bool((deviation("spread") < deviation("uniform") / 3).all())


@pytest.mark.parametrize("strategy", ["blue_noise", "relaxed"])
def test_every_lung_pixel_can_be_a_centre(strategy):
    mask = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 1]], dtype=torch.bool)
    generator = seeded()
    found = torch.zeros(3, 4, dtype=torch.bool)
    for _ in range(200):
        for row, column in sample_centres(mask, 2, generator, strategy).tolist():
            found[row, column] = True
    assert torch.equal(found, mask)


@pytest.mark.parametrize("strategy", ["uniform", "spread"])
def test_pixels_come_in_the_order_of_the_plain_way(strategy):
    """The plain way lists every lung pixel, orders the list, and takes places of it."""
    mask, k = two_lungs(), 11
    rows, columns = mask.nonzero().unbind(dim=1)
    if strategy == "uniform":
        order, generator = torch.arange(len(rows)), seeded(2)
        chosen = torch.randint(len(rows), (k,), generator=generator)
    else:
        high = round((len(rows) / k) ** 0.5)
        band = rows // high
        along = torch.where(band % 2 == 0, columns, 79 - columns)
        order = torch.argsort((band * 80 + along) * high + rows % high)
        drawn = torch.rand(k, generator=seeded(2), dtype=torch.float64)
        chosen = ((torch.arange(k) + drawn) * len(rows) / k).long()
    expected = torch.stack([rows, columns], dim=1)[order[chosen]]
    assert torch.equal(sample_centres(mask, k, seeded(2), strategy), expected)


def closest(centres):
    apart = torch.cdist(centres.double(), centres.double())
    return apart.fill_diagonal_(torch.inf).min().item()


def test_blue_noise_keeps_centres_apart():
    """Of the distance that k points in a triangular lattice over the same area would keep."""
    mask, k = two_lungs(120, 160), 30
    lattice = (2 / 3**0.5 * int(mask.sum()) / k) ** 0.5
    for seed in range(20):
        assert closest(sample_centres(mask, k, seeded(seed), "blue_noise")) > 0.6 * lattice
        assert closest(sample_centres(mask, k, seeded(seed))) < 0.3 * lattice


def test_blue_noise_can_be_cut_short():
    """The first centres are as far apart as those of a draw of their own, in the mean."""
    mask = two_lungs(120, 160)
    alone, first = (
        torch.tensor(
            [closest(sample_centres(mask, k, seeded(s), "blue_noise")[:10]) for s in range(20)]
        ).mean()
        for k in (10, 40)
    )
    assert first > 0.95 * alone


def test_relaxed_centres_lie_in_the_middle_of_their_area():
    """Two square lungs and two centres: on average each is in the middle of its lung."""
    mask = torch.zeros(40, 80, dtype=torch.bool)
    mask[5:35, 5:35] = mask[5:35, 45:75] = True
    found = torch.stack([sample_centres(mask, 2, seeded(s), "relaxed") for s in range(50)]).double()
    ordered = found.gather(1, found[:, :, 1].argsort(dim=1)[:, :, None].expand(-1, -1, 2))
    middles = torch.tensor([[19.5, 19.5], [19.5, 59.5]], dtype=torch.float64)
    torch.testing.assert_close(ordered.mean(dim=0), middles, atol=2, rtol=0)
    assert ordered.std(dim=0).max() < 5  # 8.7 for a uniform draw in each


def test_relaxed_centres_speak_for_areas_more_alike():
    mask = two_lungs()

    def unevenness(strategy):
        draws = [
            area_weights(mask, sample_centres(mask, 20, seeded(s), strategy)) for s in range(9)
        ]
        return torch.stack(draws).std()

    assert unevenness("relaxed") < unevenness("spread") / 1.5 < unevenness("uniform") / 2


def test_the_lung_box_is_the_smallest_square_that_holds_the_lungs():
    for top, left, height, width in ((10, 8, 40, 62), (0, 70, 9, 10), (59, 0, 1, 2), (3, 79, 7, 1)):
        mask = torch.zeros(60, 80, dtype=torch.bool)
        mask[top, left] = mask[top + height - 1, left + width - 1] = True
        centre, side = lung_box(mask)
        assert side == max(height, width)
        assert mask.shape[0] > centre[0] >= 0 <= centre[1] < mask.shape[1]
        if side <= 60:
            row, column = corners_inside(centre[None], side, 60, 80)[0].tolist()
            assert mask[row : row + side, column : column + side].sum() == mask.sum()
    with pytest.raises(EmptyMaskError, match="no box"):
        lung_box(torch.zeros(3, 3, dtype=torch.bool))


def test_empty_mask_and_wrong_choices_are_refused():
    with pytest.raises(EmptyMaskError, match="lung mask is empty"):
        sample_centres(torch.zeros(4, 4, dtype=torch.bool), 3, seeded())
    with pytest.raises(ValueError, match="k is 0"):
        sample_centres(two_lungs(), 0, seeded())
    with pytest.raises(ValueError, match="'grid'"):
        sample_centres(two_lungs(), 3, seeded(), "grid")


def plain_crop(image, row, column, size, border):
    """The rule of the docstring, pixel by pixel."""
    channels, height, width = image.shape
    top, left = row - size // 2, column - size // 2
    if border == "inside":
        top = min(max(top, 0), height - size)
        left = min(max(left, 0), width - size)
    patch = torch.zeros(channels, size, size, dtype=image.dtype)
    for r in range(size):
        for c in range(size):
            if 0 <= top + r < height and 0 <= left + c < width:
                patch[:, r, c] = image[:, top + r, left + c]
    return patch


@pytest.mark.parametrize("border", ["inside", "padded"])
@pytest.mark.parametrize("size", [1, 4, 5, 7])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_crops_equal_the_plain_loop(border, size, dtype):
    image = torch.randint(1, 256, (2, 7, 9), generator=seeded()).to(dtype)
    centres = torch.tensor([[0, 0], [6, 8], [3, 4], [1, 7], [6, 0]])
    patches = crop_patches(image, centres, size, border)
    assert patches.dtype == dtype
    assert patches.shape == (5, 2, size, size)
    for patch, (row, column) in zip(patches, centres.tolist(), strict=True):
        assert torch.equal(patch, plain_crop(image, row, column, size, border))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_stretched_resizes_only_what_the_edge_cut(dtype):
    """At the corner (0, 0) a window of 4 keeps 2 x 2 pixels, resized to 4 x 4 with weights 1/4."""
    image = torch.tensor([[[0, 40, 9, 9], [80, 120, 9, 9], [9, 9, 9, 9], [9, 9, 9, 9]]]).to(dtype)
    corner, whole = crop_patches(image, torch.tensor([[0, 0], [2, 2]]), 4, "stretched")
    along_row = torch.tensor([0.0, 10.0, 30.0, 40.0])
    assert corner.dtype == dtype
    assert torch.equal(corner[0].float(), along_row + 2 * along_row[:, None])
    assert torch.equal(whole, image)


def test_crops_refuse_what_cannot_be_cut():
    image = torch.zeros(1, 8, 10)
    with pytest.raises(ValueError, match=r"9 pixels does not fit inside an image of 8 x 10"):
        crop_patches(image, torch.tensor([[4, 4]]), 9)
    with pytest.raises(ValueError, match="centre lies outside the image of 8 x 10"):
        crop_patches(image, torch.tensor([[8, 4]]), 3)
    with pytest.raises(ValueError, match="'mirrored'"):
        crop_patches(image, torch.tensor([[4, 4]]), 3, "mirrored")
    assert crop_patches(image, torch.tensor([[4, 4]]), 9, "padded").shape == (1, 1, 9, 9)


@settings(deadline=None, max_examples=100)
@given(
    size=st.integers(1, 7),
    centres=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 8)), min_size=1, max_size=4),
    border=st.sampled_from(["inside", "padded", "stretched"]),
)
def test_the_box_of_the_windows_holds_all_that_is_cut(size, centres, border):
    image = torch.randint(1, 256, (1, 7, 9), generator=seeded(), dtype=torch.uint8)
    wanted = torch.tensor(centres)
    top, left, height, width = box_of_windows(wanted, size, 7, 9, border)
    part = image[:, top : top + height, left : left + width]
    assert part.shape == (1, height, width)
    within = wanted - torch.tensor([top, left])
    assert torch.equal(
        crop_patches(part, within, size, border), crop_patches(image, wanted, size, border)
    )


def test_the_box_of_one_window_is_that_window():
    assert box_of_windows(torch.tensor([[3, 4]]), 4, 7, 9, "inside") == (1, 2, 4, 4)
    assert box_of_windows(torch.tensor([[0, 8]]), 4, 7, 9, "inside") == (0, 5, 4, 4)
    assert box_of_windows(torch.tensor([[0, 8]]), 4, 7, 9, "padded") == (0, 6, 2, 3)
