"""Radiographs from anywhere, prepared as a study's own: a store, and lung masks in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from flannel.data.store import Store, build_store, fill_lung_masks
from flannel.trained import Trained
from segmentation.mask_tables import MaskRow, load_mask_rows
from segmentation.predict import predict_masks
from segmentation.radiograph_files import RadiographFile


@dataclass(frozen=True)
class Prepared:
    """Radiographs as the learners want them.

    Attributes:
        table: Those that can be read, as `prepare` got them.
        store: These, with their lung masks.
        masks: What is to be said of each mask, by image; empty without a segmenter.
        faults: A sentence for each radiograph that cannot be read.
    """

    table: pd.DataFrame
    store: Store
    masks: Mapping[str, MaskRow]
    faults: tuple[str, ...]


def prepare(trained: Trained, table: pd.DataFrame, store: Path, masks: Path) -> Prepared:
    """Decodes radiographs into a store and finds their lungs, as the study did.

    What is there already, from the same file and the same segmenter, is kept.

    Args:
        trained: Whose segmenter, and how a radiograph becomes a square.
        table: image_id, path, sha256, width and height of each radiograph.
        store: Folder of the store.
        masks: Folder of the lung masks.

    Raises:
        StoreError: If no radiograph can be read, or the disk is too full.
        MaskError: If no radiograph can be segmented, or the folder cannot be written.
        RunError: If another process works in the folder of masks.
    """
    size_px, resize = trained.store.size_px, trained.store.resize
    report = build_store(table, store, size_px, resize, renew=True)
    made = Store(store)
    table = table[table["image_id"].isin(made.image_ids)]
    rows: Mapping[str, MaskRow] = {}
    faults = list(report.bad_files)
    if trained.segmenter is not None:
        columns = (table[name] for name in ("image_id", "path", "sha256"))
        files = [RadiographFile(i, Path(path), sha) for i, path, sha in zip(*columns, strict=True)]
        faults += predict_masks(files, trained.segmenter, masks, options=trained.masks).faults
        faults += fill_lung_masks(store, masks, table).bad_files
        rows = load_mask_rows(masks / "masks.csv")
        made = Store(store)  # with the masks
    return Prepared(table, made, rows, tuple(faults))
