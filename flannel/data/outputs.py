"""Folders that this project has made, so that their pictures are not taken for radiographs."""

from collections.abc import Iterable, Mapping
from pathlib import Path

MARKER = ".made-by-patched-flannel"
SIGNATURES: Mapping[str, bytes] = {
    "masks.csv": b"image_id,origin,",
    "predictions.json": b'{\n  "diagnoses": ',
    "fingerprint.json": b'{\n  "finished": ',
    "manifest.csv": b"image_id,path,source,",
    "store.json": b'{"format": ',
    "bundle.json": b'{\n  "checksum": ',
}
"""What folders without a marker are known by: a file of ours, and what it begins with."""
LOGS, LOG_START = ".wandb", b":W&B"
"""Suffix and beginning of the log in the folder of a W&B run, which holds pictures too."""


def mark_as_output(folder: Path) -> None:
    """Leaves a note in a folder of ours that `is_output` finds.

    Raises:
        OSError: If the folder cannot be written.
    """
    marker = folder / MARKER
    if not marker.exists():
        marker.write_text(
            "Patched FLANNEL has made this folder: no radiographs are looked for in it.\n",
            encoding="utf-8",
        )


def is_output(names: Iterable[str], folder: Path) -> bool:
    """Returns whether this project has made a folder.

    Args:
        names: What lies in the folder.
        folder: The folder.
    """
    known = set(names)
    if MARKER in known:
        return True
    logs = [name for name in known if name.endswith(LOGS)]
    return any(_begins(folder / name, LOG_START) for name in logs) or any(
        _begins(folder / name, start) for name, start in SIGNATURES.items() if name in known
    )


def _begins(path: Path, start: bytes) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(len(start)) == start
    except OSError:
        return False
