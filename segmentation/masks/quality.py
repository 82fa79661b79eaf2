"""How good a lung mask looks, judged without knowing the truth."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from segmentation.masks.cleaning import LUNGS, count_parts

SMALL_SHARE, LARGE_SHARE = 0.08, 0.65
"""Area shares beyond which a mask is flagged; 369 masks drawn by V7's annotators: 0.09 to 0.61."""
ONE_LUNG_SHARE = 0.2
"""A half of the picture with less of the lungs' area is held to lack its lung; V7: 0.36 or more."""
BORDER_SHARE = 0.15
"""Share of the picture's edge inside a mask from which it is flagged. To touch the edge is no
fault: 22 of V7's 369 masks do, in tightly cropped radiographs, with 0.125 of the edge at most."""
SCATTERED_SHARE = 0.1
"""Share of what the network found from which its removal by the clean-up is flagged; 260 real
radiographs, FC-DenseNet103 trained on 101 V7 pairs at 128 px: 0.074 at most, half of them 0; 24 of
them turned by 180 degrees: 6 above."""
LOW_CONFIDENCE = 0.88
"""Mean probability below which a mask is flagged; the same 260: 0.900 or more, and the Jaccard
index with V7's masks falls with it (rank correlation 0.78); 24 of them inverted: 11 below."""

NO_LUNGS_SHARE, NO_LUNGS_BORDER_SHARE = 0.7, 0.5
"""Area share, and share of the picture's edge, above which a mask drawn by people shows no lungs:
those of V7 end at 0.61 and 0.125; one whose lungs are black covers nearly all of the edge."""

FLAGS = (
    "empty", "small", "large", "one lung", "scattered", "uncertain", "border", "many parts",
)  # fmt: skip
"""Why a person should look at a mask, the worst first; a mask carries the first that holds."""


@dataclass(frozen=True)
class MaskQuality:
    """How good a mask looks, judged without knowing the truth.

    Attributes:
        area_share: Share of the picture inside the mask, in [0, 1].
        parts: Number of connected parts (8 neighbours).
        balance: Share of the mask's area in the half of the picture (left, right) that has less
            of it, in [0, 0.5]; None where an older table does not say.
        touches_border: Whether the mask reaches the picture's edge.
        border_share: Share of the picture's outermost pixels inside the mask, in [0, 1]; None
            where an older table does not say.
        removed_share: Share of what the network found that the clean-up has removed, in [0, 1];
            None where nothing is known of that.
        mean_confidence: Mean probability of lung inside the mask, in [0, 1]; None where the mask
            is empty or no probability is known.
        flag: "", or why a person should look: one of `FLAGS`.
    """

    area_share: float
    parts: int
    balance: float | None
    touches_border: bool
    border_share: float | None
    removed_share: float | None
    mean_confidence: float | None
    flag: str


def why_no_lungs(judged: MaskQuality) -> str:
    """Returns why a mask drawn by people cannot be one of lungs, as a clause, or ""."""
    if judged.area_share == 0:
        return "is empty"
    if judged.area_share > NO_LUNGS_SHARE or (judged.border_share or 0) > NO_LUNGS_BORDER_SHARE:
        return (
            f"covers {judged.area_share:.0%} of the picture and {judged.border_share or 0:.0%} of "
            "its edge: is it inverted? Lungs must be bright, all else black"
        )
    return ""


def quality(
    mask: Bool[np.ndarray, "height width"],
    mean_confidence: float | None = None,
    removed_share: float | None = None,
    parts: int | None = None,
    low_confidence: float = LOW_CONFIDENCE,
) -> MaskQuality:
    """Judges a mask by its shape and the network's confidence.

    Args:
        mask: True inside the lungs.
        mean_confidence: Mean probability of lung inside the mask, in [0, 1], where it is known.
        removed_share: Share of what the network found that the clean-up has removed, in [0, 1],
            where it is known.
        parts: Number of connected parts, where it is known; otherwise they are counted.
        low_confidence: Mean probability below which the mask is flagged, in [0, 1].
    """
    area_share = int(np.count_nonzero(mask)) / mask.size
    balance, border_share = _balance(mask), _border_share(mask)
    parts = count_parts(mask) if parts is None else parts
    holds = {
        "empty": area_share == 0,
        "small": area_share < SMALL_SHARE,
        "large": area_share > LARGE_SHARE,
        "one lung": balance < ONE_LUNG_SHARE,
        "scattered": removed_share is not None and removed_share > SCATTERED_SHARE,
        "uncertain": mean_confidence is not None and mean_confidence < low_confidence,
        "border": border_share > BORDER_SHARE,
        "many parts": parts > LUNGS,
    }
    return MaskQuality(
        area_share=area_share,
        parts=parts,
        balance=balance,
        touches_border=border_share > 0,
        border_share=border_share,
        removed_share=removed_share,
        mean_confidence=mean_confidence if area_share else None,
        flag=next((flag for flag in FLAGS if holds[flag]), ""),
    )


def _balance(mask: Bool[np.ndarray, "height width"]) -> float:
    """Returns the share of the area on the poorer side of the picture's middle column."""
    half = mask.shape[1] // 2
    left = int(np.count_nonzero(mask[:, :half]))
    right = int(np.count_nonzero(mask[:, mask.shape[1] - half :]))
    return min(left, right) / max(1, left + right)


def _border_share(mask: Bool[np.ndarray, "height width"]) -> float:
    edges = (mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1])
    return sum(int(edge.sum()) for edge in edges) / max(1, sum(edge.size for edge in edges))
