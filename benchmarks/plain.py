"""FC-DenseNet103 as one writes it first: a list of features, concatenated anew for every layer.

The yardstick of the benchmarks. Its parts bear the names of `segmentation.fc_densenet`, so that
both hold the same weights.
"""

import torch
from torch import Tensor, nn


class PlainFCDenseNet103(nn.Module):
    """Maps radiographs (batch, 1, height, width) to logits (batch, 2, height, width)."""

    def __init__(self, growth: int = 16, dropout: float = 0.2) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 48, 3, padding=1)
        channels, skips = 48, []
        self.down_blocks = nn.ModuleList()
        self.downsamplings = nn.ModuleList()
        for layers in (4, 5, 7, 10, 12):
            self.down_blocks.append(_DenseBlock(channels, layers, growth, dropout))
            channels += layers * growth
            skips.append(channels)
            self.downsamplings.append(_Down(channels, dropout))
        self.bottleneck = _DenseBlock(channels, 15, growth, dropout)
        channels = 15 * growth
        self.upsamplings = nn.ModuleList()
        self.up_blocks = nn.ModuleList()
        for layers in (12, 10, 7, 5, 4):
            self.upsamplings.append(_Up(channels))
            stack = channels + skips.pop()
            self.up_blocks.append(_DenseBlock(stack, layers, growth, dropout))
            channels = layers * growth
        self.classifier = nn.Conv2d(stack + channels, 2, 1)

    def forward(self, radiographs: Tensor) -> Tensor:
        """Returns the logits of background and lungs."""
        features = self.first(radiographs)
        skips = []
        for block, down in zip(self.down_blocks, self.downsamplings, strict=True):
            features = torch.cat([features, block(features)], dim=1)
            skips.append(features)
            features = down(features)
        new = self.bottleneck(features)
        for up, block in zip(self.upsamplings, self.up_blocks, strict=True):
            skip = skips.pop()
            features = torch.cat([up(new, skip), skip], dim=1)
            new = block(features)
        return self.classifier(torch.cat([features, new], dim=1))


class _DenseBlock(nn.Module):
    def __init__(self, channels: int, layers: int, growth: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            _layer(channels + i * growth, growth, 3, dropout) for i in range(layers)
        )

    def forward(self, stack: Tensor) -> Tensor:
        features = [stack]
        for layer in self.layers:
            features.append(layer(torch.cat(features, dim=1)))
        return torch.cat(features[1:], dim=1)


class _Down(nn.Module):
    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.mix = _layer(channels, channels, 1, dropout)
        self.pool = nn.MaxPool2d(2)

    def forward(self, stack: Tensor) -> Tensor:
        return self.pool(self.mix(stack))


class _Up(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.transposed = nn.ConvTranspose2d(channels, channels, 3, stride=2)

    def forward(self, new: Tensor, skip: Tensor) -> Tensor:
        return self.transposed(new)[:, :, : skip.shape[2], : skip.shape[3]]


def _layer(channels: int, out: int, kernel: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, out, kernel, padding=kernel // 2),
        nn.Dropout2d(dropout),
    )
