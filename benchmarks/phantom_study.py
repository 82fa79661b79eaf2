"""A study of phantoms, as `make data` and `make segment` would leave it, for the benchmarks."""

from pathlib import Path

import numpy as np

from flannel.data.folds import assign_folds
from flannel.data.manifest import build_manifest, save_manifest
from flannel.data.mask import write_mask
from flannel.data.sources import write_phantom_sources
from flannel.data.store import build_store, fill_lung_masks


def write_study(folder: Path, images: int, size_px: int) -> Path:
    """Writes manifest, store and lung masks, the lungs being two upright rectangles.

    Args:
        folder: A new folder.
        images: Phantoms.
        size_px: Side of the stored radiographs.
    """
    write_phantom_sources(folder / "sources", images=images, masks=1, seed=1, size=512)
    manifest, _ = build_manifest(folder / "sources")
    manifest = assign_folds(manifest, "paper", seed=1, folds=2)
    study = folder / "study"
    save_manifest(manifest, study / "manifest.csv")
    build_store(manifest, study / "store", size_px=size_px)
    for row in manifest.itertuples():
        lungs = np.zeros((row.height, row.width), dtype=bool)
        for left in (0.18, 0.56):
            across = slice(int(left * row.width), int((left + 0.26) * row.width))
            lungs[int(0.2 * row.height) : int(0.75 * row.height), across] = True
        write_mask(lungs, study / "masks" / f"{row.image_id}.png")
    fill_lung_masks(study / "store", study / "masks", manifest)
    return study
