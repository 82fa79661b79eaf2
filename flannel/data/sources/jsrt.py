"""JSRT radiographs (Shiraishi et al. 2000) with the SCR lung masks (van Ginneken et al. 2006).

Neither may be redistributed: obtain them from their makers.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from flannel.data.diagnosis import FLANNEL
from flannel.data.files import whole_file
from flannel.data.greyscale import resize
from flannel.data.phantom import draw_phantom
from flannel.data.progress import announce
from flannel.data.radiograph import JSRT_SIDE_PX
from flannel.data.sources.mask_pairs import MaskPair, grouped_by_stem

NAME = "jsrt_scr"
STRUCTURES = ("heart", "left lung", "right lung", "left clavicle", "right clavicle")
LUNGS = ("left lung", "right lung")
MASK_SIDE_PX = 1024
PHANTOM_SIDE_PX = 512


def is_here(folder: Path) -> bool:
    """Says whether JSRT radiographs and SCR masks lie anywhere in the folder."""
    images, masks = _files(folder)
    return bool(images) and all(masks.values())


def pairs(folder: Path) -> list[MaskPair]:
    """Lists the radiographs that have both lung masks, sorted by stem.

    Radiographs are `JPC*.IMG`, or PNG copies, anywhere in the folder; masks lie in folders named
    `left lung` and `right lung` (or with an underscore, whatever the case), as in SCR's `fold1`
    and `fold2`. Radiographs without both masks, or found twice, are left out and named on stderr.

    Args:
        folder: Holds both data sets.
    """
    images, masks = _files(folder)
    found, faults = [], []
    for stem, files in sorted(images.items()):
        belonging = [masks[lung].get(stem, []) for lung in LUNGS]
        if len(files) > 1:
            faults.append(f"{files[0]} and {files[1]} are the same radiograph; remove one.")
        elif any(len(some) != 1 for some in belonging):
            faults.append(f"{files[0]} does not have exactly one mask of each lung.")
        else:
            chosen = {name: (some[0],) for name, some in zip(LUNGS, belonging, strict=True)}
            found.append(MaskPair(files[0], chosen, stem, convention="scr", origin=NAME))
    if faults:
        announce("\n  ".join([f"{len(faults)} images of {folder} left out:", *faults]))
    return found


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
        grey = resize(phantom.image, JSRT_SIDE_PX, JSRT_SIDE_PX).astype(np.uint16)
        with whole_file(folder / f"{name}.IMG") as beside:
            ((255 - grey) * 16).astype(">u2").tofile(beside)
        left = np.arange(PHANTOM_SIDE_PX) >= PHANTOM_SIDE_PX // 2
        outlines = (
            phantom.heart, phantom.left_lung, phantom.right_lung,
            phantom.clavicles & left, phantom.clavicles & ~left,
        )  # fmt: skip
        for structure, mask in zip(STRUCTURES, outlines, strict=True):
            picture = Image.fromarray(mask.astype(np.uint8) * 255)
            large = picture.resize((MASK_SIDE_PX, MASK_SIDE_PX), Image.Resampling.NEAREST)
            fold = folder / "scr" / f"fold{1 if number % 2 else 2}" / "masks" / structure
            with whole_file(fold / f"{name}.gif") as beside:
                large.save(beside)


def _files(folder: Path) -> tuple[dict[str, list[Path]], dict[str, dict[str, list[Path]]]]:
    """Finds the radiographs by stem, and the masks by lung and stem."""
    everything = sorted(path for path in folder.rglob("*") if path.is_file())
    images = grouped_by_stem(p for p in everything if p.stem.upper().startswith("JPC"))
    places = {path: path.parent.name.lower().replace("_", " ") for path in everything}
    masks = {
        lung: grouped_by_stem(path for path in everything if places[path] == lung) for lung in LUNGS
    }
    outside = {
        stem: kept
        for stem, files in images.items()
        if (kept := [path for path in files if places[path] not in STRUCTURES])
    }
    return outside, masks
