"""What a patched run keeps of every patch in `patches.npz`, to vote again without a model."""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float, Float32, Int

from flannel.errors import FlannelError
from flannel.files import whole_file


class PatchesError(FlannelError):
    """Raised when a file of patches cannot be used."""


@dataclass(frozen=True)
class Patches:
    """The patches of a run's radiographs, in the order of `image_id`.

    Attributes:
        image_id: The radiographs.
        centres: Row and column of each patch's centre in store pixels.
        windows_px: Side of each patch in store pixels.
        weights: How much each patch counts in the vote; on average 1.
        logits: What the learner says of each patch; the file holds them as float16.
        strategy: How the centres were drawn (`data.centres`); "" where the file does not say.
        lung_box: Whether the last patch of each radiograph is the box around its lungs.
    """

    image_id: tuple[str, ...]
    centres: Int[np.ndarray, "images patches 2"]
    windows_px: Int[np.ndarray, "images patches"]
    weights: Float32[np.ndarray, "images patches"]
    logits: Float[np.ndarray, "images patches classes"]
    strategy: str
    lung_box: bool


def narrowed_px(pixels: Int[np.ndarray, "..."]) -> Int[np.ndarray, "..."]:
    """Returns coordinates in 16 bits, or in 32 where a store has more than 32,767 px a side."""
    wide = pixels.size > 0 and np.abs(pixels).max() > np.iinfo(np.int16).max
    return pixels.astype(np.int32 if wide else np.int16)


def save_patches(patches: Patches, path: Path) -> None:
    """Writes a run's patches, whole or not at all."""
    with whole_file(path) as beside:
        np.savez_compressed(
            beside,
            image_id=np.array(patches.image_id),
            centres=narrowed_px(patches.centres),
            windows_px=narrowed_px(patches.windows_px),
            weights=patches.weights.astype(np.float32),
            logits=patches.logits.astype(np.float16),
            strategy=np.array(patches.strategy),
            lung_box=np.array(patches.lung_box),
        )


def load_patches(path: Path) -> Patches:
    """Reads a run's patches; earlier files have one `size_px` and equal votes.

    Raises:
        PatchesError: If the file is missing, no such file, or its arrays do not fit each other.
    """
    if not path.is_file():
        raise PatchesError(f"{path} does not exist: run the patched base learner that writes it.")
    try:
        with np.load(path, allow_pickle=False) as file:
            kept = dict(file)
        centres, logits = kept["centres"], kept["logits"]
        side = kept["windows_px"] if "windows_px" in kept else kept["size_px"]
        patches = Patches(
            image_id=tuple(str(image_id) for image_id in kept["image_id"]),
            centres=centres,
            windows_px=np.broadcast_to(side, logits.shape[:2]),
            weights=np.broadcast_to(kept.get("weights", np.float32(1)), logits.shape[:2]),
            logits=logits,
            strategy=str(kept.get("strategy", "")),
            lung_box=bool(kept.get("lung_box", False)),
        )
    except (KeyError, ValueError, IndexError, OSError, BadZipFile) as fault:
        raise PatchesError(
            f"{path} is no file of patches ({fault}): make the run again with --redo true."
        ) from fault
    if centres.shape != (*logits.shape[:2], 2) or len(patches.image_id) != len(logits):
        raise PatchesError(
            f"{path} holds {len(patches.image_id)} radiographs, centres {centres.shape} and logits "
            f"{logits.shape}, which do not fit: make the run again with --redo true."
        )
    return patches
