"""What the tests of prediction share."""

import pytest
import torch
from torch import nn

from segmentation.checkpoint import Segmenter


class TwoBars(nn.Module):
    """Finds lungs in the second and in the fifth sixth of the width, whatever it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, radiographs: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(radiographs))
        batch, _, height, width = radiographs.shape
        sixth = torch.arange(width) * 6 // width
        lungs = torch.where((sixth == 1) | (sixth == 4), 3.0, -3.0).expand(batch, height, width)
        return torch.stack([torch.zeros_like(lungs), lungs], dim=1)


@pytest.fixture
def two_bars():
    """Makes a segmenter whose answer is known; the argument names its weights."""
    return lambda weights="w1": Segmenter(TwoBars(), size_px=36, sha256=weights)


@pytest.fixture
def study(phantom_study):
    """A study whose masks are still to be made."""
    for path in (phantom_study / "masks").iterdir():
        path.unlink()
    return phantom_study
