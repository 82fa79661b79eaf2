"""Radiographs that are arrays in memory, handed on as the files that every stage reads."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from flannel.errors import OptionError

Radiograph = str | Path | np.ndarray
"""A file, a folder (also by its name as text), or grey levels (height, width)."""


def as_places(radiographs: Radiograph | Sequence[Radiograph], folder: Path) -> list[Path]:
    """Returns the paths of radiographs; arrays are written to a folder as PNG, without a loss.

    Args:
        radiographs: One or several: paths of files or folders, and arrays (height, width) of grey
            levels, 8 or 16 bit, lungs dark.
        folder: Where arrays are written.

    Raises:
        OptionError: If an array is of another shape or type, or nothing is given.
    """
    listed = (
        [radiographs] if isinstance(radiographs, str | Path | np.ndarray) else list(radiographs)
    )
    if not listed:
        raise OptionError("No radiograph is given; expected a path, an array, or a list of them.")
    return [_place(item, folder / f"array-{number}.png") for number, item in enumerate(listed)]


def _place(radiograph: object, file: Path) -> Path:
    if isinstance(radiograph, str | Path):
        return Path(radiograph)
    if not isinstance(radiograph, np.ndarray):
        raise OptionError(
            f"A radiograph is a {type(radiograph).__name__}; expected a path or a NumPy array."
        )
    if radiograph.ndim != 2 or radiograph.dtype not in (np.uint8, np.uint16):
        raise OptionError(
            f"A radiograph is an array of shape {radiograph.shape} and type {radiograph.dtype}; "
            "expected grey levels (height, width) of type uint8 or uint16. Convert them, or write "
            "a file and name it."
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(radiograph).save(file)
    return file
