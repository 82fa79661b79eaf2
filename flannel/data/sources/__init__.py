"""The public data sets: a folder as it is downloaded -> manifest rows, and their phantom twins."""

from pathlib import Path

from flannel.data.diagnosis import FLANNEL
from flannel.data.findings import SourceError
from flannel.data.sources import ccx, jsrt, kcx, mask_pairs
from flannel.data.sources.mask_pairs import CONVENTIONS, MaskPair, read_pair_mask, read_structure

__all__ = [
    "CONVENTIONS",
    "MaskPair",
    "find_pairs",
    "read_pair_mask",
    "read_structure",
    "write_phantom_sources",
]

CCX_SHARE = 8
"""One in so many phantoms without COVID-19 lies in CCX, as a few real ones do."""


def find_pairs(folder: Path) -> list[MaskPair]:
    """Lists the image + lung-mask pairs of a folder, whichever layout it has.

    Raises:
        SourceError: If the folder is missing, fits no layout or holds no complete pair.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder; expected one with images and lung masks.")
    if mask_pairs.is_here(folder):
        found = mask_pairs.pairs(folder)
    elif jsrt.is_here(folder):
        found = jsrt.pairs(folder)
    else:
        raise SourceError(
            f"{folder} fits no known layout of lung masks; expected images/ with masks/ or "
            "masks/left_lung/ and masks/right_lung/, or JSRT .IMG files with SCR folders "
            "'left lung' and 'right lung'."
        )
    if not found:
        raise SourceError(f"{folder} holds no image that has a lung mask.")
    return found


def write_phantom_sources(
    folder: Path, images: int, masks: int, seed: int, size: int = 512
) -> None:
    """Writes made-up data sets in the real layouts, for tests and the demo.

    COVID-19 lies in CCX alone, and the other diagnoses mostly in KCX, as in the real cohort; but
    sizes, exposure and file quality are drawn alike for both.

    Args:
        folder: Gets `covid-chestxray-dataset/`, `chest_xray/` and `lung_masks/`.
        images: Radiographs in both sources together, balanced over the four diagnoses.
        masks: Image + mask pairs beside them.
        seed: Seed of all randomness.
        size: Nominal side of the images in pixels.
    """
    number = {d: images // 4 + (place < images % 4) for place, d in enumerate(FLANNEL)}
    in_ccx = {d: n if d == "COVID-19" else n // CCX_SHARE for d, n in number.items()}
    in_kcx = {d: n - in_ccx[d] for d, n in number.items() if d != "COVID-19"}
    ccx.write_phantoms(folder / "covid-chestxray-dataset", in_ccx, seed, size)
    kcx.write_phantoms(folder / "chest_xray", in_kcx, seed, size)
    mask_pairs.write_phantoms(folder / "lung_masks", masks, seed, size)
