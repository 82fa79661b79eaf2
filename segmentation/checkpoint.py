"""A trained segmenter, built again from its run's folder."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
import yaml
from torch import nn

from flannel.data.files import sha256_of
from segmentation.masks import MaskError
from segmentation.structures import classes_of

NETWORKS = ("segmentation.fc_densenet.", "segmentation_models_pytorch.")
"""Only classes from here are built, so that a run's config.yaml runs no other code."""


@dataclass(frozen=True)
class Segmenter:
    """A trained network and what it was trained for.

    Attributes:
        network: In evaluation mode.
        size_px: Side of its input.
        sha256: Hash of the checkpoint.
        classes: What its outputs are, in order.
        checkpoint: The file it was loaded from; None for one that was made in memory.
    """

    network: nn.Module
    size_px: int
    sha256: str
    classes: tuple[str, ...] = classes_of("lungs")
    checkpoint: Path | None = None


def find_checkpoint(study: Path) -> Path:
    """Finds the one segmenter that a study has trained.

    Raises:
        MaskError: If there is none or more than one.
    """
    found = sorted((study / "segmentation").glob("*/best.ckpt"))
    match found:
        case [checkpoint]:
            return checkpoint
        case []:
            raise MaskError(
                f"{study / 'segmentation'} holds no trained segmenter: train one "
                "(make segment MASKS=folder), or name a checkpoint."
            )
        case _:
            raise MaskError(
                f"{study / 'segmentation'} holds {len(found)} segmenters; name the checkpoint: "
                f"{', '.join(str(path) for path in found)}."
            )


def load_segmenter(checkpoint: Path) -> Segmenter:
    """Builds the network that the run's `config.yaml` names and loads its weights.

    Args:
        checkpoint: A run's `best.ckpt`, its `config.yaml` beside it.

    Raises:
        MaskError: If a file is missing or cannot be read, the network is not of a known library,
            or the weights do not fit it.
    """
    config_path = checkpoint.parent / "config.yaml"
    for path in (checkpoint, config_path):
        if not path.is_file():
            raise MaskError(
                f"{path} does not exist: a segmenter is a best.ckpt with its config.yaml beside it."
            )
    try:
        config = yaml.safe_load(config_path.read_text(encoding="utf-8"))
        size_px = int(config["data"]["size_px"])
        # Runs of earlier versions tell nothing but lungs apart, and do not say so.
        classes = classes_of(config["data"].get("structures", "lungs"))
        network = build_network(config["model"]["network"])
    except MaskError:
        raise
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as fault:
        raise MaskError(
            f"{config_path} names no network that can be built ({fault!r}); expected the "
            "config.yaml of a segmentation run."
        ) from fault
    try:
        network.load_state_dict(_network_weights(checkpoint))
    except RuntimeError as fault:
        raise MaskError(
            f"The weights of {checkpoint} do not fit the network of its config.yaml: {fault}"
        ) from fault
    return Segmenter(
        network=channels_last(network).eval(),
        size_px=size_px,
        sha256=sha256_of(checkpoint),
        classes=classes,
        checkpoint=checkpoint,
    )


def _network_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    except (RuntimeError, OSError, UnpicklingError, EOFError, KeyError, TypeError) as fault:
        raise MaskError(
            f"{checkpoint} is damaged, or no checkpoint of a segmentation run with nothing in it "
            f"but weights ({type(fault).__name__}). Copy it again; nothing in it was run."
        ) from fault
    return {
        name.removeprefix("network."): value
        for name, value in state.items()
        if name.startswith("network.")
    }


def build_network(specification: dict[str, object]) -> nn.Module:
    """Builds a network from `class_path` and `init_args`, without pretrained weights.

    Raises:
        MaskError: If the class is not a network of a known library.
        KeyError: If there is no class path.
        TypeError: If the arguments do not fit the class.
    """
    class_path = str(specification["class_path"])
    arguments = specification.get("init_args") or {}
    if not isinstance(arguments, dict):
        raise TypeError(f"init_args is {arguments!r}")
    module, _, name = class_path.rpartition(".")
    if class_path.startswith(NETWORKS):
        found = getattr(importlib.import_module(module), name, None)
        if isinstance(found, type) and issubclass(found, nn.Module):
            if "encoder_weights" in arguments:
                arguments = {**arguments, "encoder_weights": None}
            return found(**arguments)
    raise MaskError(
        f"The network {class_path} is not built: expected a class of "
        f"{' or '.join(NETWORKS)}, as these run no unknown code."
    )


def channels_last(network: nn.Module) -> nn.Module:
    """Lays a network's weights out channels last: the same numbers, faster in half precision."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs lack it
