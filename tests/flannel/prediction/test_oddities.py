"""What files say against themselves: colours, and words of a DICOM header."""

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from flannel.data.radiograph import read_levels
from flannel.prediction.incoming import oddities


def write_dicom(path, **words):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.Rows = dataset.Columns = 40
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = np.arange(1600, dtype=np.uint8).tobytes()
    for name, value in words.items():
        setattr(dataset, name, value)
    pydicom.dcmwrite(path, dataset)
    return path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({}, []),
        ({"Modality": "DX", "BodyPartExamined": "CHEST", "ViewPosition": "PA"}, []),
        ({"Modality": "CT"}, ["modality CT, not a radiograph"]),
        ({"Modality": "CR", "BodyPartExamined": "HAND"}, ["body part HAND, not the chest"]),
        ({"Modality": "DX", "ViewPosition": "LL"}, ["a lateral view by its header"]),
    ],
)
def test_a_header_tells_what_is_no_front_view_of_a_chest(tmp_path, words, expected):
    path = write_dicom(tmp_path / "scan", **words)
    assert read_levels(path).levels.shape == (40, 40)
    assert list(oddities(path)) == expected


@pytest.mark.slow
def test_a_photograph_is_in_colour_and_an_annotated_radiograph_is_not(tmp_path):
    from sklearn.datasets import load_sample_images  # which takes as long as a test

    path = tmp_path / "picture.png"
    for photograph in load_sample_images().images:
        Image.fromarray(photograph).save(path)
        assert list(oddities(path)) == ["a picture in colour"]
        Image.fromarray(photograph).convert("L").convert("RGB").save(path)
        assert list(oddities(path)) == []
    grey = np.full((100, 100, 3), 120, np.uint8)
    grey[:5, :50] = (255, 0, 0)  # an arrow: 2.5 % of the pixels
    Image.fromarray(grey).save(path)
    assert list(oddities(path)) == []


def test_raw_files_and_what_cannot_be_read_say_nothing(tmp_path):
    (tmp_path / "JPCLN001.IMG").write_bytes(bytes(100))
    (tmp_path / "text.png").write_text("no picture")
    assert list(oddities(tmp_path / "JPCLN001.IMG")) == []
    assert list(oddities(tmp_path / "text.png")) == []
