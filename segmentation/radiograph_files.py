"""Which radiographs want a mask: those of a study, or of folders and files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flannel.data.manifest import load_manifest
from flannel.data.sources.mask_pairs import grouped_by_stem
from segmentation.masks import MaskError

FLAGGED = "flagged"
"""Names the contact sheet in the folder of masks, and therefore no mask."""


@dataclass(frozen=True)
class RadiographFile:
    """A radiograph that wants a mask.

    Attributes:
        image_id: Names its mask; with slashes for a radiograph in a sub-folder.
        path: The file.
        sha256: Hash of the file's bytes; None where it is still to be computed.
    """

    image_id: str
    path: Path
    sha256: str | None = None


def radiographs_of_study(study: Path) -> list[RadiographFile]:
    """Lists the radiographs of a study's manifest.

    Raises:
        ManifestError: If the manifest is missing or breaks its schema.
    """
    table = load_manifest(study / "manifest.csv")
    return [
        RadiographFile(str(image_id), Path(path), str(sha256))
        for image_id, path, sha256 in zip(
            table["image_id"], table["path"], table["sha256"], strict=True
        )
    ]


def radiographs_of(places: Sequence[Path], out: Path) -> list[RadiographFile]:
    """Lists the radiographs of folders, with their sub-folders, and of single files.

    A radiograph's path below its folder, without the suffix, names its mask. Hidden files are
    passed over, and so is `out` where it lies in one of the folders.

    Args:
        places: Folders and files.
        out: Where the masks will go.

    Raises:
        MaskError: If a place is missing or a folder without radiographs, two files would get the
            same mask, or a mask would lie among the radiographs.
    """
    found: dict[str, list[Path]] = {}
    for place in places:
        if place.resolve() == out.resolve():
            raise MaskError(
                f"{place} holds the radiographs, and masks among them could not be told from "
                "them; name another folder with --out."
            )
        named = {place.stem: [place]} if place.is_file() else _below(place, out)
        for image_id, paths in named.items():
            found.setdefault(image_id, []).extend(paths)
    twice = [str(path) for paths in found.values() if len(paths) > 1 for path in paths]
    if twice:
        raise MaskError(
            f"Radiographs that share a name but for the suffix: {', '.join(twice)}. Rename them, "
            "because the name becomes the mask's."
        )
    if FLAGGED in found:
        raise MaskError(
            f"{found[FLAGGED][0]} would get the mask {FLAGGED}.png, which is the name of the "
            "contact sheet; rename it."
        )
    return [RadiographFile(image_id, path) for image_id, (path,) in found.items()]


def _below(folder: Path, out: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise MaskError(f"{folder} does not exist; expected a radiograph or a folder of them.")
    named: dict[str, list[Path]] = {}
    for place in [folder, *sorted(path for path in folder.rglob("*") if path.is_dir())]:
        below = place.relative_to(folder)
        hidden = any(part.startswith(".") for part in below.parts)
        if hidden or place.resolve().is_relative_to(out.resolve()):
            continue
        files = (path for path in sorted(place.iterdir()) if path.is_file())
        for stem, paths in grouped_by_stem(files).items():
            named[(below / stem).as_posix()] = paths
    if not named:
        raise MaskError(f"{folder} holds no radiograph (PNG, JPEG, GIF, BMP, TIFF, .IMG, .dcm).")
    return named
