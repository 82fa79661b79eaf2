"""ImageNet networks of torchvision with a new head."""

import hashlib
from io import BytesIO
from pathlib import Path
from urllib.parse import urlparse

import torch
import torchvision
from jaxtyping import Float
from torch import Tensor, nn

from flannel.errors import FlannelError, OptionError

Logits = Float[Tensor, "batch classes"]


class WeightsError(FlannelError):
    """Raised when pretrained weights cannot be had."""


class ImageNetNetwork(nn.Module):
    """A torchvision classification network whose last linear layer is replaced.

    FLANNEL's five are densenet161, inception_v3, resnet152, resnext101_32x8d and vgg19_bn (paper
    004, Section 3), whose heads become Linear(2208 | 2048 | 2048 | 2048 | 4096, 4); all layers are
    trained.

    Args:
        architecture: A name that `torchvision.models.get_model` knows.
        classes: Size of the new head.
        weights: "imagenet" (torchvision's IMAGENET1K_V1, fetched once and checked by hash);
            "random"; or a path. In a folder the architecture's file is taken, by torchvision's name
            for it and with its hash checked. A file holds a state dictionary of the architecture
            with its 1000 ImageNet classes, whoever trained it. With "later" nothing is fetched:
            the network waits for a checkpoint of one that began with pretrained weights.
        auxiliary: Keep InceptionV3's auxiliary head, with `classes` outputs. In training it needs
            299 px images. Other networks have none.

    Raises:
        WeightsError: If the weights cannot be had or are not the published ones.
        OptionError: If torchvision has no such network, or it has no auxiliary head to keep.
    """

    def __init__(
        self,
        architecture: str,
        classes: int = 4,
        weights: str = "imagenet",
        auxiliary: bool = False,
    ) -> None:
        super().__init__()
        if auxiliary and architecture != "inception_v3":
            raise OptionError(f"{architecture} has no auxiliary head: set auxiliary to false.")
        self.network = imagenet_network(architecture, weights)
        if isinstance(self.network, torchvision.models.Inception3):
            if auxiliary and self.network.AuxLogits is not None:
                replace_head(self.network.AuxLogits, classes)
            else:
                self.network.aux_logits, self.network.AuxLogits = False, None
        replace_head(self.network, classes)

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Logits | tuple[Logits, Logits]:
        """Returns the logits; in training with an auxiliary head, a pair (main, auxiliary)."""
        out = self.network(images)
        return (out[0], out[1]) if isinstance(out, tuple) else out


def imagenet_network(architecture: str, weights: str) -> nn.Module:
    """Makes a torchvision network with the head of its 1000 ImageNet classes.

    Args:
        architecture: A name that `torchvision.models.get_model` knows.
        weights: As `ImageNetNetwork` takes them.

    Raises:
        WeightsError: If the weights cannot be had or are not the published ones.
        OptionError: If torchvision has no such network.
    """
    if architecture not in torchvision.models.list_models(torchvision.models):
        raise OptionError(
            f"torchvision has no classification network {architecture!r}. "
            "torchvision.models.list_models() names those that it has."
        )
    network = _build(architecture)
    if weights not in ("random", "later"):
        network.load_state_dict(_pretrained(architecture, weights))
    if isinstance(network, torchvision.models.Inception3):
        # torchvision's own convention for weights that were trained on [-1, 1].
        network.transform_input = weights != "random"
    return network


def replace_head(network: nn.Module, classes: int) -> None:
    """Replaces the last linear layer of a network by a new one with `classes` outputs.

    Raises:
        OptionError: If the network has no linear layer.
    """
    linear = {name: m for name, m in network.named_modules() if isinstance(m, nn.Linear)}
    if not linear:
        raise OptionError(f"{type(network).__name__} has no linear layer to replace by a new head.")
    name, old = list(linear.items())[-1]
    parent, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(parent), attribute, nn.Linear(old.in_features, classes))


def _build(architecture: str) -> nn.Module:
    """Builds the network with random weights.

    Inception gets PyTorch's own initial values. In residual networks each block begins as the
    identity (Goyal et al. 2017, Section 5.1): without that, ResNet152 learns hardly anything in
    its first hundred steps. Neither matters once ImageNet weights are loaded.
    """
    if architecture == "inception_v3":
        return torchvision.models.inception_v3(weights=None, init_weights=False)
    network = torchvision.models.get_model(architecture, weights=None)
    for module in network.modules():
        if isinstance(module, torchvision.models.resnet.Bottleneck):
            nn.init.zeros_(module.bn3.weight)
        elif isinstance(module, torchvision.models.resnet.BasicBlock):
            nn.init.zeros_(module.bn2.weight)
    return network


def _pretrained(architecture: str, weights: str) -> dict[str, Tensor]:
    """Finds the state dictionary that `weights` names."""
    path = Path(weights)
    if weights == "imagenet" or path.is_dir():
        content = _published(architecture, weights)
    elif not path.is_file():
        raise WeightsError(
            f"weights is {weights!r}; expected 'imagenet', 'random', or the path of a folder or "
            "file."
        )
    else:
        content = path.read_bytes()
    return {_today(key): value for key, value in read_state(content, path).items()}


def read_state(content: bytes, path: Path) -> dict[str, Tensor]:
    """Reads a state dictionary that torch has saved.

    Args:
        content: The bytes of the file.
        path: The file, for the error.

    Raises:
        WeightsError: If it is none, or holds more than weights.
    """
    try:
        state = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
        return dict(state.items())
    except Exception as fault:  # whatever PyTorch raises for bytes that are no weights
        raise WeightsError(
            f"{path} holds no weights by their names ({type(fault).__name__}), or more than that. "
            "Name another file; nothing in it was run."
        ) from fault


def _published(architecture: str, weights: str) -> bytes:
    """Reads torchvision's file in a folder, or for "imagenet" in its cache, where it is fetched."""
    address: str = torchvision.models.get_model_weights(architecture).IMAGENET1K_V1.url
    name = Path(urlparse(address).path).name
    if weights != "imagenet":
        path = Path(weights) / name
        if not path.is_file():
            raise WeightsError(
                f"The folder {weights} has no {name}, the ImageNet weights of {architecture}. Put "
                f"it there, from {address}."
            )
        way_out = "Put the published file there, or name another file by its path."
        return _of_published_hash(path, way_out)
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.is_file():
        try:
            torch.hub.load_state_dict_from_url(
                address, map_location="cpu", check_hash=True, weights_only=True
            )
        except OSError as fault:
            raise WeightsError(
                f"The ImageNet weights of {architecture} could not be fetched ({fault}). Put "
                f"{name} into {path.parent}, or set model.network.init_args.weights to a folder "
                "that holds it, or to 'random'."
            ) from fault
    return _of_published_hash(path, "Delete it and let it be fetched again.")


def _of_published_hash(path: Path, way_out: str) -> bytes:
    """Reads a file and compares it with the hash in its name, whether it is new or was there."""
    expected = path.stem.rpartition("-")[2]
    content = path.read_bytes()
    actual = hashlib.sha256(content).hexdigest()
    if not actual.startswith(expected):
        raise WeightsError(
            f"{path} is not the published file: its SHA-256 begins with {actual[:8]}, expected "
            f"{expected}. {way_out}"
        )
    return content


def _today(key: str) -> str:
    """Returns today's name of a parameter: DenseNet's published files say `norm.1` for `norm1`."""
    for layer in ("norm", "conv"):
        for number in ("1", "2"):
            key = key.replace(f".{layer}.{number}.", f".{layer}{number}.")
    return key
