"""JSRT (Shiraishi et al. 2000) as radiographs to classify: 93 without and 154 with a nodule.

One image of each patient, all PA. They may not be redistributed: obtain them from their maker.
"""

from pathlib import Path

import numpy as np

from flannel.data.findings import SourceRow
from flannel.data.phantom import draw_phantom
from flannel.data.sources import jsrt

NAME = "jsrt"
LICENCE = "JSRT's terms of use, no redistribution"
FINDINGS = {"JPCNN": "no nodule", "JPCLN": "lung nodule"}
RAW, COPY = ".img", ".png"
MASK_FOLDERS = ("masks", *jsrt.STRUCTURES)


def is_here(folder: Path) -> bool:
    """Returns whether JSRT radiographs lie in the folder or in a folder inside it."""
    return bool(_radiographs(folder))


def rows(folder: Path) -> list[SourceRow]:
    """Lists the radiographs by name, `JPC*.IMG` or PNG copies of them.

    Of files with the same stem the `.IMG` counts, since it has twelve bits. Folders named as SCR
    names its masks are passed over.

    Args:
        folder: Holds the files, or folders such as `All247images/` with them.
    """
    return [
        SourceRow(
            source=NAME,
            path=path,
            patient_id=stem,
            group=f"{NAME}-{stem}",
            finding=FINDINGS[stem[:5]],
            view="PA",
            licence=LICENCE,
        )
        for stem, path in sorted(_radiographs(folder).items())
    ]


def _radiographs(folder: Path) -> dict[str, Path]:
    """Finds the radiographs by stem, in capitals."""
    inside = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    places = [path for path in inside if path.name.lower().replace("_", " ") not in MASK_FOLDERS]
    by_stem: dict[str, Path] = {}
    for place in (folder, *places):
        for path in place.glob("[Jj][Pp][Cc][NnLl][Nn]*"):
            stem, suffix = path.stem.upper(), path.suffix.lower()
            if suffix == RAW or (suffix == COPY and stem not in by_stem):
                by_stem[stem] = path
    return by_stem


def write_phantoms(folder: Path, normal: int, nodules: int, seed: int) -> None:
    """Writes made-up radiographs in this layout; a nodule is a disc in the left lung.

    Args:
        folder: Gets `JPCNN001.IMG`, `JPCLN001.IMG` and so on.
        normal: Radiographs without a nodule.
        nodules: Radiographs with one.
        seed: Seed of all randomness.
    """
    for prefix, count in (("JPCNN", normal), ("JPCLN", nodules)):
        for number in range(1, count + 1):
            generator = np.random.default_rng([seed, 11, prefix == "JPCLN", number])
            side = (jsrt.PHANTOM_SIDE_PX, jsrt.PHANTOM_SIDE_PX)
            phantom = draw_phantom("Normal", generator, side)
            image = phantom.image.copy()
            if prefix == "JPCLN":
                y, x = (places.mean() for places in np.nonzero(phantom.left_lung))
                rows_, columns = np.indices(side)
                disc = (rows_ - y) ** 2 + (columns - x) ** 2 < (side[0] / 40) ** 2
                image[disc] = np.maximum(image[disc], 170)
            jsrt.write_img(folder / f"{prefix}{number:03d}.IMG", image)
