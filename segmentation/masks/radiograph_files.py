"""Which radiographs want a mask: those of a study, or of folders and files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flannel.data.manifest import load_manifest
from flannel.data.names import file_name, shown
from flannel.data.walk import gather, left_in_words, stem_of
from segmentation.checkpoint import MaskError

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


@dataclass(frozen=True)
class FoundRadiographs:
    """What folders and files hold.

    Attributes:
        files: The radiographs.
        faults: A sentence for each file whose name cannot be that of a mask.
        passed_over: A line for each reason to pass over files of a folder.
    """

    files: tuple[RadiographFile, ...]
    faults: tuple[str, ...]
    passed_over: tuple[str, ...]


def radiographs_of(places: Sequence[Path], out: Path) -> FoundRadiographs:
    """Lists the radiographs of folders, with their sub-folders, and of single files.

    A radiograph's path below its folder, without the suffix, names its mask; parts that are too
    long for that, or not what every disk takes, are changed (`flannel.data.names.file_name`).

    Args:
        places: Folders and files; what is passed over in folders says `flannel.data.walk`.
        out: Where the masks will go; passed over where it lies in one of the folders.

    Raises:
        MaskError: If masks would lie among the radiographs, or no radiograph is left.
    """
    named: dict[str, dict[Path, Path]] = {}
    faults: list[str] = []
    passed_over: list[str] = []
    for place in places:
        if place.resolve() == out.resolve():
            raise MaskError(
                f"{place} holds the radiographs, and masks among them could not be "
                "distinguished from them; name another folder with --out."
            )
        files, fault = gather(place, out)
        faults += [fault] if fault else []
        passed_over += [f"{shown(place)}: {line}" for line in left_in_words(files.left, place)]
        for path in files.images:
            above = path.parent.relative_to(place).parts if path != place else ()
            name = "/".join(file_name(part) for part in (*above, stem_of(path)))
            named.setdefault(name, {})[path.resolve()] = path  # a file named twice is one file
    chosen = {name: list(paths.values()) for name, paths in named.items()}
    for name, paths in chosen.items():
        if len(paths) > 1:
            faults.append(
                f"{', '.join(map(str, paths))} share a name but for the suffix, and the name "
                "becomes the mask's: rename them."
            )
        elif name == FLAGGED:
            faults.append(
                f"{paths[0]} would get the mask {FLAGGED}.png, which is the name of the contact "
                "sheet: rename it."
            )
    good = [
        RadiographFile(name, paths[0])
        for name, paths in chosen.items()
        if len(paths) == 1 and name != FLAGGED
    ]
    if not good:
        raise MaskError("\n  ".join(["No radiograph can be segmented:", *faults, *passed_over]))
    return FoundRadiographs(tuple(good), tuple(faults), tuple(passed_over))
