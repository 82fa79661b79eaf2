"""Patches and their votes as one writes them first: the yardstick of the base learners.

Masked radiographs lie as compressed float arrays on the disk. For each of K passes over the images,
an array is loaded, its non-zero pixels are listed, a window is cut around one of them and resized,
and one patch an image goes through the network, in float32.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from flannel.data.store import Store


def write_masked(store: Store, folder: Path) -> None:
    """Writes the masked radiographs of a store, as float32 grey levels 0..255."""
    folder.mkdir(parents=True)
    for image_id in store.image_ids:
        masked = store.radiograph(image_id) * store.lung_mask(image_id)
        np.savez_compressed(folder / f"{image_id}.npz", image=masked.astype(np.float32))


def plain_patch(path: Path, size_px: int, generator: np.random.Generator) -> Tensor:
    """Returns one patch (3, size, size), grey levels 0..255."""
    with np.load(path) as arrays:
        image = arrays["image"]
    rows, columns = np.nonzero(image)
    chosen = generator.integers(len(rows))
    row, column = rows[chosen], columns[chosen]
    half = size_px // 2
    window = image[max(row - half, 0) : row + half, max(column - half, 0) : column + half]
    patch = Image.fromarray(window).resize((size_px, size_px), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.stack([np.asarray(patch)] * 3))


def plain_votes(
    network: nn.Module, paths: Sequence[Path], size_px: int, k: int, batch_size: int
) -> Tensor:
    """Returns the share of votes (images, classes) of K patches an image."""
    generator = np.random.default_rng(1)
    passes = []
    with torch.no_grad():
        for _ in range(k):
            votes = []
            for start in range(0, len(paths), batch_size):
                part = paths[start : start + batch_size]
                patches = [plain_patch(path, size_px, generator) for path in part]
                logits = network(torch.stack(patches) / 255)
                votes.append(F.one_hot(logits.argmax(dim=1), logits.shape[1]))
            passes.append(torch.cat(votes))
    return torch.stack(passes).float().mean(dim=0)
