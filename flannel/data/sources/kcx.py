"""KCX: Kaggle's chest-xray-pneumonia (Kermany et al. 2018), children of 1 to 5 years, AP."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from flannel.data.findings import SourceRow, Split
from flannel.data.phantom import varied_size, write_phantom
from flannel.data.sources.class_folders import images_in
from flannel.errors import OptionError

NAME = "kcx"
LICENCE = "CC BY 4.0"
SPLITS: dict[str, Split] = {"train": "development", "val": "development", "test": "test"}
CLASSES = ("NORMAL", "PNEUMONIA")
PHANTOM_SPLITS = ("train", "train", "test", "train", "val")

_PNEUMONIA = re.compile(r"person(\d+)_(virus|bacteria)_\d+", re.IGNORECASE)
_NORMAL = re.compile(r"((?:NORMAL2-)?IM)-(\d+)-", re.IGNORECASE)


def is_here(folder: Path) -> bool:
    """Returns whether the folder, or `chest_xray` in it, is laid out as this data set."""
    return bool(_class_folders(folder))


def rows(folder: Path) -> list[SourceRow]:
    """Lists the images of all splits and classes, by name.

    The strict identity is the person's number with the pathogen, because the numbers restart for
    virus and bacteria, and series with number for normal images. The cautious one joins a
    person's number over both pathogens, since nobody documents that these are two children. An
    image of another name stands for its own patient; in `PNEUMONIA` its pathogen is not known.

    Args:
        folder: Holds `chest_xray/`, or the split folders themselves.
    """
    return [
        _row(path, SPLITS[split], kind)
        for split, kind, place in _class_folders(folder)
        for path in images_in(place)
    ]


def _class_folders(folder: Path) -> list[tuple[str, str, Path]]:
    top = folder / "chest_xray" if (folder / "chest_xray").is_dir() else folder
    places = [(split, kind, top / split / kind) for split in SPLITS for kind in CLASSES]
    return [place for place in places if place[2].is_dir()]


def _row(path: Path, split: Split, kind: str) -> SourceRow:
    finding, patient, group = kind, path.stem, f"{NAME}-{path.stem}"
    if kind == "PNEUMONIA" and (match := _PNEUMONIA.match(path.stem)):
        pathogen = match[2].lower()
        finding = f"PNEUMONIA/{pathogen}"
        patient = f"{pathogen}-{int(match[1])}"
        group = f"{NAME}-person{int(match[1])}"
    elif kind == "NORMAL" and (match := _NORMAL.match(path.stem)):
        patient = f"{match[1].upper()}-{int(match[2])}"
        group = f"{NAME}-{patient}"
    return SourceRow(NAME, path, patient, group, finding, view="AP", licence=LICENCE, split=split)


def write_phantoms(folder: Path, counts: Mapping[str, int], seed: int, size: int = 512) -> None:
    """Writes a made-up data set in this layout, patients apart between train, val and test.

    Args:
        folder: The `chest_xray` folder itself.
        counts: Images to draw, by diagnosis; the real set has no COVID-19.
        seed: Seed of all randomness.
        size: Nominal side of the images in pixels.

    Raises:
        OptionError: If COVID-19 or another diagnosis that the set does not have is asked for.
    """
    for split in SPLITS:
        for kind in CLASSES:
            (folder / split / kind).mkdir(parents=True, exist_ok=True)
    number = 0
    for diagnosis, count in counts.items():
        patient = 0
        for position in range(count):
            generator = np.random.default_rng([seed, 2, number])
            patient += position % 4 != 3  # every fourth image is another of the patient before
            number += 1
            kind, stem = _phantom_name(diagnosis, patient, number)
            split = PHANTOM_SPLITS[patient % len(PHANTOM_SPLITS)]
            path = folder / split / kind / f"{stem}.jpeg"
            write_phantom(path, diagnosis, generator, varied_size(generator, size), quality=95)


def _phantom_name(diagnosis: str, patient: int, number: int) -> tuple[str, str]:
    match diagnosis:
        case "Viral pneumonia":
            return "PNEUMONIA", f"person{patient}_virus_{number}"
        case "Bacterial pneumonia":
            return "PNEUMONIA", f"person{patient + 1000}_bacteria_{number}"
        case "Normal":
            series = "IM" if patient % 2 else "NORMAL2-IM"
            return "NORMAL", f"{series}-{patient:04d}-{number:04d}"
        case _:
            raise OptionError(
                f"The Kaggle set has no {diagnosis!r}; expected viral, bacterial or normal."
            )
