"""FC-DenseNet, the One Hundred Layers Tiramisu (Jegou et al. 2017, arXiv:1611.09326).

Paper 004, Section 2.1, segments the lungs with FC-DenseNet103, in the form of Oh, Park and Ye:
one input channel with grey values 0 to 255, whole channels dropped, PyTorch's initial weights, and
running BatchNorm statistics at evaluation. Table 2 of Jegou et al. counts 16 channels too few in
every stack from the bottleneck on; the counts here are those of their code.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from flannel.errors import OptionError

DropoutKind = Literal["channel", "element"]
Initialisation = Literal["pytorch", "he_uniform"]
Statistics = Literal["running", "batch"]


class FCDenseNet(nn.Module):
    """Dense blocks down, a dense bottleneck, dense blocks up, with skips between (Section 3).

    The output is logits: softmax belongs to the loss. Any input of at least 2 to the power of the
    number of blocks down works, odd sides too, because upsampled features are cropped to the skip.

    Args:
        in_channels: Channels of the input.
        classes: Channels of the output.
        down: Layers of each dense block on the way down.
        bottleneck: Layers of the block at the lowest resolution.
        up: Layers of each dense block on the way up.
        growth: Feature maps that each layer adds.
        first: Feature maps of the first convolution.
        dropout: Probability of dropping, in [0, 1).
        dropout_kind: `channel` drops whole feature maps (the PyTorch versions, and Oh et al.);
            `element` drops single values (Jegou et al.).
        initialisation: `pytorch` keeps PyTorch's defaults (Oh et al.); `he_uniform` is the
            paper's, with zero biases, on convolutions and transposed convolutions alike.
        statistics: What BatchNorm normalises with at evaluation: `running` averages (the PyTorch
            versions, and Oh et al.), or those of the `batch` at hand (Jegou et al.'s program), with
            which a mask depends on the radiographs beside it.
        divisor: The grey values are divided by this first: 1 leaves them in 0..255, as Oh et al.;
            255 makes them at home in [0, 1], where a short training gets further.
        checkpointing: Keep no layer's normalised input for the backward pass, but make it again
            there: the same gradients from under half the memory, for more time.

    Raises:
        OptionError: If `down` and `up` differ in length, or a choice is unknown.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        down: Sequence[int] = (4, 5, 7, 10, 12),
        bottleneck: int = 15,
        up: Sequence[int] = (12, 10, 7, 5, 4),
        growth: int = 16,
        first: int = 48,
        dropout: float = 0.2,
        dropout_kind: DropoutKind = "channel",
        initialisation: Initialisation = "pytorch",
        statistics: Statistics = "running",
        divisor: float = 1.0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if len(down) != len(up):
            raise OptionError(
                f"down has {len(down)} blocks and up has {len(up)}: each block down needs its "
                "block up."
            )
        self.smallest_side_px = 2 ** len(down)
        self.statistics: Statistics = statistics
        self.divisor = divisor
        self.first = nn.Conv2d(in_channels, first, kernel_size=3, padding=1)

        def block(channels: int, layers: int) -> DenseBlock:
            return DenseBlock(channels, layers, growth, dropout, dropout_kind, checkpointing)

        channels = first
        skips: list[int] = []
        self.down_blocks = nn.ModuleList()
        self.downsamplings = nn.ModuleList()
        for layers in down:
            self.down_blocks.append(block(channels, layers))
            channels += layers * growth
            skips.append(channels)
            self.downsamplings.append(
                TransitionDown(channels, dropout, dropout_kind, checkpointing)
            )

        self.bottleneck = block(channels, bottleneck)
        channels = bottleneck * growth

        self.upsamplings = nn.ModuleList()
        self.up_blocks = nn.ModuleList()
        for layers, skip in zip(up, reversed(skips), strict=True):
            self.upsamplings.append(TransitionUp(channels))
            stack = channels + skip
            self.up_blocks.append(block(stack, layers))
            channels = layers * growth

        self.classifier = nn.Conv2d(stack + channels, classes, kernel_size=1)
        _initialise(self, initialisation)
        _choose_statistics(self, statistics)

    def forward(
        self, radiographs: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes height width"]:
        """Returns one logit per class and pixel.

        Args:
            radiographs: Grey values in 0..255, lungs dark, not normalised (as Oh et al.).

        Raises:
            OptionError: If a side is too short to be halved by every block down.
        """
        self.check_size(radiographs)
        stack = self.enter(radiographs)
        skips: list[Tensor] = []
        for block, downsampling in zip(self.down_blocks, self.downsamplings, strict=True):
            stack = torch.cat([stack, block(stack)], dim=1)
            skips.append(stack)
            stack = downsampling(stack)
        new = self.bottleneck(stack)
        for upsampling, block in zip(self.upsamplings, self.up_blocks, strict=True):
            skip = skips.pop()
            stack = torch.cat([upsampling(new, skip), skip], dim=1)
            new = block(stack)
        return self.classifier(torch.cat([stack, new], dim=1))

    def enter(
        self, radiographs: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch first height width"]:
        """Returns the features of the first convolution."""
        return self.first(radiographs if self.divisor == 1 else radiographs / self.divisor)

    def check_size(self, radiographs: Float[Tensor, "batch channels height width"]) -> None:
        """Refuses an input that is too small.

        Raises:
            OptionError: If a side is too short to be halved by every block down.
        """
        height, width = radiographs.shape[2:]
        if min(height, width) < self.smallest_side_px:
            raise OptionError(
                f"The input is {height} x {width} pixels, but FC-DenseNet halves it "
                f"{len(self.down_blocks)} times and needs at least {self.smallest_side_px} pixels "
                "a side: resize the radiographs to more."
            )


class FCDenseNet103(FCDenseNet):
    """The network of paper 004: 103 convolutions, 9,319,428 parameters at 1 channel, 4 classes.

    Args:
        in_channels: Channels of the input.
        classes: Channels of the output.
        dropout: Probability of dropping, in [0, 1).
        dropout_kind: As in `FCDenseNet`.
        initialisation: As in `FCDenseNet`.
        statistics: As in `FCDenseNet`.
        divisor: As in `FCDenseNet`.
        checkpointing: As in `FCDenseNet`.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 2,
        dropout: float = 0.2,
        dropout_kind: DropoutKind = "channel",
        initialisation: Initialisation = "pytorch",
        statistics: Statistics = "running",
        divisor: float = 1.0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__(
            in_channels,
            classes,
            dropout=dropout,
            dropout_kind=dropout_kind,
            initialisation=initialisation,
            statistics=statistics,
            divisor=divisor,
            checkpointing=checkpointing,
        )


class DenseBlock(nn.Module):
    """Layers that each see the block's input and everything the layers before them made.

    Gives the new features alone: who needs the whole stack puts the input before them.
    """

    def __init__(
        self,
        channels: int,
        layers: int,
        growth: int,
        dropout: float,
        dropout_kind: DropoutKind,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.added = layers * growth
        self.growth = growth
        self.checkpointing = checkpointing
        self.layers = nn.ModuleList(
            _norm_relu_conv(channels + i * growth, growth, 3, dropout, dropout_kind)
            for i in range(layers)
        )

    def forward(
        self, stack: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch new height width"]:
        """Returns the features that the block adds, in the order they were made."""
        new: list[Tensor] = []
        for layer in self.layers:
            new.append(_run(layer, stack, *new, checkpointing=self.checkpointing))
        return torch.cat(new, dim=1)


class TransitionDown(nn.Module):
    """Mixes the stack by a 1 x 1 convolution and halves its resolution."""

    def __init__(
        self,
        channels: int,
        dropout: float,
        dropout_kind: DropoutKind,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        self.mix = _norm_relu_conv(channels, channels, 1, dropout, dropout_kind)
        self.pool = nn.MaxPool2d(2)

    def forward(
        self, stack: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels half_height half_width"]:
        """Returns the stack at half its resolution, rounded down."""
        return self.pool(_run(self.mix, stack, checkpointing=self.checkpointing))


class TransitionUp(nn.Module):
    """Doubles the resolution of a block's new features and crops them to the skip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.transposed = nn.ConvTranspose2d(channels, channels, kernel_size=3, stride=2)

    def forward(
        self,
        new: Float[Tensor, "batch channels low_height low_width"],
        skip: Float[Tensor, "batch skip_channels height width"],
    ) -> Float[Tensor, "batch channels height width"]:
        """Returns features of the skip's size; n pixels become 2 n + 1 before the centre crop."""
        on_cpu = new.device.type == "cpu"
        upsampled = _by_parity(self.transposed, new) if on_cpu else self.transposed(new)
        height, width = skip.shape[2:]
        top = (2 * new.shape[2] + 1 - height) // 2
        left = (2 * new.shape[3] + 1 - width) // 2
        return upsampled[:, :, top : top + height, left : left + width]


def _by_parity(
    transposed: nn.ConvTranspose2d, new: Float[Tensor, "batch channels low_height low_width"]
) -> Float[Tensor, "batch channels high_height high_width"]:
    """Computes a transposed convolution, 3 x 3 with stride 2, by four convolutions.

    Even and odd rows and columns of the result each see other weights: the first and last, or the
    middle one. PyTorch's own takes five times as long in bfloat16 on a CPU. A last row and column
    come along that do not belong to the result.
    """
    padded = F.pad(new, (1, 1, 1, 1))
    weight = transposed.weight.transpose(0, 1).flip(2, 3)  # (channels, channels, 3, 3)
    rows = []
    for row in (0, 1):
        columns = [
            F.conv2d(
                padded[:, :, row:, column:], weight[:, :, row::2, column::2], transposed.bias
            ).permute(0, 2, 3, 1)
            for column in (0, 1)
        ]
        rows.append(torch.stack(columns, dim=3))  # (batch, height, width, 2, channels)
    interleaved = torch.stack(rows, dim=2)  # (batch, height, 2, width, 2, channels)
    return interleaved.flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)


def _norm_relu_conv(
    in_channels: int, out_channels: int, kernel: int, dropout: float, kind: DropoutKind
) -> nn.Sequential:
    """BatchNorm, ReLU, convolution and dropout: every composite of the paper's Table 1."""
    match kind:
        case "channel":
            drop: nn.Module = nn.Dropout2d(dropout)
        case "element":
            drop = nn.Dropout(dropout)
        case _:
            raise OptionError(f"dropout_kind is {kind!r}: expected channel or element.")
    return nn.Sequential(
        nn.BatchNorm2d(in_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2),
        drop,
    )


def _run(layer: nn.Module, *features: Tensor, checkpointing: bool) -> Tensor:
    """Applies a composite layer to features that lie side by side.

    With `checkpointing`, autograd keeps the features alone, which others need too. Backwards it
    stacks and normalises them again, as far as the input of the convolution. Dropout stays
    outside, so that nothing random happens twice.
    """
    norm, relu, convolution, drop = cast(nn.Sequential, layer)

    def convolved(*features: Tensor) -> Tensor:
        stack = features[0] if len(features) == 1 else torch.cat(features, dim=1)
        return convolution(relu(norm(stack)))

    if not (checkpointing and torch.is_grad_enabled()):
        return drop(convolved(*features))
    made = checkpoint(
        convolved,
        *features,
        use_reentrant=False,
        preserve_rng_state=False,
        context_fn=lambda: (nullcontext(), _uncounted(norm)),
    )
    return drop(made)


@contextmanager
def _uncounted(norm: nn.Module) -> Iterator[None]:
    """Lets a BatchNorm see a batch again without counting it in its running statistics."""
    counted = dict(norm.named_buffers())
    for name, statistic in counted.items():
        setattr(norm, name, statistic.clone())
    try:
        yield
    finally:
        for name, statistic in counted.items():
            setattr(norm, name, statistic)


def _initialise(network: nn.Module, initialisation: Initialisation) -> None:
    match initialisation:
        case "pytorch":
            return
        case "he_uniform":
            for module in network.modules():
                if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                    _he_uniform(module)
        case _:
            raise OptionError(
                f"initialisation is {initialisation!r}: expected pytorch or he_uniform."
            )


def _choose_statistics(network: nn.Module, statistics: Statistics) -> None:
    match statistics:
        case "running":
            return
        case "batch":
            for module in network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.track_running_stats = False
                    module.running_mean = module.running_var = module.num_batches_tracked = None
        case _:
            raise OptionError(f"statistics is {statistics!r}: expected running or batch.")


def _he_uniform(convolution: nn.Conv2d | nn.ConvTranspose2d) -> None:
    """Draws from +-sqrt(6 / fan in) (He et al. 2015), the fan in counted in input channels."""
    fan_in = convolution.in_channels * convolution.kernel_size[0] * convolution.kernel_size[1]
    bound = (6 / fan_in) ** 0.5
    nn.init.uniform_(convolution.weight, -bound, bound)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
