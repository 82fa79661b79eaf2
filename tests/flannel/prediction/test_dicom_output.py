"""DICOM objects of a prediction, read back: what they refer to, show and leave out."""

import warnings

import highdicom
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

from flannel.__main__ import main
from flannel.data.manifest import load_manifest
from flannel.data.mask import read_mask
from flannel.prediction import dicom_output

pytestmark = pytest.mark.slow


def as_dicom(levels, path, **tags):
    """Writes grey levels as a computed radiograph of a patient."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "CR", "CHEST", "PA"
    dataset.PatientID, dataset.PatientName = "17", "Doe^Jane"
    dataset.PatientAddress, dataset.InstitutionName = "1 Long Street", "A hospital"
    dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "MONOCHROME2", 1
    dataset.Rows, dataset.Columns = levels.shape
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = levels.tobytes() + bytes(levels.size % 2)
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.save_as(path)
    return dataset


@pytest.fixture
def levels(trained_study):
    with Image.open(load_manifest(trained_study / "manifest.csv")["path"][0]) as picture:
        return np.asarray(picture.convert("L"))


def predicted(study, places, out, *words):
    common = (f"--study={study}", f"--out={out}", "--dicom=true", "--doubtful=true")
    quick = ("--arm=patched", "--redraws=0", "--saliency=false")
    return main(["predict", *map(str, places), *common, *quick, *words])


def test_picture_and_lungs_refer_to_their_source_and_are_read_back(
    trained_study, levels, tmp_path, capsys
):
    source = as_dicom(levels, tmp_path / "chest.dcm")
    Image.fromarray(levels).save(tmp_path / "chest.png")
    places = [tmp_path / "chest.dcm", tmp_path / "chest.png"]
    assert predicted(trained_study, places, tmp_path / "out") == 0
    assert "1 radiographs are no DICOM files" in capsys.readouterr().out
    written = sorted((tmp_path / "out" / "dicom").iterdir())
    assert [path.name.split(".", 1)[1] for path in written] == ["lungs.dcm", "picture.dcm"]
    name = written[0].name.split(".", 1)[0]

    capture = pydicom.dcmread(written[1])
    with Image.open(tmp_path / "out" / "pictures" / f"{name}.png") as picture:
        np.testing.assert_array_equal(capture.pixel_array, np.asarray(picture.convert("RGB")))
    assert capture.SOPClassUID.name == "Secondary Capture Image Storage"
    (reference,) = capture.SourceImageSequence
    assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert "RESEARCH ONLY" in capture.SeriesDescription

    lungs = highdicom.seg.segread(written[0])
    (mask,) = lungs.get_pixels_by_source_instance([source.SOPInstanceUID])
    expected = read_mask(tmp_path / "out" / "masks" / f"{name}.png")
    np.testing.assert_array_equal(mask[:, :, 0] > 0, expected)
    assert lungs.get_segment_description(1).segmented_property_type.meaning == "Lung"

    for instance in (capture, lungs):
        assert instance.StudyInstanceUID == source.StudyInstanceUID
        assert (instance.PatientID, str(instance.PatientName)) == ("17", "Doe^Jane")
        for left_out in ("PatientAddress", "InstitutionName", "BodyPartExamined"):
            assert left_out not in instance
    uids = [
        uid
        for instance in (source, capture, lungs)
        for uid in (instance.SOPInstanceUID, instance.SeriesInstanceUID)
    ]
    assert len(set(uids)) == 6


def test_what_cannot_be_written_is_a_sentence(trained_study, levels, tmp_path, capsys, monkeypatch):
    place = [tmp_path / "a.dcm"]
    as_dicom(levels, place[0], StudyInstanceUID="", SeriesInstanceUID="")
    assert predicted(trained_study, place, tmp_path / "a") == 0
    printed = capsys.readouterr().out
    assert "it has no Study Instance UID, Series Instance UID to refer to" in printed
    assert not (tmp_path / "a" / "dicom").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        as_dicom(levels, place[0], PatientBirthDate="tomorrow")
    assert predicted(trained_study, place, tmp_path / "b") == 0
    assert predicted(trained_study, place, tmp_path / "c", "--pictures=false") == 1
    assert "leave --pictures false out" in capsys.readouterr().err
    monkeypatch.setattr(dicom_output, "find_spec", lambda name: None)
    assert predicted(trained_study, place, tmp_path / "c") == 1
    assert "patched-flannel[dicom]" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()
