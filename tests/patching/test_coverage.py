import pytest
import torch

from patching.coverage import area_weights, coverage, covered
from patching.sampling import EmptyMaskError, sample_centres


def plain_coverage(mask, centres, size, times):
    height, width = mask.shape
    counts = torch.zeros(height, width, dtype=torch.int64)
    for row, column in centres.tolist():
        top = min(max(row - size // 2, 0), height - size)
        left = min(max(column - size // 2, 0), width - size)
        counts[top : top + size, left : left + size] += 1
    return float((counts[mask] >= times).double().mean())


@pytest.mark.parametrize("size", [1, 6, 11, 30])
@pytest.mark.parametrize("times", [1, 3])
def test_equals_counting_every_window(size, times):
    generator = torch.Generator().manual_seed(size)
    mask = torch.rand(30, 41, generator=generator) < 0.4
    centres = sample_centres(mask, 25, generator)
    found = coverage(mask, centres, size, times)
    assert found.shape == (25,)
    for n in (1, 2, 7, 25):
        assert found[n - 1] == plain_coverage(mask, centres[:n], size, times)
    if times == 1:
        assert covered(mask, centres, size) == found[-1]


def test_by_hand():
    """A window of 3 at (1, 1) sees 3 of the 4 lung pixels of the top row; two windows see 1."""
    mask = torch.zeros(5, 5, dtype=torch.bool)
    mask[0, :4] = True
    centres = torch.tensor([[1, 1], [1, 3]])
    assert coverage(mask, centres, 3).tolist() == [0.75, 1.0]
    assert coverage(mask, centres, 3, times=2).tolist() == [0.0, 0.25]


def test_each_patch_may_have_its_own_side():
    mask = torch.ones(4, 4, dtype=torch.bool)
    centres, sides = torch.tensor([[0, 0], [2, 2]]), torch.tensor([1, 4])
    assert coverage(mask, centres, sides).tolist() == [1 / 16, 1.0]
    assert covered(mask, centres[:1], sides[:1]) == 1 / 16
    assert coverage(mask, centres, sides, times=2).tolist() == [0.0, 1 / 16]


def plain_areas(mask, centres):
    """The lung pixels nearest to each centre, pixel by pixel, over their mean."""
    counts = torch.zeros(len(centres))
    for pixel in mask.nonzero():
        counts[((centres - pixel) ** 2).sum(dim=1).argmin()] += 1
    return counts / counts.mean()


def test_weights_are_the_areas_nearest_to_the_centres():
    """On a picture of at most 64 px a cell is a pixel, and the weights are exact."""
    generator = torch.Generator().manual_seed(2)
    mask = torch.zeros(40, 64, dtype=torch.bool)
    mask[5:35, 4:25] = mask[10:38, 38:60] = True
    centres = sample_centres(mask, 9, generator)
    torch.testing.assert_close(area_weights(mask, centres), plain_areas(mask, centres))


def test_on_larger_pictures_weights_are_nearly_exact():
    """Cells of 2 px: a cell's pixels all go to one centre, so that areas err at their borders."""
    generator = torch.Generator().manual_seed(2)
    mask = torch.zeros(30, 128, dtype=torch.bool)
    mask[3:27, 5:50] = mask[5:28, 76:121] = True
    centres = sample_centres(mask, 5, generator)
    weights = area_weights(mask, centres)
    assert weights.mean().item() == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(weights, plain_areas(mask, centres), atol=0.05, rtol=0)


def test_of_equal_centres_the_first_speaks_for_the_area():
    mask = torch.ones(6, 6, dtype=torch.bool)
    weights = area_weights(mask, torch.tensor([[2, 2], [2, 2]]))
    assert weights.tolist() == [2, 0]


def test_empty_mask_has_no_coverage():
    with pytest.raises(EmptyMaskError, match="empty"):
        coverage(torch.zeros(5, 5, dtype=torch.bool), torch.tensor([[1, 1]]), 3)
    with pytest.raises(EmptyMaskError, match="empty"):
        covered(torch.zeros(5, 5, dtype=torch.bool), torch.tensor([[1, 1]]), 3)
    with pytest.raises(EmptyMaskError, match="empty"):
        area_weights(torch.zeros(5, 5, dtype=torch.bool), torch.tensor([[1, 1]]))
