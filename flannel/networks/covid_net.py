"""COVID-Net (Wang and Wong 2020), with which paper 004 announces a comparison."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from flannel.networks.imagenet import WeightsError

STEM = 56
STAGES = ((3, 56), (4, 112), (6, 216), (3, 424))
"""Blocks and channels of the four stages."""

LAST_SIDE = 7


class CovidNet(nn.Module):
    """Four stages of light blocks, all of a stage's outputs summed up for the next block.

    Followed is the first preprint (arXiv 2003.09871, of March 2020) as public programs in PyTorch
    read it: a block is a 1 x 1 projection, a 1 x 1 expansion, a 3 x 3 depthwise convolution, a
    1 x 1 projection and a 1 x 1 extension; there are 3, 4, 6 and 3 blocks of 56, 112, 216 and 424
    channels, and 1 x 1 convolutions beside them. No description says more: the network was found
    by a search, and its authors published graphs of TensorFlow only.

    Left open there, and chosen here: a block's inner widths (one half and three quarters of its
    input); BatchNorm and ReLU behind each convolution, but no ReLU at a block's end; which
    outputs meet (all earlier ones of the stage and its 1 x 1 convolution); maximum pooling between
    the stages; dense layers of 1024 and 256. ImageNet weights, with which the original begins,
    are not to be had for this form, but its own can be loaded.

    Parameters: 22,972,396 for four classes. The authors' tables have 117.4 million (small) and
    127.4 million (large) for the published graphs at 224 px, and 11.7 million for a later one at
    480 px, so none of them is this network.

    Args:
        classes: Number of outputs.
        weights: "random"; the path of a file with a state dictionary of this network, for all its
            layers; or "later", as `ImageNetNetwork`.
        dense: Outputs of the dense layers before the last one.

    Raises:
        WeightsError: If there is no such file, or it does not fit.
    """

    def __init__(
        self, classes: int = 4, weights: str = "random", dense: Sequence[int] = (1024, 256)
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(_convolution(3, STEM, 7, stride=2), nn.ReLU())
        channels, stages = STEM, []
        for blocks, width in STAGES:
            stages.append(CovidNetStage(channels, width, blocks))
            channels = width
        self.stages = nn.Sequential(*stages)
        widths = [channels * LAST_SIDE**2, *dense]
        layers: list[nn.Module] = [nn.AdaptiveAvgPool2d(LAST_SIDE), nn.Flatten()]
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.head = nn.Sequential(*layers, nn.Linear(widths[-1], classes))
        if weights not in ("random", "later"):
            self._load(Path(weights))

    def _load(self, file: Path) -> None:
        if not file.is_file():
            raise WeightsError(
                f"weights is '{file}'; COVID-Net has 'random' ones, or those of a file of yours."
            )
        try:
            self.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        except RuntimeError as fault:
            raise WeightsError(f"{file} holds no weights of this COVID-Net: {fault}") from fault

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Returns the logits; images need a side of 32 px at least."""
        return self.head(self.stages(self.stem(images)))


class CovidNetStage(nn.Module):
    """Pooling, then blocks that each add to the sum of all that came before them in the stage.

    Args:
        channels: Of the input.
        out: Of the output.
        blocks: How many.
    """

    def __init__(self, channels: int, out: int, blocks: int) -> None:
        super().__init__()
        self.beside = _convolution(channels, out)
        self.first = Block(channels, out)
        self.others = nn.ModuleList(Block(out, out) for _ in range(blocks - 1))

    def forward(self, features: Float[Tensor, "batch channels height width"]) -> Tensor:
        """Returns the sum, (batch, out, height / 2, width / 2)."""
        features = F.max_pool2d(features, 2)
        features = self.beside(features) + self.first(features)
        for block in self.others:
            features = features + block(features)
        return features


class Block(nn.Sequential):
    """Projection, expansion, depthwise convolution, projection, extension.

    Args:
        channels: Of the input.
        out: Of the output.
    """

    def __init__(self, channels: int, out: int) -> None:
        narrow, wide = channels // 2, 3 * channels // 4
        super().__init__(
            _convolution(channels, narrow),
            nn.ReLU(),
            _convolution(narrow, wide),
            nn.ReLU(),
            _convolution(wide, wide, 3, groups=wide),
            nn.ReLU(),
            _convolution(wide, narrow),
            nn.ReLU(),
            _convolution(narrow, out),
        )


def _convolution(
    channels: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out),
    )
