"""Phantom twins: made-up radiographs in the layout of any data set, by the set's short name."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from flannel.data.diagnosis import FLANNEL
from flannel.data.findings import SourceError
from flannel.data.sources import alifrahman, ccx, covid_qu_ex, darkcovidnet, kcx, radiography

Counts = Mapping[str, int]


def _shares(diagnoses: Sequence[str], images: int) -> Counts:
    """Spreads radiographs evenly over diagnoses, the first ones getting what is left over."""
    return {
        name: images // len(diagnoses) + (place < images % len(diagnoses))
        for place, name in enumerate(diagnoses)
    }


def _covid_qu_ex(folder: Path, images: int, seed: int, size_px: int) -> None:
    covid_qu_ex.write_phantoms(folder, images, seed, size_px)


def _darkcovidnet(folder: Path, images: int, seed: int, size_px: int) -> None:
    counts = _shares(tuple(darkcovidnet.PHANTOM_CLASSES), images)
    darkcovidnet.write_phantoms(folder, counts, seed, size_px)


def _alifrahman(folder: Path, images: int, seed: int, size_px: int) -> None:
    counts = _shares(tuple(alifrahman.PHANTOM_CLASSES), images)
    alifrahman.write_phantoms(folder, counts, seed, size_px)


def _radiography(folder: Path, images: int, seed: int, size_px: int) -> None:
    # Its images are of one size; the first release, which paper 002 had, names no bacteria.
    counts = _shares(("COVID-19", "Viral pneumonia", "Normal"), images)
    radiography.write_phantoms(folder, counts, seed, first_release=True)


def _ccx(folder: Path, images: int, seed: int, size_px: int) -> None:
    ccx.write_phantoms(folder, _shares(FLANNEL, images), seed, size_px)


def _kcx(folder: Path, images: int, seed: int, size_px: int) -> None:
    kcx.write_phantoms(folder, _shares(FLANNEL[1:], images), seed, size_px)


TWINS: Mapping[str, Callable[[Path, int, int, int], None]] = MappingProxyType(
    {
        ccx.NAME: _ccx,
        kcx.NAME: _kcx,
        covid_qu_ex.NAME: _covid_qu_ex,
        darkcovidnet.NAME: _darkcovidnet,
        alifrahman.NAME: _alifrahman,
        radiography.NAME: _radiography,
    }
)
"""What writes the twin of each source: folder, radiographs, seed, about their side in pixels."""


def write_twins(folder: Path, images: Counts, seed: int, size_px: int) -> None:
    """Writes the twins of several data sets, each in a sub-folder of its name.

    Radiographs are spread evenly over the diagnoses that a set has.

    Args:
        folder: Gets the sub-folders.
        images: How many radiographs, by source.
        seed: Of all randomness.
        size_px: About the side of a radiograph; those of the Radiography Database are of one size.

    Raises:
        SourceError: If a source has no twin.
    """
    unknown = sorted(set(images) - set(TWINS))
    if unknown:
        raise SourceError(
            f"There is no phantom twin of {', '.join(unknown)}; choose of {', '.join(TWINS)}."
        )
    for source, count in images.items():
        TWINS[source](folder / source, count, seed, size_px)
