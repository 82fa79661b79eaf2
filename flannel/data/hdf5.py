"""Radiographs in one HDF5 file, as paper 003 keeps them: `images` and `labels`."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from jaxtyping import Integer, UInt8
from PIL import Image

from flannel.data.diagnosis import index_of
from flannel.data.file_checks import MAX_PIXELS, RadiographError
from flannel.data.findings import SourceError
from flannel.data.greyscale import resize, to_eight_bits
from flannel.data.radiograph import read_levels
from flannel.data.sources.csv_table import write_table
from flannel.errors import OptionError
from flannel.files import whole_file
from flannel.progress import progress

TEXTS = {
    "image_ids": "image_id",
    "patient_ids": "patient_id",
    "groups": "group",
    "views": "view",
    "sources": "source",
    "splits": "split",
    "licences": "licence",
}
"""Datasets beside images and labels, and the columns of the manifest that they hold."""

LARGEST_SIDE_PX = 4096
LONGEST_NAME = 120


def export_hdf5(
    manifest: pd.DataFrame,
    path: Path,
    diagnoses: Sequence[str],
    size_px: int = 224,
    shuffle_seed: int | None = None,
) -> tuple[str, ...]:
    """Writes the radiographs of a manifest into one HDF5 file, whole or not at all.

    `images` is (n, size, size) uint8, stretched, lungs dark; `labels` (n,) is the index in
    `class_names`. Unlike in the file of paper 003, `image_ids`, `patient_ids`, `groups`, `views`,
    `sources`, `splits` and `licences` go with the images, so that whoever splits them can keep
    patients together. Each image is compressed by itself.

    Args:
        manifest: The radiographs, by the columns of `flannel.data.manifest`.
        path: The file, such as `radiographs.h5`.
        diagnoses: The label set of the manifest, in order.
        size_px: Side of the images.
        shuffle_seed: Of the shuffling of images and labels, as paper 003 has it (Section 3); None
            keeps the manifest's order.

    Returns:
        A sentence for each radiograph that could not be read and is left out.

    Raises:
        OptionError: If the side is not 1 to 4096 pixels.
        LabelError: If a diagnosis is not in the label set.
        RadiographError: If no radiograph can be read.
    """
    if not 1 <= size_px <= LARGEST_SIDE_PX:
        raise OptionError(f"size_px is {size_px}; expected 1 to {LARGEST_SIDE_PX} pixels.")
    if shuffle_seed is not None:
        manifest = manifest.sample(frac=1, random_state=shuffle_seed, ignore_index=True)
    labels = np.array([index_of(name, diagnoses) for name in manifest["diagnosis"]], np.int64)
    faults: list[str] = []
    kept: list[int] = []
    with whole_file(path) as beside, h5py.File(beside, "w") as file:
        images = file.create_dataset(
            "images",
            (len(manifest), size_px, size_px),
            np.uint8,
            maxshape=(None, size_px, size_px),
            chunks=(1, size_px, size_px),
            compression="gzip",
            compression_opts=1,
            shuffle=False,
        )
        files = progress(manifest["path"], len(manifest), "Exporting radiographs")
        for position, name in enumerate(files):
            try:
                images[len(kept)] = _small(Path(name), size_px)
                kept.append(position)
            except RadiographError as fault:
                faults.append(str(fault))
        if not kept:
            raise RadiographError(
                "No radiograph of the manifest can be read:\n" + "\n".join(faults)
            )
        images.resize(len(kept), axis=0)
        file["labels"] = labels[kept]
        text = h5py.string_dtype()
        file.create_dataset("class_names", data=list(diagnoses), dtype=text)
        for dataset, column in TEXTS.items():
            values = manifest[column].iloc[kept].astype(str).tolist()
            file.create_dataset(dataset, data=values, dtype=text)
    return tuple(faults)


def unpack_hdf5(path: Path, folder: Path) -> int:
    """Turns an HDF5 file into PNG files and a `radiographs.csv`, a source like any other.

    The file holds `images`, (n, height, width) or (n, height, width, 1 or 3) uint8, and `labels`,
    (n,) or (n, 1) whole numbers; `class_names` and the other texts of `export_hdf5` are taken
    where they are. Without `class_names` the findings are "class 0" and so on. Colours are kept.
    Names from the file become file names only after everything but letters, digits, `.`, `_` and
    `-` is replaced, with the position before them, so nothing is written outside the folder.

    Args:
        path: The HDF5 file.
        folder: Gets `images/` and `radiographs.csv`.

    Returns:
        How many radiographs were written.

    Raises:
        SourceError: If the file is missing or no HDF5 file, a dataset is missing, of another
            shape or type, or lies outside the file, or a label has no class name.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as fault:
        raise SourceError(f"{path} cannot be read as HDF5 ({fault}); copy it again.") from fault
    with file:
        images, labels = _images(file, path), _labels(file, path)
        if len(images) != len(labels) or not len(images):
            raise SourceError(f"{path} holds {len(images)} images and {len(labels)} labels.")
        findings = _findings(file, path, labels)
        texts = {
            column: _texts(file, name, path, len(labels))
            for name, column in TEXTS.items()
            if name in file
        }
        stems = texts.pop("image_id", [""] * len(labels))
        names = [f"images/{_file_name(n, stem)}" for n, stem in enumerate(stems)]
        pictures = progress(_pictures(images, path), len(images), "Unpacking radiographs")
        for name, picture in zip(names, pictures, strict=True):
            with whole_file(folder / name) as beside:
                Image.fromarray(picture).save(beside)
    columns = {"path": names, "finding": findings, **texts}
    rows = zip(*columns.values(), strict=True)
    write_table(folder, [dict(zip(columns, row, strict=True)) for row in rows])
    return len(names)


def _small(path: Path, size_px: int) -> UInt8[np.ndarray, "size size"]:
    stored = read_levels(path)
    return resize(to_eight_bits(stored.levels, stored.bits, stored.polarity), size_px, size_px)


def _dataset(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    """Returns a dataset whose values lie in this file and nowhere else."""
    if name not in file:
        has = ", ".join(sorted(file)) or "nothing"
        raise SourceError(f"{path} has no dataset {name!r}; it has {has}.")
    here = isinstance(file.get(name, getlink=True), h5py.HardLink)
    dataset = file[name] if here else None
    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
        raise SourceError(f"{path}: {name!r} is no dataset of this file; copy its values into it.")
    return dataset


def _images(file: h5py.File, path: Path) -> h5py.Dataset:
    images = _dataset(file, "images", path)
    shape: tuple[int, ...] = images.shape or ()
    grey = len(shape) == 3
    if images.dtype != np.uint8 or not (grey or (len(shape) == 4 and shape[3] in (1, 3))):
        raise SourceError(
            f"{path}: images are {images.dtype} of shape {shape}; expected uint8 (n, height, "
            "width) or (n, height, width, 1 or 3). Scale them to 0..255 first."
        )
    if not 0 < shape[1] * shape[2] <= MAX_PIXELS:
        raise SourceError(
            f"{path}: images of {shape[2]} x {shape[1]} pixels; expected 1 to {MAX_PIXELS:,}."
        )
    return images


def _labels(file: h5py.File, path: Path) -> Integer[np.ndarray, " images"]:
    labels = _dataset(file, "labels", path)
    shape: tuple[int, ...] = labels.shape or ()
    if labels.dtype.kind not in "iu" or not (len(shape) == 1 or shape[1:] == (1,)):
        raise SourceError(
            f"{path}: labels are {labels.dtype} of shape {shape}; expected whole numbers (n,)."
        )
    return np.asarray(labels).reshape(-1)


def _findings(file: h5py.File, path: Path, labels: Integer[np.ndarray, " images"]) -> list[str]:
    """Returns the class name of each image, or "class 3" where the file names none."""
    if "class_names" not in file:
        return [f"class {label}" for label in labels.tolist()]
    names = _texts(file, "class_names", path)
    strange = sorted({label for label in labels.tolist() if not 0 <= label < len(names)})
    if strange:
        raise SourceError(
            f"{path} holds the label {strange[0]}; expected 0 to {len(names) - 1}, for "
            f"{', '.join(names)}."
        )
    return [names[label] for label in labels.tolist()]


def _texts(file: h5py.File, name: str, path: Path, count: int | None = None) -> list[str]:
    texts = _dataset(file, name, path)
    shape: tuple[int, ...] = texts.shape or ()
    if h5py.check_string_dtype(texts.dtype) is None or len(shape) != 1:
        raise SourceError(f"{path}: {name} is {texts.dtype} of shape {shape}; expected texts (n,).")
    if count not in (None, len(texts)):
        raise SourceError(f"{path} holds {len(texts)} {name} and {count} labels.")
    return [str(text) for text in texts.asstr(errors="replace")[()]]


def _pictures(images: h5py.Dataset, path: Path) -> Iterator[np.ndarray]:
    """Yields the images one by one, read by whole chunks."""
    step = images.chunks[0] if images.chunks else 1
    for start in range(0, len(images), step):
        try:
            block = images[start : start + step]
        except OSError as fault:
            raise SourceError(f"{path}: image {start} cannot be read ({fault}).") from fault
        yield from (picture[..., 0] if picture.shape[2:] == (1,) else picture for picture in block)


def _file_name(number: int, image_id: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", image_id)[:LONGEST_NAME]
    return f"{number:06d}-{plain}.png" if plain else f"{number:06d}.png"
