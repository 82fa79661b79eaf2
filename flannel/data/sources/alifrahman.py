"""The COVID-19 Chest X-ray Image Dataset of alifrahman (Kaggle), cited by paper 003.

It is small (its public copies have about 70 images of COVID-19 and 25 normal ones, not the 1,695
and 1,827 of paper 003) and names no patients.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from flannel.data.findings import FRONTAL, SourceRow
from flannel.data.phantom import varied_size, write_phantom
from flannel.data.sources.class_folders import class_folders, images_in

NAME = "alifrahman"
TOP = "dataset"
CLASSES = ("covid", "normal")
PHANTOM_CLASSES = {"COVID-19": "covid", "Normal": "normal"}


def is_here(folder: Path) -> bool:
    """Returns whether the folder is, or holds, `dataset` with `covid` and `normal`."""
    return bool(_class_folders(folder))


def rows(folder: Path) -> list[SourceRow]:
    """Lists the images by class and name; each stands for its own patient.

    Args:
        folder: Holds `dataset/`, or is `dataset` itself.
    """
    return [
        SourceRow(NAME, path, path.stem, f"{NAME}-{path.stem}", place.name, view=FRONTAL)
        for place in _class_folders(folder)
        for path in images_in(place)
    ]


def _class_folders(folder: Path) -> list[Path]:
    """Finds the class folders; without the name `dataset` above them they are anybody's."""
    above = folder.parent if folder.name == TOP else folder
    return [place for place in class_folders(above, [TOP], [CLASSES]) if place.parent.name == TOP]


def write_phantoms(folder: Path, counts: Mapping[str, int], seed: int, size: int = 512) -> None:
    """Writes a made-up data set in this layout.

    Args:
        folder: Gets `dataset/covid/` and `dataset/normal/`.
        counts: Images to draw of COVID-19 and of normal lungs.
        seed: Seed of all randomness.
        size: Nominal side of the images in pixels.

    Raises:
        KeyError: If another diagnosis is asked for, which the set does not have.
    """
    for kind in CLASSES:
        (folder / TOP / kind).mkdir(parents=True, exist_ok=True)
    for place, (diagnosis, count) in enumerate(counts.items()):
        kind = PHANTOM_CLASSES[diagnosis]
        for number in range(1, count + 1):
            generator = np.random.default_rng([seed, 9, place, number])
            path = folder / TOP / kind / f"{kind}-{number}.jpeg"
            write_phantom(path, diagnosis, generator, varied_size(generator, size))
