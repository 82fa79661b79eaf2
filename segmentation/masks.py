"""Lung masks: made from probabilities, cleaned, judged, and kept in a study's `masks/`."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32
from PIL import Image
from scipy import ndimage

from flannel.data.files import whole_file

Origin = Literal["predicted", "reference"]
COLUMNS = (
    "image_id", "origin", "area_share", "parts", "touches_border", "mean_confidence", "flag",
    "made_from",
)  # fmt: skip

LUNGS = 2
THRESHOLD = 0.5
SMALL_SHARE, LARGE_SHARE = 0.08, 0.65
"""Area shares beyond which a mask is flagged; 369 masks drawn by V7's annotators: 0.09 to 0.61."""
ONE_LUNG_SHARE = 0.2
"""A half of the picture with less of the lungs' area is held to lack its lung; V7: 0.36 or more."""


class MaskError(ValueError):
    """Masks that cannot be made or used, in a sentence."""


@dataclass(frozen=True)
class MaskQuality:
    """What can be said of a mask without knowing the truth.

    Attributes:
        area_share: Share of the picture inside the mask, in [0, 1].
        parts: Number of connected parts (8 neighbours).
        touches_border: Whether the mask reaches the picture's edge.
        mean_confidence: Mean probability of lung inside the mask, in [0, 1]; None where the mask
            is empty or no probability is known.
        flag: "", or why a person should look: `empty`, `small`, `large`, `one lung`, `many parts`.
    """

    area_share: float
    parts: int
    touches_border: bool
    mean_confidence: float | None
    flag: str


@dataclass(frozen=True)
class MaskRow:
    """One line of `masks.csv`: a radiograph's mask, where it comes from and how good it looks.

    Attributes:
        image_id: The radiograph.
        origin: `predicted` by the segmenter, or a `reference` that was imported.
        quality: What can be said of the mask.
        made_from: Hash of all that decides the mask: weights, radiograph and options, or the
            reference file.
    """

    image_id: str
    origin: Origin
    quality: MaskQuality
    made_from: str


def mask_at_size(
    probability: Float32[np.ndarray, "low_height low_width"], height: int, width: int
) -> tuple[Bool[np.ndarray, "height width"], Float32[np.ndarray, "height width"]]:
    """Brings a probability map to a radiograph's own size and cuts it at one half.

    Upsampling is bilinear. The papers' code enlarges the finished mask by nearest neighbour
    instead, which leaves stairs of eight pixels on a radiograph of 2048.

    Args:
        probability: Probability of lung, in [0, 1], at the network's size.
        height: Height of the radiograph in pixels.
        width: Width of the radiograph in pixels.

    Returns:
        The mask, and the probabilities at that size.
    """
    enlarged = np.asarray(
        Image.fromarray(probability).resize((width, height), Image.Resampling.BILINEAR)
    )
    return enlarged > THRESHOLD, enlarged


def clean(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Keeps the two largest connected parts and fills their holes.

    The papers' code does no clean-up, and stray blobs are to be seen in the authors' figures.
    """
    kept = _largest_parts(mask, LUNGS)
    return kept | _holes(kept)


def quality(
    mask: Bool[np.ndarray, "height width"],
    confidence: Float32[np.ndarray, "height width"] | None = None,
) -> MaskQuality:
    """Judges a mask by its shape and the network's confidence.

    Args:
        mask: True inside the lungs.
        confidence: Probability of lung for each pixel, in [0, 1], where it is known.
    """
    area_share = float(mask.mean())
    parts = int(ndimage.label(mask, structure=np.ones((3, 3)))[1])
    edges = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    return MaskQuality(
        area_share=area_share,
        parts=parts,
        touches_border=any(bool(edge.any()) for edge in edges),
        mean_confidence=(
            None if confidence is None or area_share == 0 else float(confidence[mask].mean())
        ),
        flag=_flag(mask, area_share, parts),
    )


def _flag(mask: Bool[np.ndarray, "height width"], area_share: float, parts: int) -> str:
    if area_share == 0:
        return "empty"
    if area_share < SMALL_SHARE:
        return "small"
    if area_share > LARGE_SHARE:
        return "large"
    if _smaller_side(mask) < ONE_LUNG_SHARE:
        return "one lung"
    if parts > LUNGS:
        return "many parts"
    return ""


def _smaller_side(mask: Bool[np.ndarray, "height width"]) -> float:
    """Gives the share of the mask's area on the poorer side of the picture's middle column."""
    columns = mask.sum(axis=0)
    left = int(columns[: mask.shape[1] // 2].sum())
    right = int(columns[(mask.shape[1] + 1) // 2 :].sum())
    return min(left, right) / max(1, left + right)


def _largest_parts(
    mask: Bool[np.ndarray, "height width"], parts: int
) -> Bool[np.ndarray, "height width"]:
    labels, found = ndimage.label(mask, structure=np.ones((3, 3)))
    if found <= parts:
        return mask
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    largest = np.argsort(-areas, kind="stable")[:parts]
    keep = np.zeros(len(areas), dtype=bool)
    keep[largest] = True
    return keep[labels]


def _holes(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Finds background that does not reach the picture's edge (4 neighbours)."""
    labels, found = ndimage.label(~mask)
    hole = np.ones(found + 1, dtype=bool)
    hole[0] = False
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        hole[edge] = False
    return hole[labels]


def load_mask_rows(path: Path) -> dict[str, MaskRow]:
    """Reads a `masks.csv`, by image; an absent file holds no rows.

    Raises:
        MaskError: If the file lacks a column or holds something else than such rows.
    """
    if not path.is_file():
        return {}
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        return {str(row["image_id"]): _row_of(row) for row in table.to_dict("records")}
    except (ValueError, KeyError) as fault:
        raise MaskError(
            f"{path} is no table of masks with the columns {', '.join(COLUMNS)} ({fault!r}). "
            "Delete it, and the masks are made again."
        ) from fault


def save_mask_rows(rows: Iterable[MaskRow], path: Path) -> None:
    """Writes a `masks.csv`, sorted by image, whole or not at all."""
    records = [
        {
            "image_id": row.image_id,
            "origin": row.origin,
            **asdict(row.quality),
            "made_from": row.made_from,
        }
        for row in sorted(rows, key=lambda row: row.image_id)
    ]
    with whole_file(path) as beside:
        pd.DataFrame(records, columns=list(COLUMNS)).to_csv(
            beside, index=False, float_format="%.6g"
        )


def _row_of(row: dict[str, str]) -> MaskRow:
    match row["origin"]:
        case "predicted" | "reference" as origin:
            pass
        case other:
            raise ValueError(f"origin {other!r}")
    return MaskRow(
        image_id=row["image_id"],
        origin=origin,
        quality=MaskQuality(
            area_share=float(row["area_share"]),
            parts=int(row["parts"]),
            touches_border={"True": True, "False": False}[row["touches_border"]],
            mean_confidence=float(row["mean_confidence"]) if row["mean_confidence"] else None,
            flag=row["flag"],
        ),
        made_from=row["made_from"],
    )
