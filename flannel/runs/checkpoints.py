"""A trained network built again, only of allowed classes, from weights and nothing else."""

import hashlib
import importlib
import inspect
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import torch
from torch import Tensor, nn

from flannel.errors import FlannelError


class CheckpointError(FlannelError):
    """Raised when a network is not built, or its weights cannot be read."""


def build_module(
    specification: Mapping[str, object],
    allowed: Sequence[str],
    pretrained: Mapping[str, object] = MappingProxyType({}),
) -> nn.Module:
    """Builds a module from `class_path` and `init_args`.

    Args:
        specification: As a run's config.yaml holds it.
        allowed: How the paths of classes that may be built begin, each with its last dot.
        pretrained: Arguments that name pretrained weights, with the value that fetches none.

    Raises:
        CheckpointError: If there is no class path, the class is not one of the allowed, or its
            arguments do not fit.
    """
    class_path = str(specification.get("class_path"))
    arguments = specification.get("init_args") or {}
    kind = _class_at(class_path) if class_path.startswith(tuple(allowed)) else None
    if kind is None or not isinstance(arguments, dict):
        raise CheckpointError(
            f"The network {class_path} is not built: expected a class of "
            f"{' or '.join(allowed)}, as these run no unknown code."
        )
    parameters = inspect.signature(kind).parameters
    for name, absent in pretrained.items():
        if name in parameters and arguments.get(name, parameters[name].default) != "random":
            arguments = {**arguments, name: absent}
    try:
        return kind(**arguments)
    except CheckpointError:
        raise
    except Exception as fault:  # whatever a class raises for arguments that it was not made for
        raise CheckpointError(
            f"The network {class_path} cannot be built from {str(arguments)[:300]}: {fault}"
        ) from fault


def _class_at(class_path: str) -> type[nn.Module] | None:
    module, _, name = class_path.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name, None)
    except (ImportError, ValueError):
        return None
    return kind if isinstance(kind, type) and issubclass(kind, nn.Module) else None


def read_checkpoint(path: Path, content: bytes | None = None) -> dict[str, Any]:
    """Reads a checkpoint of Lightning's, as `read_saved` does.

    Raises:
        CheckpointError: If it is missing, damaged or no checkpoint, or holds more than numbers.
    """
    state = read_saved(path, content)
    if not isinstance(state.get("state_dict"), dict):
        raise _unreadable(path, "no state_dict")
    return state


def read_saved(path: Path, content: bytes | None = None) -> dict[str, Any]:
    """Reads a table that torch has saved, if it is whole and holds nothing that could be run.

    torch compares no checksums: blocks of zeros, as a crash of the system leaves, would pass for
    weights.

    Args:
        path: The file.
        content: Its bytes, where these very ones are to be used; it is read when None.

    Raises:
        CheckpointError: If it is missing, damaged or no table, or holds more than plain values.
    """

    def opened() -> Path | BytesIO:
        return path if content is None else BytesIO(content)

    try:
        if is_zipfile(opened()):
            with ZipFile(opened()) as archive:
                damaged = archive.testzip()
            if damaged is not None:
                raise BadZipFile(f"the checksum of {damaged} differs")
        state = torch.load(opened(), map_location="cpu", weights_only=True)
    except FileNotFoundError as fault:
        raise CheckpointError(f"There is no checkpoint {path}.") from fault
    except Exception as fault:  # whatever torch raises for bytes that it was not made for
        reason = fault.strerror if isinstance(fault, OSError) else type(fault).__name__
        raise _unreadable(path, reason) from fault
    if not isinstance(state, dict):
        raise _unreadable(path, type(state).__name__)
    return state


def _unreadable(path: Path, reason: str | None) -> CheckpointError:
    return CheckpointError(
        f"{path} is damaged, or no checkpoint of a run with nothing in it but weights ({reason}). "
        "Copy it again; nothing in it was run."
    )


def read_hashed(path: Path, sha256: str | None = None) -> tuple[bytes, str]:
    """Reads a file at once, so that nothing is used but the bytes whose hash is known.

    Args:
        path: The file.
        sha256: The hash that it had when it was opened; any when None.

    Returns:
        Its bytes, and their SHA-256.

    Raises:
        CheckpointError: If it is missing, cannot be read, or has another hash by now.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as fault:
        raise CheckpointError(f"{path} is missing: it was removed or renamed.") from fault
    except OSError as fault:
        raise _unreadable(path, fault.strerror) from fault
    actual = hashlib.sha256(content).hexdigest()
    if sha256 not in (None, actual):
        raise CheckpointError(
            f"{path} has changed since it was opened: its SHA-256 begins with {actual[:8]}, and "
            f"began with {str(sha256)[:8]}. Start again, so that answers name their own weights."
        )
    return content, actual


def hashed_weights(
    checkpoint: Path, prefix: str, sha256: str | None = None
) -> tuple[dict[str, Tensor], str]:
    """Reads the weights of one part of a run's `best.ckpt`, and the hash of the same bytes.

    Args:
        checkpoint: The file.
        prefix: The part, such as "network."
        sha256: The hash that the file had when it was opened; any when None.

    Returns:
        The weights, by their names within the part, and the file's SHA-256.

    Raises:
        CheckpointError: If the file is missing or damaged, has changed since, or holds more than
            weights.
    """
    content, actual = read_hashed(checkpoint, sha256)
    state = read_checkpoint(checkpoint, content)["state_dict"]
    weights = {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }
    return weights, actual


def checkpoint_weights(
    checkpoint: Path, prefix: str, sha256: str | None = None
) -> dict[str, Tensor]:
    """Returns the weights alone, as `hashed_weights` reads them."""
    return hashed_weights(checkpoint, prefix, sha256)[0]


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], name: str) -> None:
    """Loads weights into a network, and sets it to evaluation mode.

    Args:
        network: What was built.
        weights: All of its parameters and buffers, by name.
        name: Whose weights they are, for the error.

    Raises:
        CheckpointError: If they do not fit.
    """
    try:
        network.load_state_dict(weights)
    except RuntimeError as fault:
        raise CheckpointError(
            f"The weights of {name} do not fit the network of its config.yaml: {fault}"
        ) from fault
    network.eval()
