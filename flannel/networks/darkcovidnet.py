"""DarkCovidNet (Ozturk et al. 2020), of which paper 002 trains a copy."""

from jaxtyping import Float
from torch import Tensor, fx, nn

from flannel.errors import OptionError

SLOPE = 0.1


class DarkCovidNet(nn.Module):
    """Seventeen convolutions, layer by layer as in its authors' public program.

    It is DarkNet-19's pattern with fewer and narrower layers. Two habits of the program are kept:
    the 1 x 1 convolutions are padded by 1 too, so that each makes the map 2 pixels larger, and the
    last convolution is followed by ReLU before its BatchNorm. Paper 002 shows the diagram only.

    Parameters: 1,167,586 for three classes at 256 px, 1,164,434 for two.

    Args:
        classes: Number of outputs.
        size_px: Side of the images, on which the last linear layer hangs: 256 in the program. It
            has to be `data.size_px`.

    Raises:
        OptionError: If nothing is left of images so small.
    """

    def __init__(self, classes: int = 3, size_px: int = 256) -> None:
        super().__init__()
        side = _last_side(size_px)
        self.size_px = size_px
        self.features = nn.Sequential(
            _convolution(3, 8),
            nn.MaxPool2d(2),
            _convolution(8, 16),
            nn.MaxPool2d(2),
            _triple(16, 32),
            nn.MaxPool2d(2),
            _triple(32, 64),
            nn.MaxPool2d(2),
            _triple(64, 128),
            nn.MaxPool2d(2),
            _triple(128, 256),
            _convolution(256, 128, kernel=1),
            _convolution(128, 256),
        )
        last = nn.Conv2d(256, classes, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(last.weight)
        self.head = nn.Sequential(
            last,
            nn.ReLU(),
            nn.BatchNorm2d(classes),
            nn.Flatten(),
            nn.Linear(classes * side**2, classes),
        )

    def forward(
        self, images: Float[Tensor, "batch 3 size_px size_px"]
    ) -> Float[Tensor, "batch classes"]:
        """Returns the logits.

        Raises:
            OptionError: If the images have another side than the network was made for.
        """
        check_side(images, self.size_px)
        return self.head(self.features(images))


@fx.wrap  # one step where a network is traced, because a trace knows no sizes
def check_side(images: Tensor, size_px: int) -> None:
    """Compares the side of images with the one that a network was made for.

    Raises:
        OptionError: If they differ.
    """
    height, width = images.shape[-2:]
    if (height, width) != (size_px, size_px):
        raise OptionError(
            f"The images are {height} x {width} pixels; DarkCovidNet was made for {size_px}. Set "
            "data.size_px and model.network.init_args.size_px to the same number."
        )


def _convolution(channels: int, out: int, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, kernel, padding=1, bias=False),
        nn.BatchNorm2d(out),
        nn.LeakyReLU(SLOPE),
    )


def _triple(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        _convolution(channels, out),
        _convolution(out, channels, kernel=1),
        _convolution(channels, out),
    )


def _last_side(size_px: int) -> int:
    """Follows the side of a map through the layers.

    Raises:
        OptionError: If a pooling leaves nothing.
    """
    if size_px < 8:
        raise OptionError(f"size_px is {size_px}; DarkCovidNet needs at least 8.")
    side = size_px // 2 // 2
    for _ in range(3):
        side = (side + 2) // 2  # a triple's 1 x 1 convolution, then the pooling
    return side + 2 + 2  # the last triple's and the one before the last
