"""Folders of image + lung-mask pairs: `images/` with `masks/`, or `masks/left_lung` + right."""

from collections.abc import Iterable, Mapping
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

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".img", ".dcm")


LUNGS = "lungs"
SIDES = ("left lung", "right lung")
STRUCTURES = (LUNGS, *SIDES, "heart", "left clavicle", "right clavicle")
CONVENTIONS: Mapping[str, str] = {
    "scr": "The visible lung fields, without heart, mediastinum and what lies below the "
    "diaphragm's dome (van Ginneken et al. 2006).",
    "v7": "The whole lungs, with the part behind the heart, down to the lowest point of the "
    "diaphragm.",
    "montgomery": "The visible lung fields, drawn by hand under a radiologist's supervision.",
    "covid_qu_ex": "Outlines that networks proposed and radiologists accepted or corrected.",
}
"""What the outlines of a set follow, by name."""


@dataclass(frozen=True)
class MaskPair:
    """A radiograph and the files that mask its lungs, and other structures where the set has them.

    Attributes:
        image: The radiograph.
        masks: The files of each of `STRUCTURES` that the set has, to be united. There is `lungs`,
            or `left lung` and `right lung`.
        stem: The name that image and masks share, unique in a set of sets.
        convention: What the outlines follow, a name of `CONVENTIONS`, or "" where nobody says.
        origin: The set that the pair belongs to.
        patient: The patient where the set says it, or "".
        split: `train`, `val` or `test` where the set has a split of its own, or "".
    """

    image: Path
    masks: Mapping[str, tuple[Path, ...]]
    stem: str
    convention: str = ""
    origin: str = ""
    patient: str = ""
    split: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the pair, sorted."""
        return tuple(sorted({self.image, *(path for some in self.masks.values() for path in some)}))


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
    places = {side: folder / "masks" / side.replace(" ", "_") for side in SIDES}
    if not all(place.is_dir() for place in places.values()):
        places = {LUNGS: folder / "masks"}
    images = _by_stem(folder / "images")
    masks = [_by_stem(place) for place in places.values()]
    found, faults = [], []
    for stem, files in sorted(images.items()):
        belonging = [side.get(stem, []) for side in masks]
        twice = [some for some in (files, *belonging) if len(some) > 1]
        lacking = [
            place for place, some in zip(places.values(), belonging, strict=True) if not some
        ]
        if twice:
            names = ", ".join(path.name for path in twice[0])
            faults.append(f"{twice[0][0].parent}: {names} share one stem; rename or remove one.")
        elif lacking:
            faults.append(f"{files[0]} has no mask in {lacking[0]}.")
        else:
            chosen = {name: (some[0],) for name, some in zip(places, belonging, strict=True)}
            found.append(MaskPair(files[0], chosen, stem, origin=folder.name))
    if faults:
        announce("\n  ".join([f"{len(faults)} images of {folder} left out:", *faults]))
    return found


def read_pair_mask(pair: MaskPair) -> Bool[np.ndarray, "height width"]:
    """Reads the mask of both lungs of a pair.

    Raises:
        RadiographError: As `read_structure`.
    """
    return read_structure(pair, LUNGS)


def read_structure(pair: MaskPair, structure: str) -> Bool[np.ndarray, "height width"]:
    """Reads the mask of one structure of a pair: the union of its files.

    Args:
        pair: A radiograph with its masks.
        structure: One of `STRUCTURES`; `lungs` unites the sides where a set has them apart.

    Raises:
        RadiographError: If the set lacks the structure, a file cannot be read as a mask, or the
            files differ in size.
    """
    paths = pair.masks.get(structure, ())
    if structure == LUNGS and not paths:
        paths = tuple(path for side in SIDES for path in pair.masks.get(side, ()))
    if not paths:
        raise RadiographError(
            f"{pair.image} has no mask of the structure {structure!r}; its set has "
            f"{', '.join(pair.masks)}. Ask for one of these, or take another set."
        )
    first, *others = paths
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
