"""A frozen ImageNet network with new dense layers behind it, as paper 003 trains two."""

from collections.abc import Sequence
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from flannel.errors import OptionError
from flannel.networks.imagenet import imagenet_network


class FrozenNetwork(nn.Module):
    """An ImageNet network that does not learn, and dense layers that do (paper 003, Section 3).

    The base keeps evaluation mode in training too, so that its BatchNorm goes on with ImageNet's
    statistics, as Keras does where `trainable` is off. Two classes share one output z,
    whose sigmoid is the probability of the second one. It is handed on as the logits (0, z), of
    which the softmax is that sigmoid, so that cross-entropy of them is binary cross-entropy, and
    votes and tables need to know nothing of it. More classes have an output each.

    The paper states neither widths nor rates of dropout, and only that ResNet-50 has three dropouts
    and its MobileNet another number of them.

    Args:
        architecture: A name that `torchvision.models.get_model` knows; its last part, the head,
            is taken away.
        classes: Number of diagnoses.
        weights: Of the base, as `ImageNetNetwork` takes them.
        widths: Outputs of the dense layers before the last one, with ReLU behind each.
        dropouts: Probability of dropout before each dense layer, the last one included; 0 has none.
        learn_base: Thaw the base, which the paper does not.

    Raises:
        OptionError: If there is not one rate of dropout for each dense layer, or torchvision has no
            such network.
        WeightsError: If the weights cannot be had or are not the published ones.
    """

    def __init__(
        self,
        architecture: str,
        classes: int = 2,
        weights: str = "imagenet",
        widths: Sequence[int] = (256, 64),
        dropouts: Sequence[float] = (0.5, 0.5, 0.5),
        learn_base: bool = False,
    ) -> None:
        super().__init__()
        if len(dropouts) != len(widths) + 1:
            raise OptionError(
                f"dropouts has {len(dropouts)} entries for {len(widths) + 1} dense layers; give "
                "one before each, 0 for none."
            )
        self.learn_base = learn_base
        self.base = imagenet_network(architecture, weights)
        features = _without_head(self.base)
        outputs = 1 if classes == 2 else classes
        layers: list[nn.Module] = []
        for dropout, width in zip(dropouts, (*widths, outputs), strict=True):
            if dropout:
                layers.append(nn.Dropout(dropout))
            layers += [nn.Linear(features, width), nn.ReLU()]
            features = width
        self.head = nn.Sequential(*layers[:-1])
        self.one_output = outputs == 1
        self.base.requires_grad_(learn_base)

    def train(self, mode: bool = True) -> Self:
        """Sets the mode of the dense layers; the base stays in evaluation mode unless it learns."""
        super().train(mode)
        self.base.train(mode and self.learn_base)
        return self

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Returns the logits."""
        out = self.head(self.base(images))
        return torch.cat([torch.zeros_like(out), out], dim=1) if self.one_output else out


def _without_head(network: nn.Module) -> int:
    """Takes the last part of a network away, and gives the number of features that it was handed.

    Raises:
        OptionError: If that part has no linear layer.
    """
    name, head = list(network.named_children())[-1]
    linear = next((module for module in head.modules() if isinstance(module, nn.Linear)), None)
    if linear is None:
        raise OptionError(
            f"{type(network).__name__} does not end in linear layers, so that its features cannot "
            "be had. Choose another architecture, such as resnet50 or mobilenet_v2."
        )
    setattr(network, name, nn.Identity())
    return linear.in_features
