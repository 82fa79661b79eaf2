"""Lung masks from Python: `flannel.lungs.load().segment(radiograph)`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Bool

from flannel.data.arrays import Radiograph, as_places
from flannel.data.mask import read_mask
from segmentation.checkpoint import MaskError, Segmenter, load_segmenter
from segmentation.masks.folder import load_mask_rows
from segmentation.masks.pipeline import PLAIN, MaskOptions
from segmentation.masks.predict import predict_masks
from segmentation.masks.quality import MaskQuality
from segmentation.masks.radiograph_files import radiographs_of


@dataclass(frozen=True)
class LungMask:
    """The lungs of one radiograph.

    Attributes:
        name: The radiograph's, without its suffix.
        path: Its file.
        mask: True inside the lungs, at the radiograph's own size.
        quality: How the mask looks; its `flag` is empty where nothing is odd.
    """

    name: str
    path: Path
    mask: Bool[np.ndarray, "height width"]
    quality: MaskQuality


@dataclass(frozen=True)
class LungSegmenter:
    """A trained lung segmenter.

    Attributes:
        segmenter: Its network and classes.
        options: How masks are made of what it predicts.
    """

    segmenter: Segmenter
    options: MaskOptions = PLAIN

    def segment(self, radiographs: Radiograph | Sequence[Radiograph]) -> list[LungMask]:
        """Segments the lungs, as `lungs predict` does.

        Args:
            radiographs: One or several: files, folders, or arrays (height, width) of 8 or 16 bits.

        Returns:
            A mask for each radiograph, in the order in which they are given.

        Raises:
            MaskError: If a radiograph cannot be read.
            OptionError: If an array is of another shape or type.
        """
        with TemporaryDirectory() as folder:
            places = as_places(radiographs, Path(folder) / "arrays")
            masks = Path(folder) / "masks"
            listed = radiographs_of(places, masks)
            report = predict_masks(listed.files, self.segmenter, masks, options=self.options)
            if faults := (*listed.faults, *report.faults):
                raise MaskError("Some radiographs cannot be segmented:\n  " + "\n  ".join(faults))
            rows = load_mask_rows(masks / "masks.csv")
            return [
                LungMask(
                    file.image_id,
                    file.path,
                    read_mask(masks / f"{file.image_id}.png"),
                    rows[file.image_id].quality,
                )
                for file in listed.files
            ]


def load(checkpoint: str | Path | None = None, flip: bool = False) -> LungSegmenter:
    """Loads a trained lung segmenter.

    Args:
        checkpoint: A run's `best.ckpt`, with its `config.yaml` beside it; when None the segmenter
            that comes with the package.
        flip: Average with the mirrored radiograph.

    Raises:
        MaskError: If it cannot be read, or its training is not finished.
    """
    segmenter = load_segmenter() if checkpoint is None else load_segmenter(Path(checkpoint))
    return LungSegmenter(segmenter, MaskOptions(flip=flip))
