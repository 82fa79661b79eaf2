"""The network of 13 convolutions that paper 002 trains with Keras and Spark."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from flannel.errors import OptionError

CONVOLUTIONS = (2, 2, 3, 3, 3)
"""Convolutions before each pooling."""

LAST_SIDE = 7


class CNN13(nn.Module):
    """Thirteen convolutions, each with leaky ReLU, then dropout and one dense layer.

    Paper 002, Section 3.3, has a pooling behind each convolution. Thirteen halvings of 224 px are
    impossible (seven leave one pixel), so a pooling stands where it can: behind the groups of 2, 2,
    3, 3 and 3 convolutions in which VGG-16 has its thirteen, which ends at 7 x 7. Widths, kernels
    (3 x 3), dropout and its rate are ours, for the paper names none. Slope 0.3 and the initial
    values (Glorot's uniform weights, biases 0) are Keras's defaults, which the paper seems to use;
    PyTorch's own would let the signal of thirteen layers without BatchNorm die away.

    Parameters: 939,603 for three classes.

    Args:
        classes: Number of outputs.
        widths: Channels of each of the five groups.
        slope: Of leaky ReLU below 0.
        dropout: Probability that a value does not reach the dense layer in training.

    Raises:
        OptionError: If there are not five widths.
    """

    def __init__(
        self,
        classes: int = 3,
        widths: Sequence[int] = (16, 32, 64, 128, 128),
        slope: float = 0.3,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if len(widths) != len(CONVOLUTIONS):
            raise OptionError(
                f"widths has {len(widths)} entries; expected {len(CONVOLUTIONS)}, one for each "
                "group of convolutions."
            )
        layers: list[nn.Module] = []
        channels = 3
        for width, count in zip(widths, CONVOLUTIONS, strict=True):
            for _ in range(count):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(slope)]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(LAST_SIDE),  # nothing changes at 224 px; other sizes fit too
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(channels * LAST_SIDE**2, classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Returns the logits; images need a side of 32 px at least."""
        return self.head(self.features(images))
