"""The public data sets: a folder as it is downloaded -> manifest rows, and their phantom twins."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, ModuleType

from flannel.data.diagnosis import FLANNEL
from flannel.data.findings import SourceError
from flannel.data.open_sets import how_to_get_lung_masks
from flannel.data.sources import (
    alifrahman,
    ccx,
    covid_qu_ex,
    csv_table,
    darkcovidnet,
    folder_per_class,
    jsrt,
    jsrt_radiographs,
    kcx,
    mask_pairs,
    montgomery,
    pair_table,
    radiography,
)
from flannel.data.sources.mask_pairs import (
    CONVENTIONS,
    MaskPair,
    read_pair_mask,
    read_structure,
)
from flannel.progress import announce

__all__ = [
    "CONVENTIONS",
    "OWN_SETS",
    "SOURCES",
    "MaskPair",
    "find_pairs",
    "read_pair_mask",
    "read_structure",
    "write_phantom_sources",
]

SOURCES: Mapping[str, ModuleType] = MappingProxyType(
    {
        source.NAME: source
        for source in (
            ccx, kcx, jsrt_radiographs, covid_qu_ex, radiography, alifrahman, darkcovidnet,
            csv_table, folder_per_class,
        )
    }
)  # fmt: skip
"""The sources of radiographs to classify, by short name (docs/data_sets.md). Each module says with
`is_here(folder)` whether a folder is its set, and lists it with `rows(folder)`."""

OWN_SETS = (csv_table.NAME, folder_per_class.NAME)
"""Sources whose classes the user named."""

CCX_SHARE = 8
"""One in so many phantoms without COVID-19 lies in CCX, as a few real ones do."""

Lister = Callable[[Path], list[MaskPair]]
PLAIN_LAYOUTS: tuple[tuple[Callable[[Path], bool], Lister], ...] = (
    (mask_pairs.is_here, mask_pairs.pairs),
    (montgomery.is_here, montgomery.pairs),
    (covid_qu_ex.is_here, covid_qu_ex.pairs),
)
# JSRT is looked for at any depth, so it comes last.
LAYOUTS = (*PLAIN_LAYOUTS, (jsrt.is_here, jsrt.pairs))


def find_pairs(folder: Path) -> list[MaskPair]:
    """Lists the image + lung-mask pairs of a folder, whichever layout it has (docs/mask_sets.md).

    No image is opened for it, except the first masks of the Montgomery set. A folder whose
    sub-folders hold several sets gives them all: each is named by its sub-folder, which also
    comes before its stems.

    Args:
        folder: Holds one set of pairs, or several in sub-folders; or a CSV table of pairs.

    Raises:
        SourceError: If the folder is missing, fits no layout or holds no complete pair; or as
            `pair_table.pairs` and `mask_pairs.pairs`.
    """
    if pair_table.is_here(folder):
        pairs = pair_table.pairs(folder)
    elif folder.is_dir():
        pairs = _pairs_of_folder(folder)
    else:
        raise SourceError(
            f"{folder} is not a folder and not a CSV file; expected a folder with images and lung "
            f"masks, or a table of them.\n{how_to_get_lung_masks(folder)}"
        )
    if not pairs:
        raise SourceError(
            f"{folder} holds no image that has a lung mask.\n{how_to_get_lung_masks(folder)}"
        )
    return pairs


def _pairs_of_folder(folder: Path) -> list[MaskPair]:
    """Lists the pairs of the folder itself, of its sub-folders, or of JSRT scattered over them."""
    for is_here, pairs in PLAIN_LAYOUTS:
        if is_here(folder):
            return pairs(folder)
    sets = _sets_inside(folder)
    if len(sets) > 1:
        return [
            replace(pair, origin=place.name, stem=f"{place.name}/{pair.stem}")
            for place, pairs in sets.items()
            for pair in pairs(place)
        ]
    if sets:
        ((place, pairs),) = sets.items()
        return pairs(place)
    if jsrt.is_here(folder):
        return jsrt.pairs(folder)
    raise SourceError(
        f"{folder} fits no known layout of lung masks. Expected images/ with masks/ or with "
        "masks/left_lung/ and masks/right_lung/; JSRT .IMG files with SCR folders 'left lung' and "
        "'right lung'; Montgomery's CXR_png/ with ManualMask/; COVID-QU-Ex's 'Lung Segmentation "
        "Data'/; several of these in sub-folders; or a CSV file with the columns image and mask."
    )


def _sets_inside(folder: Path) -> Mapping[Path, Lister]:
    """Finds the sub-folders that fit a layout, and names the others on stderr if there are some."""
    places = sorted(
        place for place in folder.iterdir() if place.is_dir() and not place.name.startswith(".")
    )
    sets = {
        place: pairs
        for place in places
        if (pairs := next((pairs for is_here, pairs in LAYOUTS if is_here(place)), None))
    }
    if sets and len(sets) < len(places):
        others = ", ".join(place.name for place in places if place not in sets)
        announce(f"{folder}: {others} fit no known layout of lung masks and are passed over.")
    return sets


def write_phantom_sources(
    folder: Path, images: int, masks: int, seed: int, size: int = 512
) -> None:
    """Writes made-up data sets in the real layouts, for tests and the demo.

    COVID-19 lies in CCX alone, and the other diagnoses mostly in KCX, as in the real cohort; but
    sizes, exposure and file quality are drawn alike for both.

    Args:
        folder: Gets `covid-chestxray-dataset/`, `chest_xray/` and `lung_masks/`.
        images: Radiographs in both sources together, balanced over the four diagnoses.
        masks: Image + mask pairs beside them.
        seed: Seed of all randomness.
        size: Nominal side of the images in pixels.
    """
    number = {d: images // 4 + (place < images % 4) for place, d in enumerate(FLANNEL)}
    in_ccx = {d: n if d == "COVID-19" else n // CCX_SHARE for d, n in number.items()}
    in_kcx = {d: n - in_ccx[d] for d, n in number.items() if d != "COVID-19"}
    ccx.write_phantoms(folder / "covid-chestxray-dataset", in_ccx, seed, size)
    kcx.write_phantoms(folder / "chest_xray", in_kcx, seed, size)
    mask_pairs.write_phantoms(folder / "lung_masks", masks, seed, size)
