"""COVID-QU-Ex (Tahir et al. 2021): 33,920 radiographs of 256 x 256 pixels with lung masks.

Its names tell no patients, and it is compiled from other public sets: radiographs of CCX and KCX
may be among its own.
"""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from flannel.data.findings import FRONTAL, SourceRow
from flannel.data.mask import write_mask
from flannel.data.phantom import write_phantom
from flannel.data.sources.class_folders import images_in
from flannel.data.sources.mask_pairs import (
    LUNGS,
    MaskPair,
    files_by_stem,
    paired,
    tell_left_out,
    told_apart,
)

NAME = "covid_qu_ex"
CONVENTION = "covid_qu_ex"
TOP = "Lung Segmentation Data"
IMAGES, MASKS = "images", "lung masks"
SPLITS = {"Train": "train", "Val": "val", "Test": "test"}
CLASSES = ("COVID-19", "Non-COVID", "Normal")
PHANTOM_SIDE_PX = 256
PHANTOM_NAMES = {
    "COVID-19": ("COVID-19", "covid_{}.png"),
    "Non-COVID": ("Bacterial pneumonia", "non_COVID ({}).png"),
    "Normal": ("Normal", "Normal ({}).png"),
}
"""Class to the diagnosis that is drawn and the name that the set gives."""


def is_here(folder: Path) -> bool:
    """Returns whether the folder, or `Lung Segmentation Data` in it, has this set's layout."""
    return bool(_class_folders(folder))


def rows(folder: Path) -> list[SourceRow]:
    """Lists the radiographs by split, class and name, whether they have a lung mask or not.

    The finding is the class; the validation part is in the development set, as fold 0. An image
    stands for its own patient. Of the same name in two splits nobody says whether it is the same
    image, so these are one group.

    Args:
        folder: As for `pairs`.
    """
    return [
        SourceRow(
            source=NAME,
            path=path,
            patient_id=path.stem,
            group=f"{NAME}-{path.stem}",
            finding=place.name,
            view=FRONTAL,
            split="test" if split == "Test" else "development",
            fold=0 if split == "Val" else None,
        )
        for split, place in _class_folders(folder)
        for path in images_in(place / IMAGES)
    ]


def pairs(folder: Path) -> list[MaskPair]:
    """Lists the radiographs that have a lung mask by split, class and stem, split as given.

    Radiographs that lack a mask are left out and named on stderr.

    Args:
        folder: Holds `Train/`, `Val/` and `Test/`, or `Lung Segmentation Data/` with these, or
            once more in a folder of that name as it is downloaded. `Infection Segmentation
            Data/Infection Segmentation Data/`, a part of the radiographs, is laid out alike and
            can be given instead.
    """
    usable: list[MaskPair] = []
    faults: list[str] = []
    for split, place in _class_folders(folder):
        masks = {LUNGS: files_by_stem(place / MASKS)}
        good, bad = paired(files_by_stem(place / IMAGES), masks, NAME, CONVENTION)
        usable += [replace(pair, split=SPLITS[split]) for pair in good]
        faults += bad
    apart, alike = told_apart(usable, [pair.split for pair in usable])
    tell_left_out(folder, faults + alike)
    return apart


def _class_folders(folder: Path) -> list[tuple[str, Path]]:
    """Finds the folders that hold images and lung masks, each with its split."""
    for top in (folder / TOP / TOP, folder / TOP, folder):
        places = [(split, top / split / kind) for split, kind in product(SPLITS, CLASSES)]
        here = [
            (split, place)
            for split, place in places
            if (place / IMAGES).is_dir() and (place / MASKS).is_dir()
        ]
        if here:
            return here
    return []


def write_phantoms(folder: Path, count: int, seed: int, size: int = PHANTOM_SIDE_PX) -> None:
    """Writes made-up pairs in this layout, the classes in turn.

    Of the rounds through the classes, one in five goes to validation, the next to the test set.

    Args:
        folder: Gets `Lung Segmentation Data/Lung Segmentation Data/`.
        count: Pairs to draw; 13 and more fill every split.
        seed: Seed of all randomness.
        size: Side of the images in pixels.
    """
    top = folder / TOP / TOP
    side = (size, size)
    for number in range(count):
        round_, kind = number // len(CLASSES), CLASSES[number % len(CLASSES)]
        split = ("Train", "Train", "Train", "Val", "Test")[round_ % 5]
        diagnosis, name = PHANTOM_NAMES[kind]
        place = top / split / kind
        generator = np.random.default_rng([seed, 6, number])
        phantom = write_phantom(
            place / IMAGES / name.format(round_ + 1), diagnosis, generator, side
        )
        lungs = phantom.left_lung | phantom.right_lung
        write_mask(lungs, place / MASKS / name.format(round_ + 1))
