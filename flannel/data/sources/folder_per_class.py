"""Any radiographs sorted into one folder per class, with or without a split above."""

import re
from collections.abc import Mapping, Set
from pathlib import Path

import numpy as np

from flannel.data.findings import FRONTAL, KNOWN_FINDINGS, SourceRow, Split
from flannel.data.phantom import varied_size, write_phantom
from flannel.data.sources import (
    alifrahman,
    ccx,
    covid_qu_ex,
    csv_table,
    darkcovidnet,
    jsrt_radiographs,
    kcx,
    radiography,
)
from flannel.data.sources.class_folders import images_in
from flannel.data.walk import folders_in

NAME = "folder_per_class"
SPLITS: dict[str, Split] = {
    "": "",
    "train": "development",
    "training": "development",
    "val": "development",
    "valid": "development",
    "validation": "development",
    "test": "test",
    "testing": "test",
}
"""Split of the folders with these names, whatever their case; `_split_of` takes more of them."""
NO_CLASSES = frozenset({"images", "masks"})
NAMED_SETS = (
    ccx, kcx, jsrt_radiographs, covid_qu_ex, radiography, alifrahman, darkcovidnet, csv_table,
)  # fmt: skip
"""The sets that have a layout of their own."""


def is_here(folder: Path, classes: Set[str] | None = KNOWN_FINDINGS) -> bool:
    """Returns whether the folder has one folder per class, and no known set claims it.

    At least two folders must hold images, one of them named by a class. A folder named `train`,
    `Testing` or `val_set` is a part of a set, not a set.

    Args:
        folder: The folder.
        classes: Names of classes; None allows any but those of a set of lung masks.
    """
    names = {place.name for _, place in _class_folders(folder)}
    named = names - NO_CLASSES if classes is None else names & classes
    return (
        len(names) > 1
        and bool(named)
        and _split_of(folder.name) is None
        and not any(source.is_here(folder) for source in NAMED_SETS)
    )


def rows(folder: Path) -> list[SourceRow]:
    """Lists the images by split, class and name; the finding is the class folder's name.

    The set says neither patient nor view. An image stands for its own patient; of the same name
    in two folders nobody says whether it is the same image, so these are one group. Whoever sorts
    radiographs into classes vouches that they are frontal.

    Args:
        folder: Holds `<class>/`, or `train/<class>/`, `val/<class>/` and `test/<class>/`.
    """
    name = folder.resolve().name
    return [
        SourceRow(
            source=NAME,
            path=path,
            patient_id=path.stem,
            group=f"{NAME}-{name}-{path.stem}",
            finding=place.name,
            view=FRONTAL,
            split=SPLITS[split],
            fold=0 if split.startswith("val") else None,
        )
        for split, place in _class_folders(folder)
        for path in images_in(place)
    ]


def _class_folders(folder: Path) -> list[tuple[str, Path]]:
    """Finds the folders that hold images, each with the name of its split."""
    inside = folders_in(folder)
    tops = [(split, path) for path in inside if (split := _split_of(path.name)) is not None]
    places = [(split, path) for split, top in tops for path in folders_in(top)]
    places = places or [("", path) for path in inside]
    return [(split, path) for split, path in places if images_in(path)]


def _split_of(name: str) -> str | None:
    """Returns the name in `SPLITS` that a folder's name means, such as train of `Train_set`."""
    word = re.sub(r"[ _-]?(set|data|images)$", "", name.lower())
    return word if word in SPLITS and word else None


def write_phantoms(
    folder: Path, counts: Mapping[str, int], seed: int, size: int = 512, split: bool = False
) -> None:
    """Writes made-up radiographs sorted into folders named by their diagnosis.

    Args:
        folder: Gets `<diagnosis>/`, or these in `train/`, `val/` and `test/`.
        counts: Images to draw, by diagnosis.
        seed: Seed of all randomness.
        size: Nominal side of the images in pixels.
        split: Put every fourth image into `val`, the next one into `test`, the rest into `train`.
    """
    for kind, (diagnosis, count) in enumerate(counts.items()):
        for number in range(count):
            generator = np.random.default_rng([seed, 12, kind, number])
            part = ("train", "train", "val", "test")[number % 4] if split else ""
            path = folder / part / diagnosis / f"phantom-{kind}-{number:05d}.png"
            write_phantom(path, diagnosis, generator, varied_size(generator, size))
