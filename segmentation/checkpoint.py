"""A trained segmenter, built again from its run's folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
import yaml
from torch import nn

from flannel.errors import FlannelError
from flannel.runs.checkpoints import CheckpointError, build_module, hashed_weights, load_weights
from flannel.runs.run import is_unfinished
from segmentation import shipped
from segmentation.masks.quality import LOW_CONFIDENCE
from segmentation.structures import classes_of

NETWORKS = ("segmentation.fc_densenet.", "segmentation.unet.", "segmentation_models_pytorch.")
"""Only classes from here are built, so that a run's config.yaml runs no other code."""


class MaskError(FlannelError):
    """Raised when masks cannot be made or used."""


@dataclass(frozen=True)
class Segmenter:
    """A trained network and what it was trained for.

    Attributes:
        network: In evaluation mode.
        size_px: Side of its input.
        sha256: Hash of the checkpoint.
        classes: What its outputs are, in order.
        checkpoint: The file it was loaded from; None for one that was made in memory.
        specification: `class_path` and `init_args` of the network; likewise empty.
    """

    network: nn.Module
    size_px: int
    sha256: str
    classes: tuple[str, ...] = classes_of("lungs")
    checkpoint: Path | None = None
    specification: Mapping[str, object] = field(default_factory=dict)

    @property
    def low_confidence(self) -> float:
        """Mean probability in a mask below which it is flagged: that which suits the weights."""
        return shipped.LOW_CONFIDENCE if self.sha256 == shipped.SHA256 else LOW_CONFIDENCE


def find_checkpoint(study: Path) -> Path:
    """Finds the segmenter of a study: the one that it has trained, or the shipped one.

    Returns:
        The study's only `best.ckpt`, or the shipped weights where the study has begun no training.

    Raises:
        MaskError: If it has trained more than one, or has not finished.
        RunError: If a fingerprint is damaged.
    """
    checkpoints, unfinished = checkpoints_of(study)
    match checkpoints:
        case [checkpoint]:
            return checkpoint
        case [] if not unfinished:
            return shipped.WEIGHTS
        case []:
            raise MaskError(
                f"{study / 'segmentation'} holds no trained segmenter: "
                f"{', '.join(map(str, unfinished))} is not finished. Let make segment "
                f"MASKS=folder finish it, or name a checkpoint ({shipped.WEIGHTS} is the one that "
                "comes with the package)."
            )
        case _:
            raise MaskError(
                f"{study / 'segmentation'} holds {len(checkpoints)} segmenters; name the "
                f"checkpoint: {', '.join(str(path) for path in checkpoints)}."
            )


def checkpoints_of(study: Path) -> tuple[list[Path], list[Path]]:
    """Lists the checkpoints of a study's segmenters.

    Returns:
        Those of finished trainings, and those of others.

    Raises:
        RunError: If a fingerprint is damaged.
    """
    places = sorted((study / "segmentation").glob("*/best.ckpt"))
    unfinished = [place for place in places if is_unfinished(place.parent)]
    return [place for place in places if place not in unfinished], unfinished


def load_segmenter(checkpoint: Path = shipped.WEIGHTS) -> Segmenter:
    """Builds the network that the run's `config.yaml` names and loads its weights.

    Args:
        checkpoint: A run's `best.ckpt`, its `config.yaml` beside it; or the weights that come with
            the package.

    Raises:
        MaskError: If a file is missing or cannot be read, the training is not finished, the
            network is not of a known library, or the weights do not fit it.
        RunError: If the run's fingerprint is damaged.
    """
    if shipped.is_shipped(checkpoint):
        return _load_shipped()
    config_path = checkpoint.parent / "config.yaml"
    for path in (checkpoint, config_path):
        if not path.is_file():
            raise MaskError(
                f"{path} does not exist: a segmenter is a best.ckpt with its config.yaml beside it."
            )
    if is_unfinished(checkpoint.parent):
        raise MaskError(
            f"{checkpoint} is of a training that has not finished. Let the command that trained it "
            "(lungs fit, make segment) finish it first; or copy it with its config.yaml to another "
            "folder, to take it as it is."
        )
    try:
        config = yaml.safe_load(config_path.read_text(encoding="utf-8"))
        size_px = int(config["data"]["size_px"])
        # Runs of earlier versions tell nothing but lungs apart, and do not say so.
        classes = classes_of(config["data"].get("structures", "lungs"))
        specification = config["model"]["network"]
    except MaskError:
        raise
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as fault:
        raise MaskError(
            f"{config_path} names no network that can be built ({fault!r}); expected the "
            "config.yaml of a segmentation run."
        ) from fault
    network = build_network(specification)
    try:
        weights, sha256 = hashed_weights(checkpoint, "network.")
        load_weights(network, weights, str(checkpoint))
    except CheckpointError as fault:
        raise MaskError(str(fault)) from fault
    return Segmenter(
        network=channels_last(network),
        size_px=size_px,
        sha256=sha256,
        classes=classes,
        checkpoint=checkpoint,
        specification=specification,
    )


def _load_shipped() -> Segmenter:
    network = build_network(shipped.NETWORK)
    try:
        load_weights(network, shipped.read_weights(), str(shipped.WEIGHTS))
    except CheckpointError as fault:
        raise MaskError(str(fault)) from fault
    return Segmenter(
        network=channels_last(network),
        size_px=shipped.SIZE_PX,
        sha256=shipped.SHA256,
        checkpoint=shipped.WEIGHTS,
        specification=dict(shipped.NETWORK),
    )


def build_network(specification: Mapping[str, object]) -> nn.Module:
    """Builds a network from `class_path` and `init_args`, without pretrained weights.

    Raises:
        MaskError: If the class is not a network of a known library, or its arguments do not fit.
    """
    try:
        return build_module(specification, NETWORKS, {"encoder_weights": None})
    except CheckpointError as fault:
        raise MaskError(str(fault)) from fault


def channels_last(network: nn.Module) -> nn.Module:
    """Lays a network's weights out channels last: the same numbers, faster in half precision."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs lack it
