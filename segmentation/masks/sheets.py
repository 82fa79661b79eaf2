"""Pictures of masks for people: an overlay of each, and a contact sheet of the flagged ones."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from flannel.data.file_checks import RadiographError
from flannel.data.greyscale import resize, to_eight_bits
from flannel.data.mask import read_mask
from flannel.data.pictures import contact_sheet, overlay_mask
from flannel.data.radiograph import read_levels
from flannel.files import whole_file
from flannel.progress import progress

SHEET_LIMIT = 60
SHEET_COLUMNS = 6
SHEET_SIDE_PX, OVERLAY_SIDE_PX = 240, 512
JPEG_QUALITY = 85


def overlay(
    radiograph: Path, mask: Path, longest_px: int = OVERLAY_SIDE_PX
) -> UInt8[np.ndarray, "height width 3"]:
    """Shows a mask on its radiograph, small enough to leaf through.

    Args:
        radiograph: The radiograph's file.
        mask: The mask's file.
        longest_px: Longer side of the picture; smaller radiographs keep their size.

    Raises:
        RadiographError: If a file cannot be read, or they differ in size.
    """
    stored, inside = read_levels(radiograph), read_mask(mask)
    if inside.shape != stored.levels.shape:
        raise RadiographError(
            f"{mask} is {inside.shape[1]} x {inside.shape[0]} pixels; expected "
            f"{stored.levels.shape[1]} x {stored.levels.shape[0]} as {radiograph}."
        )
    scale = min(1.0, longest_px / max(inside.shape))
    height, width = (max(1, round(side * scale)) for side in inside.shape)
    grey = to_eight_bits(stored.levels, stored.bits, stored.polarity)
    small = resize(inside.astype(np.uint8) * 255, height, width) > 127
    return overlay_mask(resize(grey, height, width), small)


def write_overlays(files: Mapping[Path, tuple[Path, Path]]) -> tuple[int, list[str]]:
    """Draws overlays as JPEG where there is none that is newer than its mask.

    Args:
        files: Radiograph and mask of each overlay to be written.

    Returns:
        How many there are now, and a sentence for each that cannot be drawn.
    """

    def draw(place: Path) -> str:
        radiograph, mask = files[place]
        try:
            if place.is_file() and place.stat().st_mtime >= mask.stat().st_mtime:
                return ""
            picture = overlay(radiograph, mask)
        except (RadiographError, OSError) as fault:
            return str(fault)
        with whole_file(place) as beside:
            Image.fromarray(picture).save(beside, format="JPEG", quality=JPEG_QUALITY)
        return ""

    with ThreadPoolExecutor() as threads:
        drawn = progress(threads.map(draw, files), len(files), "Drawing overlays")
        faults = [fault for fault in drawn if fault]
    return len(files) - len(faults), faults


def write_sheet(path: Path, shown: Sequence[tuple[Path, Path, str]]) -> int:
    """Draws a contact sheet of masks on their radiographs; with nothing to show it is removed.

    Args:
        path: Of the PNG.
        shown: Radiograph, mask and caption of each, in order; the first 60 are drawn.

    Returns:
        How many are on the sheet: what cannot be read is left out.
    """

    def draw(files: tuple[Path, Path, str]) -> UInt8[np.ndarray, "height width 3"] | None:
        try:
            return overlay(*files[:2], SHEET_SIDE_PX)
        except (RadiographError, OSError):
            return None

    first = shown[:SHEET_LIMIT]
    with ThreadPoolExecutor() as threads:
        drawn = zip(threads.map(draw, first), (caption for *_, caption in first), strict=True)
        cells = [(picture, caption) for picture, caption in drawn if picture is not None]
    if not cells:
        path.unlink(missing_ok=True)
        return 0
    pictures, captions = zip(*cells, strict=True)
    columns = min(SHEET_COLUMNS, len(cells))
    with whole_file(path) as beside:
        Image.fromarray(contact_sheet(pictures, captions, columns)).save(beside, format="PNG")
    return len(cells)
