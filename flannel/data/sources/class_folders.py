"""Sets whose folders are their classes: how they are found and listed."""

from collections.abc import Sequence
from pathlib import Path

from flannel.data.walk import walk


def class_folders(
    folder: Path, tops: Sequence[str], layouts: Sequence[Sequence[str]]
) -> list[Path]:
    """Finds the class folders of a set, in the order of its layout.

    Args:
        folder: May be the set's top folder, or hold it.
        tops: Names of the top folder.
        layouts: Names of the class folders; the first layout that is there in whole counts.

    Returns:
        The class folders, or none if no layout is there.
    """
    for top in (*(folder / name for name in tops), folder):
        for classes in layouts:
            if all((top / name).is_dir() for name in classes):
                return [top / name for name in classes]
    return []


def images_in(folder: Path) -> list[Path]:
    """Lists the pictures of one folder by name, without its sub-folders."""
    return walk(folder, below=False).images
