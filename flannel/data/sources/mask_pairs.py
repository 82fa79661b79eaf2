"""Radiographs with masks: what a pair is, how it is read, and the plainest layout of a set."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from flannel.data.diagnosis import FLANNEL
from flannel.data.file_checks import RadiographError
from flannel.data.findings import SourceError
from flannel.data.mask import read_mask, write_mask
from flannel.data.phantom import varied_size, write_phantom
from flannel.data.walk import stem_of, walk
from flannel.progress import announce

LUNGS = "lungs"
SIDES = ("left lung", "right lung")
OTHERS = ("heart", "left clavicle", "right clavicle")
STRUCTURES = (LUNGS, *SIDES, *OTHERS)
"""What masks may show; left and right are the patient's."""

CONVENTIONS: Mapping[str, str] = {
    "scr": "The visible lung fields: without heart, mediastinum, aorta and what lies below the "
    "diaphragm (van Ginneken et al. 2006).",
    "v7": "The whole lungs: with the part behind the heart, and down to the lowest part that "
    "shows through the diaphragm (V7 Labs' read-me).",
    "montgomery": "The visible lung fields: along heart, aortic arch and diaphragm, the part "
    "behind the heart excluded, guessed where disease hides the border (NLM's read-me).",
    "covid_qu_ex": "Proposed by networks and corrected by people (Tahir et al. 2021); no rule for "
    "the part behind the heart is written down that we know of.",
}
"""What the outlines of a set follow, by name."""

CONVENTION_FILE = "convention.txt"
StemFiles = Mapping[str, Sequence[Path]]


@dataclass(frozen=True)
class MaskPair:
    """A radiograph and the files that mask its lungs, and other structures where the set has them.

    Attributes:
        image: The radiograph.
        masks: The files of each of `STRUCTURES` that the set has, to be united. There is `lungs`,
            or `left lung` and `right lung`.
        stem: The name that image and masks share; no two pairs of `find_pairs` have the same.
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
        """The radiograph and all mask files, sorted."""
        return tuple(sorted({self.image, *(path for some in self.masks.values() for path in some)}))


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


def is_here(folder: Path) -> bool:
    """Returns whether the folder is laid out as `images/` and `masks/`."""
    return (folder / "images").is_dir() and (folder / "masks").is_dir()


def pairs(folder: Path) -> list[MaskPair]:
    """Lists the pairs, sorted by stem; `images/a.jpeg` goes with `masks/a.png`.

    With `masks/left_lung` and `masks/right_lung` both sides are needed. Masks in `masks/heart`,
    `masks/left_clavicle` and `masks/right_clavicle` are taken where they are. Images that lack a
    lung mask, and stems that occur twice in one folder, are left out and named on stderr.

    Args:
        folder: Holds `images/`, `masks/` and possibly `convention.txt`, one line with a name of
            `CONVENTIONS`.

    Raises:
        SourceError: If `convention.txt` names no known convention.
    """
    inside = {
        place.name.lower().replace("_", " "): place
        for place in sorted((folder / "masks").iterdir())
        if place.is_dir()
    }
    if all(side in inside for side in SIDES):
        places = {side: inside[side] for side in SIDES}
    else:
        places = {LUNGS: folder / "masks"}
    places |= {structure: inside[structure] for structure in OTHERS if structure in inside}
    masks = {structure: files_by_stem(place) for structure, place in places.items()}
    images = files_by_stem(folder / "images")
    usable, faults = paired(images, masks, folder.resolve().name, convention_of(folder))
    tell_left_out(folder, faults)
    return usable


def convention_of(folder: Path) -> str:
    """Returns the convention that `convention.txt` in a folder names, or "" without that file.

    Raises:
        SourceError: If the name is not one of `CONVENTIONS`.
    """
    path = folder / CONVENTION_FILE
    if not path.is_file():
        return ""
    name = path.read_text(encoding="utf-8", errors="replace").strip()
    check_conventions(path, [name])
    return name


def check_conventions(path: Path, names: Iterable[str]) -> None:
    """Refuses conventions that nobody knows; "" stands for an unknown one and passes.

    Args:
        path: The file that names them.
        names: Names of conventions.

    Raises:
        SourceError: If a name is not one of `CONVENTIONS`.
    """
    unknown = sorted(set(names) - {"", *CONVENTIONS})
    if unknown:
        raise SourceError(
            f"{path} names the convention {', '.join(map(repr, unknown))}; expected one of "
            f"{', '.join(CONVENTIONS)}, or nothing."
        )


def files_by_stem(folder: Path) -> dict[str, list[Path]]:
    """Returns the pictures of one folder by stem, whatever made the folder."""
    return grouped_by_stem(walk(folder, below=False).images)


def grouped_by_stem(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Groups files by stem."""
    grouped: dict[str, list[Path]] = {}
    for path in paths:
        grouped.setdefault(stem_of(path), []).append(path)
    return grouped


def paired(
    images: StemFiles, masks: Mapping[str, StemFiles], origin: str, convention: str = ""
) -> tuple[list[MaskPair], list[str]]:
    """Pairs radiographs with the masks of the same stem.

    Args:
        images: Radiographs by stem.
        masks: Mask files by structure and stem; those of lungs are needed, others may be absent.
        origin: The set they belong to.
        convention: What its outlines follow.

    Returns:
        The pairs, sorted by stem, and a sentence for each radiograph that is left out.
    """
    pairs, faults = [], []
    for stem, files in sorted(images.items()):
        belonging = {name: some[stem] for name, some in masks.items() if stem in some}
        twice = [paths for paths in (files, *belonging.values()) if len(paths) > 1]
        lacking = [name for name in masks if name not in (*OTHERS, *belonging)]
        if twice:
            names = " and ".join(str(path) for path in twice[0])
            faults.append(f"{names} share one stem; rename or remove one.")
        elif lacking:
            faults.append(f"{files[0]} has no mask of the {lacking[0]}.")
        else:
            chosen = {name: tuple(paths) for name, paths in belonging.items()}
            pairs.append(MaskPair(files[0], chosen, stem, convention, origin))
    return pairs, faults


def told_apart(
    pairs: Sequence[MaskPair], prefixes: Sequence[str]
) -> tuple[list[MaskPair], list[str]]:
    """Puts a prefix before each stem that several pairs share.

    Args:
        pairs: Pairs whose stems may be the same.
        prefixes: What may tell each of them from the others, such as its origin.

    Returns:
        The pairs whose stems can be made to differ, and a sentence for each that still cannot.
    """
    shared = Counter(pair.stem for pair in pairs)
    renamed = [
        replace(pair, stem=f"{prefix}/{pair.stem}") if shared[pair.stem] > 1 and prefix else pair
        for pair, prefix in zip(pairs, prefixes, strict=True)
    ]
    still = Counter(pair.stem for pair in renamed)
    faults = [
        f"{pair.image} is one of {still[pair.stem]} named {pair.stem}; rename or remove one."
        for pair in renamed
        if still[pair.stem] > 1
    ]
    return [pair for pair in renamed if still[pair.stem] == 1], faults


def tell_left_out(place: Path, faults: Sequence[str]) -> None:
    """Names the images that are left out on stderr, if there are any."""
    if faults:
        announce("\n  ".join([f"{len(faults)} images of {place} left out:", *faults]))


def write_phantoms(folder: Path, count: int, seed: int, size: int = 512) -> None:
    """Writes made-up pairs, the diagnoses in turn, with masks of each lung and of the heart.

    Args:
        folder: Gets `images/`, `masks/left_lung/`, `masks/right_lung/` and `masks/heart/`.
        count: Pairs to draw.
        seed: Seed of all randomness.
        size: Nominal side of the images in pixels.
    """
    for number in range(count):
        generator = np.random.default_rng([seed, 3, number])
        diagnosis = FLANNEL[number % len(FLANNEL)]
        name = f"phantom-{number:05d}.png"
        size_px = varied_size(generator, size)
        phantom = write_phantom(folder / "images" / name, diagnosis, generator, size_px)
        write_mask(phantom.left_lung, folder / "masks" / "left_lung" / name)
        write_mask(phantom.right_lung, folder / "masks" / "right_lung" / name)
        write_mask(phantom.heart, folder / "masks" / "heart" / name)
