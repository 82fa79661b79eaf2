"""Folders of image + lung-mask pairs: `images/` with `masks/`, or `masks/left_lung` + right."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image

from flannel.data.diagnosis import FLANNEL
from flannel.data.files import whole_file
from flannel.data.phantom import draw_phantom, varied_size
from flannel.data.progress import announce
from flannel.data.radiograph import RadiographError, read_mask, write_mask

SIDES = ("left_lung", "right_lung")
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".img", ".dcm")


@dataclass(frozen=True)
class MaskPair:
    """A radiograph and the files that together mask its lungs.

    Attributes:
        image: The radiograph.
        masks: The mask files, to be united.
        stem: The name that image and masks share.
        convention: What the outlines follow (`scr`: without heart and mediastinum), or "".
    """

    image: Path
    masks: tuple[Path, ...]
    stem: str
    convention: str = ""


def is_here(folder: Path) -> bool:
    """Says whether the folder is laid out as image + mask pairs."""
    return (folder / "images").is_dir() and (folder / "masks").is_dir()


def pairs(folder: Path) -> list[MaskPair]:
    """Lists the pairs, sorted by stem; `images/a.jpeg` goes with `masks/a.png`.

    With `masks/left_lung` and `masks/right_lung` both sides are needed and united. Images that
    lack a mask, and stems that occur twice in one folder, are left out and named on stderr.

    Args:
        folder: Holds `images/` and `masks/`.
    """
    places = [folder / "masks" / side for side in SIDES]
    if not all(place.is_dir() for place in places):
        places = [folder / "masks"]
    images = _by_stem(folder / "images")
    masks = [_by_stem(place) for place in places]
    found, faults = [], []
    for stem, files in sorted(images.items()):
        belonging = [side.get(stem, []) for side in masks]
        twice = [some for some in (files, *belonging) if len(some) > 1]
        lacking = [place for place, some in zip(places, belonging, strict=True) if not some]
        if twice:
            names = ", ".join(path.name for path in twice[0])
            faults.append(f"{twice[0][0].parent}: {names} share one stem; rename or remove one.")
        elif lacking:
            faults.append(f"{files[0]} has no mask in {lacking[0]}.")
        else:
            found.append(MaskPair(files[0], tuple(some[0] for some in belonging), stem))
    if faults:
        announce("\n  ".join([f"{len(faults)} images of {folder} left out:", *faults]))
    return found


def read_pair_mask(pair: MaskPair) -> Bool[np.ndarray, "height width"]:
    """Reads the lung mask of a pair: the union of its files.

    Raises:
        RadiographError: If a file cannot be read as a mask, or the files differ in size.
    """
    first, *others = pair.masks
    mask = read_mask(first)
    for path in others:
        other = read_mask(path)
        if other.shape != mask.shape:
            raise RadiographError(
                f"{path} is {other.shape[1]} x {other.shape[0]} pixels; expected "
                f"{mask.shape[1]} x {mask.shape[0]} as {first}, to unite the two."
            )
        mask = mask | other
    return mask


def write_phantoms(folder: Path, count: int, seed: int, size: int = 512) -> None:
    """Writes made-up pairs, the diagnoses in turn, with a mask for each lung.

    Args:
        folder: Gets `images/`, `masks/left_lung/` and `masks/right_lung/`.
        count: Pairs to draw.
        seed: Seed of all randomness.
        size: Nominal side of the images in pixels.
    """
    for number in range(count):
        generator = np.random.default_rng([seed, 3, number])
        diagnosis = FLANNEL[number % len(FLANNEL)]
        phantom = draw_phantom(diagnosis, generator, varied_size(generator, size))
        name = f"phantom-{number:05d}.png"
        with whole_file(folder / "images" / name) as beside:
            Image.fromarray(phantom.image).save(beside)
        write_mask(phantom.left_lung, folder / "masks" / "left_lung" / name)
        write_mask(phantom.right_lung, folder / "masks" / "right_lung" / name)


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    return grouped_by_stem(path for path in sorted(folder.iterdir()) if path.is_file())


def grouped_by_stem(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Groups image files by stem; hidden files and other suffixes are passed over."""
    grouped: dict[str, list[Path]] = {}
    for path in paths:
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            grouped.setdefault(path.stem, []).append(path)
    return grouped
