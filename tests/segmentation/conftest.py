"""What the tests of prediction share."""

import pytest
import torch
import yaml
from torch import nn

from segmentation.checkpoint import Segmenter
from segmentation.fc_densenet import FCDenseNet

SMALL = {"in_channels": 1, "classes": 2, "down": [1], "bottleneck": 1, "up": [1], "growth": 4}


class TwoBars(nn.Module):
    """Finds lungs in the second and in the fifth sixth of the width, but for the outer rows."""

    def forward(self, radiographs: torch.Tensor) -> torch.Tensor:
        batch, _, height, width = radiographs.shape
        sixth = torch.arange(width) * 6 // width
        lungs = torch.where((sixth == 1) | (sixth == 4), 3.0, -3.0).repeat(batch, height, 1)
        lungs[:, [0, -1]] = -3.0
        return torch.stack([torch.zeros_like(lungs), lungs], dim=1)


@pytest.fixture
def two_bars():
    """Makes a segmenter whose answer is known; the argument names its weights."""
    return lambda weights="w1": Segmenter(TwoBars(), size_px=36, sha256=weights)


@pytest.fixture
def write_run():
    """Writes a segmentation run of a small network with random weights, and gives the network."""

    def write(
        folder, class_path="segmentation.fc_densenet.FCDenseNet", arguments=SMALL, **data
    ) -> FCDenseNet:
        folder.mkdir(parents=True)
        torch.manual_seed(1)
        network = FCDenseNet(1, 2, (1,), 1, (1,), growth=4)
        state = {f"network.{name}": value for name, value in network.state_dict().items()}
        torch.save({"state_dict": state}, folder / "best.ckpt")
        specification = {"class_path": class_path, "init_args": arguments}
        config = {"model": {"network": specification}, "data": {"size_px": 48, **data}}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        return network

    return write


@pytest.fixture
def study(phantom_study):
    """A study whose masks are still to be made."""
    for path in (phantom_study / "masks").iterdir():
        path.unlink()
    return phantom_study
