"""Networks in the form that predicts fastest, and the probabilities that they give a batch."""

import math
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Literal, NamedTuple, cast

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from flannel.runs.arithmetic import AUTO, quickest
from segmentation.checkpoint import MaskError, channels_last
from segmentation.fc_densenet import DenseBlock, FCDenseNet, TransitionDown, TransitionUp

IMAGES_BYTES = 2**24
"""On a CPU a level works on so many images at once that their features stay in its last cache."""
ROWS_BYTES = 2**22
"""On a CPU a layer works on so many rows at once that their normalised copy stays in a near one."""


def for_inference(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Returns a copy of a network in evaluation mode, channels last, that computes in `dtype`.

    FC-DenseNet takes a form of its own, which keeps its buffers from one call to the next and is
    not for two threads at once; any other network, and one that normalises with the statistics of
    the batch, stays as it is. BatchNorm computes in float32 or
    better, from statistics that are not rounded to `dtype`. Radiographs of any floating type are
    taken, and the logits come back in it. Nothing is recorded for a backward pass.

    Args:
        network: Maps radiographs to logits; it is left alone.
        dtype: Of weights and features.
    """
    copy = channels_last(deepcopy(network).to(dtype)).eval()
    for name, module in copy.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.to(torch.promote_types(dtype, torch.float32))
            module.load_state_dict(network.get_submodule(name).state_dict())
    if isinstance(copy, FCDenseNet) and copy.statistics == "running":
        return _AtPrecision(_BufferedFCDenseNet(copy), dtype)
    return _AtPrecision(copy, dtype)


class _AtPrecision(nn.Module):
    """Brings radiographs to the type of a network, and its logits back to theirs."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network
        self.dtype = dtype

    @torch.inference_mode()
    def forward(
        self, radiographs: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes height width"]:
        """Returns one logit per class and pixel."""
        converted = radiographs.to(self.dtype, memory_format=torch.channels_last)
        return self.network(converted).to(radiographs.dtype)


class _Level(NamedTuple):
    """The features of one resolution, and views of parts of them.

    Attributes:
        features: All, in the order in which the way up reads them: upsampled, received by the way
            down, added by it, added by the way up. The bottleneck has the second and the last.
        upsampled: The first part.
        received: The second part.
        down: The second and the third part.
        new: The last part.
    """

    features: Float[Tensor, "batch channels height width"]
    upsampled: Float[Tensor, "batch _ height width"]
    received: Float[Tensor, "batch _ height width"]
    down: Float[Tensor, "batch _ height width"]
    new: Float[Tensor, "batch _ height width"]


class _BufferedFCDenseNet(nn.Module):
    """FC-DenseNet with a buffer for each resolution, where every feature is written once.

    A layer reads the channels before its own, which `FCDenseNet` concatenates anew for each layer.
    """

    def __init__(self, network: FCDenseNet) -> None:
        super().__init__()
        self.network = network
        self.down_blocks = cast(Sequence[DenseBlock], network.down_blocks)
        self.downsamplings = cast(Sequence[TransitionDown], network.downsamplings)
        self.upsamplings = cast(Sequence[TransitionUp], network.upsamplings)
        self.up_blocks = cast(Sequence[DenseBlock], network.up_blocks)
        self.levels: list[_Level] = []
        self.levels_fit: tuple[int, int, int, torch.device] | None = None

    def forward(
        self, radiographs: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes height width"]:
        """Returns one logit per class and pixel."""
        self.network.check_size(radiographs)
        levels = self._levels_for(radiographs)
        for images, received in _a_few_images(radiographs, levels[0].received):
            received.copy_(self.network.enter(images))
        for level, lower, block, downsampling in zip(
            levels[:-1], levels[1:], self.down_blocks, self.downsamplings, strict=True
        ):
            for stack, received in _a_few_images(level.down, lower.received):
                _fill(block, stack)
                _downsample(downsampling, stack, received)
        *levels, lower = levels
        _fill(self.network.bottleneck, lower.features)
        for level, block, upsampling in zip(
            levels[::-1], self.up_blocks, self.upsamplings, strict=True
        ):
            for new, upsampled, stack in _a_few_images(lower.new, level.upsampled, level.features):
                upsampled.copy_(upsampling(new, upsampled))
                _fill(block, stack)
            lower = level
        return torch.cat(
            [self.network.classifier(stack) for (stack,) in _a_few_images(level.features)]
        )

    def _levels_for(
        self, radiographs: Float[Tensor, "batch channels height width"]
    ) -> list[_Level]:
        """Returns the buffers of the call before if they fit, and new ones otherwise."""
        batch, _, height, width = radiographs.shape
        wanted = (batch, height, width, radiographs.device)
        if self.levels_fit == wanted:
            return self.levels
        self.levels_fit = wanted
        received = self.network.first.out_channels
        self.levels = []
        for down, up, upsampling in zip(
            self.down_blocks, reversed(self.up_blocks), reversed(self.upsamplings), strict=True
        ):
            parts = (upsampling.transposed.out_channels, received, down.added, up.added)
            self.levels.append(_empty_level(radiographs, height, width, parts))
            received += down.added
            height, width = height // 2, width // 2
        parts = (0, received, 0, self.network.bottleneck.added)
        self.levels.append(_empty_level(radiographs, height, width, parts))
        return self.levels


def _empty_level(
    like: Float[Tensor, "batch _ _ _"], height: int, width: int, parts: tuple[int, int, int, int]
) -> _Level:
    features = torch.empty(
        (len(like), sum(parts), height, width),
        dtype=like.dtype,
        device=like.device,
        memory_format=torch.channels_last,
    )
    upsampled, received, _, new = features.split(parts, dim=1)
    down = features[:, parts[0] : sum(parts[:3])]
    return _Level(features, upsampled, received, down, new)


def _a_few_images(*stacks: Float[Tensor, "batch _ _ _"]) -> Iterator[tuple[Tensor, ...]]:
    """Splits batches alike, so that the last one's part fits a cache; on a GPU not at all."""
    images = len(stacks[-1])
    if stacks[-1].device.type == "cpu":
        images = max(1, IMAGES_BYTES // stacks[-1][0].nbytes)
    return zip(*(stack.split(images) for stack in stacks), strict=True)


def _a_few_rows(stack: Float[Tensor, "batch _ height _"]) -> Iterator[tuple[int, int]]:
    """Returns bands of rows, an even number each, that fit a cache; on a GPU one band of all."""
    height = stack.shape[2]
    bands = math.ceil(stack.nbytes / ROWS_BYTES) if stack.device.type == "cpu" else 1
    rows = 2 * math.ceil(height / (2 * bands))
    for top in range(0, height, rows):
        yield top, min(top + rows, height)


def _activated(norm: nn.Module, stack: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Normalises and rectifies a copy of some channels, whose pixels lie dense again."""
    return norm(stack.contiguous(memory_format=torch.channels_last)).relu_()


def _fill(block: DenseBlock, stack: Float[Tensor, "batch channels height width"]) -> None:
    """Computes a dense block: each layer reads the channels before those it writes."""
    seen = stack.shape[1] - block.added
    for layer in block.layers:
        norm, _, convolution, _ = cast(nn.Sequential, layer)
        new = stack[:, seen : seen + block.growth]
        for top, bottom in _a_few_rows(stack[:, :seen]):
            above = max(top - 1, 0)  # the convolution reaches one row further on either side
            made = convolution(_activated(norm, stack[:, :seen, above : bottom + 1]))
            new[:, :, top:bottom] = made[:, :, top - above : bottom - above]
        seen += block.growth


def _downsample(
    transition: TransitionDown,
    stack: Float[Tensor, "batch channels height width"],
    out: Float[Tensor, "batch channels half_height half_width"],
) -> None:
    """Writes what a transition down gives; the last row of an odd number has no partner."""
    norm, _, convolution, _ = transition.mix
    for top, bottom in _a_few_rows(stack[:, :, : 2 * out.shape[2]]):
        mixed = convolution(_activated(norm, stack[:, :, top:bottom]))
        out[:, :, top // 2 : bottom // 2] = transition.pool(mixed)


Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
SIDES = {"left lung": "right lung", "right lung": "left lung"}


def ready_network(network: nn.Module, precision: Precision, device: torch.device) -> nn.Module:
    """Returns a copy of a network in the form that predicts fastest.

    Args:
        network: A trained network; it is left alone.
        precision: Lightning's name for the arithmetic. Unlike in training, the weights are in half
            precision too, and only BatchNorm computes in float32. "auto" is the quickest that the
            device computes natively.
        device: Where the copy goes.

    Raises:
        MaskError: If the precision is unknown.
    """
    match quickest(device) if precision == AUTO else precision:
        case "32-true":
            dtype = torch.float32
        case "bf16-mixed":
            dtype = torch.bfloat16
        case "16-mixed":
            dtype = torch.float16
        case _:
            raise MaskError(
                f"precision is {precision!r}: expected auto, 32-true, bf16-mixed or 16-mixed."
            )
    return for_inference(network, dtype).to(device)


def class_probabilities(
    network: nn.Module,
    radiographs: Float32[Tensor, "batch 1 height width"],
    classes: tuple[str, ...],
    flip: bool = False,
) -> Float32[Tensor, "batch classes height width"]:
    """Runs the network and takes the softmax.

    Args:
        network: In evaluation mode, on the device of the radiographs.
        radiographs: Grey values in 0..255, lungs dark.
        classes: What the network's outputs are, in order.
        flip: Average with what the network says of the mirrored radiographs. There the left lung
            looks like a right one, and the heart lies on the other side, so a network that was
            trained without mirrored radiographs may do worse.

    Raises:
        MaskError: If the network has not one output for each class.
    """
    seen = _softmax(network, radiographs, classes)
    if not flip:
        return seen
    mirrored = _softmax(network, radiographs.flip(-1), classes)
    sides = [classes.index(SIDES.get(name, name)) for name in classes]
    return (seen + mirrored.flip(-1)[:, sides]) / 2


def _softmax(
    network: nn.Module,
    radiographs: Float32[Tensor, "batch 1 height width"],
    classes: tuple[str, ...],
) -> Float[Tensor, "batch classes height width"]:
    with torch.inference_mode():
        logits = network(radiographs.contiguous(memory_format=torch.channels_last))
        if logits.shape[1] != len(classes):
            raise MaskError(
                f"The network has {logits.shape[1]} outputs, but the run's config.yaml names "
                f"{len(classes)} classes: {', '.join(classes)}. Are both of one run?"
            )
        return logits.float().softmax(dim=1)
