from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from flannel.data.diagnosis import FLANNEL
from flannel.data.file_checks import RadiographError
from flannel.data.findings import SourceError
from flannel.data.greyscale import resize, to_eight_bits
from flannel.data.hdf5 import export_hdf5, unpack_hdf5
from flannel.data.manifest import build_manifest
from flannel.data.radiograph import read_levels
from flannel.data.sources import csv_table, write_phantom_sources


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    write_phantom_sources(folder, images=8, masks=0, seed=0, size=64)
    return build_manifest(folder, sources=["ccx", "kcx"])[0]


def file_with(path, **datasets):
    """Writes an HDF5 file with these datasets."""
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
    return path


def grey(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_what_the_file_holds(manifest, tmp_path):
    assert export_hdf5(manifest, tmp_path / "all.h5", FLANNEL, size_px=48) == ()
    with h5py.File(tmp_path / "all.h5") as file:
        assert file["images"].shape == (8, 48, 48)
        assert file["images"].dtype == np.uint8
        assert sorted(file["labels"][:].tolist()) == [0, 0, 1, 1, 2, 2, 3, 3]
        names = file["class_names"].asstr()[:].tolist()
        assert names == ["COVID-19", "Viral pneumonia", "Bacterial pneumonia", "Normal"]
        assert [names[label] for label in file["labels"]] == manifest["diagnosis"].tolist()
        for dataset, column in (("image_ids", "image_id"), ("groups", "group"), ("views", "view")):
            assert file[dataset].asstr()[:].tolist() == manifest[column].tolist()
        stored = read_levels(Path(manifest["path"].iloc[3]))
        eight = to_eight_bits(stored.levels, stored.bits, stored.polarity)
        np.testing.assert_array_equal(file["images"][3], resize(eight, 48, 48))


def test_export_and_unpack_give_the_same_radiographs(manifest, tmp_path):
    export_hdf5(manifest, tmp_path / "all.h5", FLANNEL, size_px=40)
    assert unpack_hdf5(tmp_path / "all.h5", tmp_path / "all") == 8
    rows = csv_table.rows(tmp_path / "all")
    assert [row.finding for row in rows] == manifest["diagnosis"].tolist()
    for column in ("patient_id", "group", "view", "source", "split", "licence"):
        assert [getattr(row, column) for row in rows] == manifest[column].tolist()
    assert rows[0].path.name == f"000000-{manifest['image_id'].iloc[0]}.png"
    with h5py.File(tmp_path / "all.h5") as file:
        for number, row in enumerate(rows):
            np.testing.assert_array_equal(read_levels(row.path).levels, file["images"][number])


def test_unreadable_files_are_named_and_the_rest_is_written(manifest, tmp_path):
    broken = manifest.copy()
    broken.loc[2, "path"] = str(tmp_path / "missing.png")
    (fault,) = export_hdf5(broken, tmp_path / "all.h5", FLANNEL, size_px=32)
    assert "missing.png does not exist" in fault
    with h5py.File(tmp_path / "all.h5") as file:
        assert len(file["images"]) == len(file["labels"]) == len(file["groups"]) == 7
        kept = broken.drop(index=2)["image_id"].tolist()
        assert file["image_ids"].asstr()[:].tolist() == kept
    with pytest.raises(RadiographError, match="No radiograph of the manifest can be read"):
        export_hdf5(broken.loc[2:2], tmp_path / "none.h5", FLANNEL, size_px=32)
    assert not (tmp_path / "none.h5").exists()
    with pytest.raises(ValueError, match="size_px is 0"):
        export_hdf5(manifest, tmp_path / "none.h5", FLANNEL, size_px=0)
    with pytest.raises(ValueError, match="not in the label set"):
        export_hdf5(manifest, tmp_path / "none.h5", diagnoses=("COVID-19", "Normal"))


@pytest.mark.parametrize("shape", [(5, 32, 40), (5, 32, 40, 1), (5, 32, 40, 3)])
@pytest.mark.parametrize("chunks", [None, 1, 2])
def test_files_of_others(tmp_path, shape, chunks):
    images = grey(*shape)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images", data=images, chunks=chunks and (chunks, *shape[1:]))
        file["labels"] = np.array([[1], [0], [0], [1], [0]], np.uint8)
        file["class_names"] = np.array([b"covid", b"normal"])
    assert unpack_hdf5(tmp_path / "a.h5", tmp_path / "a") == 5
    rows = csv_table.rows(tmp_path / "a")
    assert [row.finding for row in rows] == ["normal", "covid", "covid", "normal", "covid"]
    assert [row.path.name for row in rows] == [f"{number:06d}.png" for number in range(5)]
    for row, image in zip(rows, images, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(row.path)), image.squeeze())


def test_without_class_names_the_number_is_the_finding(tmp_path):
    file_with(tmp_path / "a.h5", images=grey(2, 32, 32), labels=[7, 0])
    unpack_hdf5(tmp_path / "a.h5", tmp_path / "a")
    assert [row.finding for row in csv_table.rows(tmp_path / "a")] == ["class 7", "class 0"]


def test_names_in_the_file_lead_nowhere_else(tmp_path):
    ids = ["../../evil", "/etc/passwd", "..", "a\x07b" + "c" * 300]
    file_with(tmp_path / "a.h5", images=grey(4, 32, 32), labels=[0] * 4, image_ids=ids)
    unpack_hdf5(tmp_path / "a.h5", tmp_path / "inside" / "a")
    found = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.png"))
    assert found == [
        "inside/a/images/000000-.._.._evil.png",
        "inside/a/images/000001-_etc_passwd.png",
        "inside/a/images/000002-...png",
        f"inside/a/images/000003-a_b{'c' * 117}.png",
    ]


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ({"labels": [0]}, "no dataset 'images'; it has labels"),
        ({"images": grey(1, 32, 32)}, "no dataset 'labels'"),
        ({"images": grey(1, 32, 32) / 255, "labels": [0]}, "images are float64 of shape"),
        ({"images": grey(1, 32, 32, 4), "labels": [0]}, r"shape \(1, 32, 32, 4\)"),
        ({"images": grey(2, 32, 32), "labels": [0]}, "2 images and 1 labels"),
        ({"images": grey(0, 32, 32), "labels": np.zeros(0, int)}, "0 images and 0 labels"),
        ({"images": grey(1, 32, 32), "labels": [0.5]}, "labels are float64"),
        ({"images": grey(1, 32, 32), "labels": [[0, 1]]}, r"labels are int64 of shape \(1, 2\)"),
        ({"images": grey(1, 32, 32), "labels": [2], "class_names": ["a", "b"]}, "the label 2; exp"),
        ({"images": grey(1, 32, 32), "labels": [-1], "class_names": ["a"]}, "the label -1"),
        ({"images": grey(1, 32, 32), "labels": [0], "groups": ["a", "b"]}, "2 groups and 1 labels"),
        ({"images": grey(1, 32, 32), "labels": [0], "groups": [4]}, "groups is int64"),
        ({"images/deep": grey(1, 32, 32), "labels": [0]}, "'images' is no dataset of this file"),
    ],
)
def test_other_contents_are_sentences_and_nothing_is_written(tmp_path, datasets, message):
    path = file_with(tmp_path / "a.h5", **datasets)
    with pytest.raises(SourceError, match=message):
        unpack_hdf5(path, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_values_that_lie_in_other_files_are_refused(tmp_path):
    file_with(tmp_path / "other.h5", images=grey(1, 32, 32))
    link = h5py.ExternalLink(str(tmp_path / "other.h5"), "images")
    file_with(tmp_path / "link.h5", images=link, labels=[0])
    layout = h5py.VirtualLayout((1, 32, 32), np.uint8)
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "images", (1, 32, 32))
    (tmp_path / "raw.bin").write_bytes(bytes(32 * 32))
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        file.create_virtual_dataset("images", layout)
        file["labels"] = [0]
    with h5py.File(tmp_path / "external.h5", "w") as file:
        outside = [(str(tmp_path / "raw.bin"), 0, 32 * 32)]
        file.create_dataset("images", (1, 32, 32), np.uint8, external=outside)
        file["labels"] = [0]
    for name in ("link", "virtual", "external"):
        with pytest.raises(SourceError, match="'images' is no dataset of this file"):
            unpack_hdf5(tmp_path / f"{name}.h5", tmp_path / name)


def test_what_is_no_hdf5_file(tmp_path):
    (tmp_path / "a.h5").write_text("no")
    for name in ("a.h5", "b.h5"):
        with pytest.raises(SourceError, match=f"{name} cannot be read as HDF5"):
            unpack_hdf5(tmp_path / name, tmp_path / "a")


def test_images_and_labels_are_shuffled_together(manifest, tmp_path):
    export_hdf5(manifest, tmp_path / "listed.h5", FLANNEL, size_px=16)
    export_hdf5(manifest, tmp_path / "shuffled.h5", FLANNEL, size_px=16, shuffle_seed=1)
    with h5py.File(tmp_path / "listed.h5") as one, h5py.File(tmp_path / "shuffled.h5") as other:
        names, shuffled = (file["image_ids"].asstr()[:].tolist() for file in (one, other))
        assert shuffled != names
        order = [names.index(name) for name in shuffled]
        np.testing.assert_array_equal(other["images"][:], one["images"][:][order])
        np.testing.assert_array_equal(other["labels"][:], one["labels"][:][order])
