"""The radiographs of DarkCovidNet (Ozturk et al. 2020), from muhammedtalo/COVID-19.

COVID-19 comes from CCX under its file names, the other two classes from ChestX-ray8, whose names
begin with the patient's number.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from flannel.data.findings import FRONTAL, SourceRow
from flannel.data.phantom import varied_size, write_phantom
from flannel.data.sources import ccx
from flannel.data.sources.class_folders import class_folders, images_in

NAME = "darkcovidnet"
TOPS = ("X-Ray Image DataSet", "Dataset")
CLASSES = ("Covid-19", "No_findings", "Pneumonia")
FROM_CCX = "Covid-19"
PHANTOM_CLASSES = {
    "COVID-19": "Covid-19",
    "Normal": "No_findings",
    "Bacterial pneumonia": "Pneumonia",
}

_CHESTXRAY8 = re.compile(r"(\d{8})_\d{3}")
# What names of CCX add for another day, panel or view of one case: `-day7`, `-a`, `-b2`, `-PA`.
_OF_ONE_CASE = re.compile(r"(-(day-?\d+|[a-z]\d?|pa|ap|l))+$", re.IGNORECASE)


def is_here(folder: Path) -> bool:
    """Returns whether the folder, or the set's top folder in it, is laid out as this data set."""
    return bool(class_folders(folder, TOPS, [CLASSES]))


def rows(folder: Path) -> list[SourceRow]:
    """Lists the images by class and name; the finding is the class folder's name.

    The patient of ChestX-ray8 is the number in the name. Images of COVID-19 have all that CCX
    says of them but the finding, its patient and group too, if CCX lies in the folder or beside
    it. Else names that differ only by day, panel or view are one patient, which still parts some
    images of one patient.

    Args:
        folder: Holds `X-Ray Image DataSet/` or `Dataset/`, or is that folder.
    """
    known = _rows_of_ccx(folder)
    return [
        _row(path, place.name, known)
        for place in class_folders(folder, TOPS, [CLASSES])
        for path in images_in(place)
    ]


def _rows_of_ccx(folder: Path) -> dict[str, SourceRow]:
    """Returns the rows of CCX by file name, from the first copy in the folder or beside it."""
    for above in (folder, folder.absolute().parent):
        for place in sorted(path for path in above.iterdir() if path.is_dir()):
            if ccx.is_here(place):
                return {row.path.name: row for row in ccx.rows(place)}
    return {}


def _row(path: Path, kind: str, known: Mapping[str, SourceRow]) -> SourceRow:
    if kind == FROM_CCX and path.name in known:
        return replace(known[path.name], source=NAME, path=path, finding=kind)
    if kind == FROM_CCX:
        patient = _OF_ONE_CASE.sub("", path.stem)
        return SourceRow(NAME, path, patient, f"{NAME}-{patient}", kind, view=FRONTAL)
    match = _CHESTXRAY8.match(path.stem)
    patient = match[1] if match else path.stem
    return SourceRow(NAME, path, patient, f"chestxray8-{patient}", kind, view=FRONTAL)


def write_phantoms(folder: Path, counts: Mapping[str, int], seed: int, size: int = 512) -> None:
    """Writes a made-up data set in this layout, two images of every patient.

    Args:
        folder: Gets `X-Ray Image DataSet/` with the class folders.
        counts: Images to draw of COVID-19, bacterial pneumonia and normal lungs.
        seed: Seed of all randomness.
        size: Nominal side of the images in pixels.

    Raises:
        KeyError: If another diagnosis is asked for.
    """
    for kind in CLASSES:
        (folder / TOPS[0] / kind).mkdir(parents=True, exist_ok=True)
    for place, (diagnosis, count) in enumerate(counts.items()):
        kind = PHANTOM_CLASSES[diagnosis]
        for number in range(count):
            generator = np.random.default_rng([seed, 10, place, number])
            patient, image = number // 2 + 1, number % 2
            if kind == FROM_CCX:
                name = f"phantom-pneumonia-{patient}-day{image}.jpeg"
            else:
                name = f"{patient + 1000 * place:08d}_{image:03d}.png"
            path = folder / TOPS[0] / kind / name
            write_phantom(path, diagnosis, generator, varied_size(generator, size))
