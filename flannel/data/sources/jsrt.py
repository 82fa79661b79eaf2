"""JSRT radiographs (Shiraishi et al. 2000) with the SCR masks (van Ginneken et al. 2006).

Neither may be redistributed: obtain them from their makers. One image of each of 247 patients;
left is the patient's left. The masks have half the side of the radiographs.
"""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from flannel.data.diagnosis import FLANNEL
from flannel.data.greyscale import resize
from flannel.data.phantom import draw_phantom
from flannel.data.radiograph import JSRT_SIDE_PX
from flannel.data.sources.mask_pairs import (
    OTHERS,
    SIDES,
    MaskPair,
    grouped_by_stem,
    paired,
    tell_left_out,
)
from flannel.data.walk import walk
from flannel.files import whole_file

NAME = "jsrt_scr"
CONVENTION = "scr"
STRUCTURES = (*SIDES, *OTHERS)
MASK_SIDE_PX = 1024
PHANTOM_SIDE_PX = 512


def is_here(folder: Path) -> bool:
    """Returns whether JSRT radiographs and SCR masks of the lungs lie anywhere in the folder."""
    images, masks = _files(folder)
    return bool(images) and all(masks[side] for side in SIDES)


def pairs(folder: Path) -> list[MaskPair]:
    """Lists the radiographs that have both lung masks, sorted by stem.

    Radiographs are `JPC*.IMG`, or PNG copies, anywhere in the folder; masks lie in folders named
    `left lung`, `right lung`, `heart`, `left clavicle` and `right clavicle` (or with an
    underscore, whatever the case), as in SCR's `fold1` and `fold2`. Radiographs without both
    lungs, and files found twice, are left out and named on stderr.

    Args:
        folder: Holds both data sets.
    """
    usable, faults = paired(*_files(folder), NAME, CONVENTION)
    tell_left_out(folder, faults)
    return usable


def write_phantoms(folder: Path, count: int, seed: int) -> None:
    """Writes made-up radiographs in the two layouts: `.IMG` files, and GIF masks in two folds.

    Args:
        folder: Gets `JPCNN001.IMG` and so on, and `scr/fold1/masks/left lung/` and so on.
        count: Radiographs to draw.
        seed: Seed of all randomness.
    """
    for number in range(1, count + 1):
        generator = np.random.default_rng([seed, 4, number])
        side = (PHANTOM_SIDE_PX, PHANTOM_SIDE_PX)
        phantom = draw_phantom(FLANNEL[number % len(FLANNEL)], generator, side)
        name = f"JPCNN{number:03d}"
        write_img(folder / f"{name}.IMG", phantom.image)
        left = np.arange(PHANTOM_SIDE_PX) >= PHANTOM_SIDE_PX // 2
        outlines = (
            phantom.left_lung, phantom.right_lung, phantom.heart,
            phantom.clavicles & left, phantom.clavicles & ~left,
        )  # fmt: skip
        for structure, mask in zip(STRUCTURES, outlines, strict=True):
            picture = Image.fromarray(mask.astype(np.uint8) * 255)
            large = picture.resize((MASK_SIDE_PX, MASK_SIDE_PX), Image.Resampling.NEAREST)
            fold = folder / "scr" / f"fold{1 if number % 2 else 2}" / "masks" / structure
            with whole_file(fold / f"{name}.gif") as beside:
                large.save(beside)


def write_img(path: Path, image: UInt8[np.ndarray, "height width"]) -> None:
    """Writes grey values, lungs dark, as a headerless JSRT file, whole or not at all."""
    grey = resize(image, JSRT_SIDE_PX, JSRT_SIDE_PX).astype(np.uint16)
    with whole_file(path) as beside:
        ((255 - grey) * 16).astype(">u2").tofile(beside)


def _files(folder: Path) -> tuple[dict[str, list[Path]], dict[str, dict[str, list[Path]]]]:
    """Finds the radiographs by stem, and the masks by structure and stem."""
    everything = sorted(walk(folder, ours=True).images)
    places = {path: path.parent.name.lower().replace("_", " ") for path in everything}
    images = grouped_by_stem(
        path
        for path in everything
        if path.stem.upper().startswith("JPC") and places[path] not in STRUCTURES
    )
    masks = {
        structure: grouped_by_stem(path for path in everything if places[path] == structure)
        for structure in STRUCTURES
    }
    return images, masks
