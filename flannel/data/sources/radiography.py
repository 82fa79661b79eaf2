"""The COVID-19 Radiography Database (Chowdhury et al. 2020, Rahman et al. 2021), old and new.

Its names identify no patients. The 1,341 normal images of the first release and all 1,345 images of
viral pneumonia are the children of KCX, and some images of COVID-19 come from CCX: it is not
independent of either. Only exact duplicates can be found, so do not train on one and test on the
other.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from flannel.data.findings import FRONTAL, SourceRow
from flannel.data.mask import write_mask
from flannel.data.phantom import write_phantom
from flannel.data.sources.class_folders import class_folders, images_in
from flannel.errors import OptionError

NAME = "radiography"
TOPS = ("COVID-19_Radiography_Dataset", "COVID-19 Radiography Database")
LAYOUTS = (
    ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia"),
    ("COVID", "Normal", "Viral Pneumonia"),
    ("COVID", "NORMAL", "Viral Pneumonia"),
    ("COVID-19", "NORMAL", "Viral Pneumonia"),
)
IMAGES, MASKS = "images", "masks"
IMAGE_SIDE_PX, MASK_SIDE_PX = 299, 256
PHANTOM_CLASSES = {
    "COVID-19": ("COVID", "COVID-19"),
    "Viral pneumonia": ("Viral Pneumonia", "Viral Pneumonia"),
    "Bacterial pneumonia": ("Lung_Opacity", ""),
    "Normal": ("Normal", "NORMAL"),
}
"""Diagnosis that is drawn to the class folder of the current layout and of the first release."""


def is_here(folder: Path) -> bool:
    """Returns whether the folder, or the set's top folder in it, is laid out as this data set."""
    return bool(class_folders(folder, TOPS, LAYOUTS))


def rows(folder: Path) -> list[SourceRow]:
    """Lists the images by class and name; the finding is the class folder's name.

    In the current layout they lie in `<class>/images`, with lung masks of the same names in
    `<class>/masks`; in the earlier ones in `<class>` itself. An image stands for its own patient,
    since nothing says whose it is.

    Args:
        folder: Holds the class folders, or the set's top folder.
    """
    return [
        SourceRow(NAME, path, path.stem, f"{NAME}-{path.stem}", place.name, view=FRONTAL)
        for place in class_folders(folder, TOPS, LAYOUTS)
        for path in images_in(place / IMAGES if (place / IMAGES).is_dir() else place)
    ]


def write_phantoms(
    folder: Path, counts: Mapping[str, int], seed: int, first_release: bool = False
) -> None:
    """Writes a made-up data set in this layout; bacterial pneumonia goes to `Lung_Opacity`.

    Args:
        folder: Gets the top folder with the class folders.
        counts: Images to draw, by diagnosis.
        seed: Seed of all randomness.
        first_release: Write flat class folders and no masks, as in the first release.

    Raises:
        OptionError: If bacterial pneumonia is asked of the first release, which has none.
    """
    number = 0
    for diagnosis, count in counts.items():
        kind = PHANTOM_CLASSES[diagnosis][first_release]
        if count and not kind:
            raise OptionError(
                f"The first release has no {diagnosis!r}; leave it out of the counts."
            )
        for position in range(1, count + 1):
            generator = np.random.default_rng([seed, 8, number])
            number += 1
            side = (IMAGE_SIDE_PX, IMAGE_SIDE_PX)
            if first_release:
                place = folder / TOPS[1] / kind
                write_phantom(place / f"{kind} ({position}).png", diagnosis, generator, side)
            else:
                place = folder / TOPS[0] / kind
                _write_pair(place, f"{kind}-{position}.png", diagnosis, generator)


def _write_pair(place: Path, name: str, diagnosis: str, generator: np.random.Generator) -> None:
    side = (IMAGE_SIDE_PX, IMAGE_SIDE_PX)
    phantom = write_phantom(place / IMAGES / name, diagnosis, generator, side)
    lungs = Image.fromarray(phantom.left_lung | phantom.right_lung)
    small = lungs.resize((MASK_SIDE_PX, MASK_SIDE_PX), Image.Resampling.NEAREST)
    write_mask(np.asarray(small), place / MASKS / name)
