import pytest
import torch

from patching.coverage import coverage
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
    assert coverage(mask, centres, size, times) == plain_coverage(mask, centres, size, times)


def test_by_hand():
    """A window of 3 at (1, 1) sees 3 of the 4 lung pixels of the top row; two windows see 1."""
    mask = torch.zeros(5, 5, dtype=torch.bool)
    mask[0, :4] = True
    centres = torch.tensor([[1, 1], [1, 3]])
    assert coverage(mask, centres[:1], 3) == 0.75
    assert coverage(mask, centres, 3) == 1.0
    assert coverage(mask, centres, 3, times=2) == 0.25


def test_empty_mask_has_no_coverage():
    with pytest.raises(EmptyMaskError, match="empty"):
        coverage(torch.zeros(5, 5, dtype=torch.bool), torch.tensor([[1, 1]]), 3)
