"""What a trained network says of a batch: the probability of each class for each pixel."""

from typing import Literal

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from flannel.arithmetic import AUTO, quickest
from segmentation.inference import for_inference
from segmentation.masks import MaskError

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
SIDES = {"left lung": "right lung", "right lung": "left lung"}


def ready_network(network: nn.Module, precision: Precision, device: torch.device) -> nn.Module:
    """Gives a copy of a network in the form that predicts fastest.

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
