"""The one walk through folders of radiographs: what is taken, and by reason what is left."""

import os
import stat
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flannel.data.formats import KNOWN, SUFFIXES, first_bytes, format_of
from flannel.data.names import is_text, shown
from flannel.data.outputs import is_output

HIDDEN = "hidden"
NO_IMAGE = "not images"
NO_FILE = "neither files nor folders"
NO_TEXT = "with a name that is no text, to be renamed"
OURS = "made by this project"
CLOSED = "that cannot be read"
SEEN = "links to a folder that was gone through"
NAMES_SHOWN = 5
"""Of each reason; the others are counted."""

Left = Mapping[str, Sequence[Path]]
"""Files and folders that are passed over, by reason."""


@dataclass
class Walk:
    """What a folder holds.

    Attributes:
        images: Files that are pictures by their content or by their suffix, folder by folder. Some
            may be damaged, or of a format that is not read: the reader says so.
        left: Files and folders that are passed over, by reason.
    """

    images: list[Path] = field(default_factory=list)
    left: dict[str, list[Path]] = field(default_factory=dict)

    def leave(self, reason: str, path: Path) -> None:
        """Notes that a file or folder is passed over."""
        self.left.setdefault(reason, []).append(path)


def walk(folder: Path, without: Path | None = None, below: bool = True, ours: bool = False) -> Walk:
    """Goes through a folder and its sub-folders, through links too, each folder once.

    The folder itself is gone through whatever it is; of its sub-folders those that are hidden or
    made by this project are passed over.

    Args:
        folder: Where to look.
        without: A folder to pass over, such as the one that results will go to.
        below: Go through the sub-folders too.
        ours: Go through what this project has made, too.

    Raises:
        OSError: If the folder itself cannot be read.
    """
    outcome, seen = Walk(), set()
    top = Path(os.path.realpath(folder))  # `resolve` of a link to itself is no OSError
    waiting, links = deque([folder]), deque[Path]()
    while waiting or links:  # a folder is reached by its own name before any link to it
        place = waiting.popleft() if waiting else links.popleft()
        try:
            entries = sorted(place.iterdir())
            at = Path(os.path.realpath(place))
        except OSError:
            if place == folder:
                raise
            outcome.leave(CLOSED, place)
            continue
        if at in seen or (place != folder and top.is_relative_to(at)):
            outcome.leave(SEEN, place)
            continue
        seen.add(at)
        made_here = place != folder and not ours and is_output([p.name for p in entries], place)
        if made_here or (without is not None and at == without.resolve()):
            outcome.leave(OURS, place)
            continue
        folders = _take_files(entries, outcome)
        if below:
            waiting.extendleft(path for path in reversed(folders) if not path.is_symlink())
            links.extend(path for path in folders if path.is_symlink())
    return outcome


def gather(place: Path, without: Path) -> tuple[Walk, str]:
    """Takes a file that is named itself, whatever it is, or goes through a folder.

    Returns:
        What was taken and left, and a sentence where that is no picture at all, or "".
    """
    files, what = Walk(), "holds no radiograph"
    try:
        if not place.is_file():
            files = walk(place, without)
        elif is_text(place):
            files = Walk([place])
        else:
            files, what = Walk(left={NO_TEXT: [place]}), "cannot be used"
    except FileNotFoundError:
        what = "does not exist"
    except OSError as fault:
        what = f"cannot be looked at ({fault.strerror})"
    sentence = f"{shown(place)} {what}; expected {KNOWN} files, or a folder of them."
    return files, "" if files.images else sentence


def folders_in(folder: Path) -> list[Path]:
    """Lists the sub-folders that `walk` would go through, by name.

    Raises:
        OSError: If the folder cannot be read.
    """
    return [path for path in sorted(folder.iterdir()) if _is_open_folder(path)]


def is_image(path: Path) -> bool:
    """Returns whether a file is a picture by its suffix or its content, and not hidden.

    Raises:
        OSError: If the file cannot be read.
    """
    if path.name.startswith(".") or not path.is_file():
        return False
    return path.suffix.lower() in SUFFIXES or bool(format_of(first_bytes(path)))


def stem_of(path: Path) -> str:
    """Returns a file's name without its suffix; the last number of a DICOM UID is none."""
    return path.name if path.suffix[1:].isdigit() else path.stem


def left_in_words(left: Left, folder: Path, names: int | None = NAMES_SHOWN) -> list[str]:
    """Returns a line for each reason: how many were passed over, and the first names.

    Args:
        left: Files and folders by reason.
        folder: Names are shown relative to it, where they lie in it.
        names: How many names; None shows all.
    """
    lines = []
    for reason, paths in left.items():
        listed = [_relative(path, folder) for path in paths[:names]]
        more = f" and {len(paths) - len(listed)} more" if len(paths) > len(listed) else ""
        lines.append(f"{len(paths)} {reason}: {', '.join(listed)}{more}")
    return lines


def _is_open_folder(path: Path) -> bool:
    try:
        if path.name.startswith(".") or not path.is_dir() or not os.access(path, os.X_OK):
            return False
        return not is_output([inside.name for inside in path.iterdir()], path)
    except OSError:
        return False


def _take_files(entries: Sequence[Path], outcome: Walk) -> list[Path]:
    """Takes the files of one folder; returns its sub-folders."""
    folders = []
    for path in entries:
        if path.name.startswith("."):
            outcome.leave(HIDDEN, path)
            continue
        try:
            mode = path.stat().st_mode
            if stat.S_ISDIR(mode):
                folders.append(path)
            elif not stat.S_ISREG(mode):
                outcome.leave(NO_FILE, path)
            elif not is_image(path):
                outcome.leave(NO_IMAGE, path)
            elif is_text(path):
                outcome.images.append(path)
            else:
                outcome.leave(NO_TEXT, path)
        except OSError:  # a closed file, or a link that leads nowhere
            outcome.leave(NO_FILE if path.is_symlink() else CLOSED, path)
    return folders


def _relative(path: Path, folder: Path) -> str:
    return shown(path.relative_to(folder) if path.is_relative_to(folder) else path)
