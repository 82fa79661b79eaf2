"""What DICOM headers say, with and without what stands before them."""

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from flannel.data.file_checks import RadiographError
from flannel.data.headers import header_of
from flannel.data.manifest import build_manifest
from flannel.data.radiograph import read_levels
from flannel.data.walk import is_image

FORMS = ("whole", "no preamble", "meta first", "data set", "prefix without meta")


def code(value, meaning=""):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def write(path, form="whole", syntax=ExplicitVRLittleEndian, seed=0, **attributes):
    """Writes a radiograph of 40 x 40 pixels and 12 bits, with or without what precedes it."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3"
    dataset.Modality = "DX"
    dataset.Rows = dataset.Columns = 40
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    levels = np.random.default_rng(seed).integers(0, 4096, (40, 40)).astype(np.uint16)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    dataset.PixelData = levels.astype(f"{order}u2").tobytes()
    dataset["PixelData"].VR = "OW"
    for name, value in attributes.items():
        setattr(dataset, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
    whole = path.read_bytes()
    length = int.from_bytes(whole[140:144], "little")  # of the file meta information
    start = {"whole": b"", "prefix without meta": whole[:132]}.get(form, b"")
    skipped = {"no preamble": 128, "meta first": 132, "whole": 0}.get(form, 144 + length)
    path.write_bytes(start + whole[skipped:])
    return path


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_files_are_read_without_what_stands_before_them(tmp_path, form, syntax):
    if form == "prefix without meta" and syntax == ExplicitVRBigEndian:
        pytest.skip("nothing in such a file says that it is big endian")
    expected = read_levels(write(tmp_path / "whole.dcm", syntax=syntax))
    path = write(tmp_path / "IM0001", form, syntax, ViewPosition="PA", PatientID="7")
    assert is_image(path)
    read = read_levels(path)
    assert (read.levels == expected.levels).all()
    assert read.bits == expected.bits
    assert header_of(path).view == "PA"


def test_compressed_pixels_without_file_meta_are_a_sentence(tmp_path):
    path = write(tmp_path / "a.dcm", "data set")
    dataset = pydicom.dcmread(path, force=True)
    dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"
    dataset.save_as(path, implicit_vr=False, little_endian=True)
    with pytest.raises(RadiographError, match="file meta information, which names the compression"):
        read_levels(path)


@pytest.mark.parametrize(
    ("attributes", "reasons"),
    [
        ({"Modality": "CT"}, ("modality CT, not a radiograph",)),
        ({"BodyPartExamined": "HAND"}, ("body part HAND, not the chest",)),
        ({"BodyPartExamined": "L SPINE"}, ("body part L SPINE, not the chest",)),
        ({"BodyPartExamined": "TORAX"}, ()),
        ({"BodyPartExamined": "TORACE"}, ()),
        ({"BodyPartExamined": "KLATKA"}, ()),
        ({"BodyPartExamined": "RIB CHEST"}, ()),
        ({"ViewPosition": "LL"}, ("a lateral view by its header",)),
        ({"ViewPosition": "RLO"}, ("an oblique view by its header",)),
        ({"ViewCodeSequence": [code("399067008")]}, ("a lateral view by its header",)),
        ({"ViewCodeSequence": [code("272479007")]}, ()),
        ({"PatientOrientation": ["P", "F"]}, ("a lateral view by its header",)),
        ({"PatientOrientation": ["L", "F"]}, ()),
        (
            {"ViewPosition": "PA", "PatientOrientation": ["A", "F"]},
            ("a lateral view by its header",),
        ),
    ],
)  # fmt: skip
def test_what_speaks_against_a_front_view_of_a_chest(tmp_path, attributes, reasons):
    header = header_of(write(tmp_path / "a.dcm", **attributes))
    assert header.reasons_against == reasons
    assert header.has_unknown_part == (attributes.get("BodyPartExamined") == "KLATKA")


EMPTY = {"ViewPosition": "", "BodyPartExamined": "", "PatientID": "", "PatientOrientation": ""}


def test_empty_attributes_are_absent(tmp_path):
    header = header_of(write(tmp_path / "a.dcm", **EMPTY, ViewCodeSequence=[], Modality=""))
    assert header.reasons_against == ()
    assert (header.view, header.patient, header.has_unknown_part) == ("", "", False)


def test_other_files_have_no_header(tmp_path):
    (tmp_path / "text").write_text("a text of more than a hundred and twenty-eight bytes " * 4)
    (tmp_path / "cut").write_bytes(write(tmp_path / "a.dcm").read_bytes()[:150])
    assert header_of(tmp_path / "text") is None
    assert header_of(tmp_path / "absent") is None
    assert header_of(tmp_path / "cut") in (None, header_of(tmp_path / "cut"))


def cohort(folder, rows):
    for number, (place, attributes) in enumerate(rows):
        write(folder / place / f"{number}.dcm", seed=number, **attributes)
    return folder


def test_a_manifest_leaves_out_by_header_and_joins_by_patient_id(tmp_path):
    secret = "MRN-4711"
    rows = [
        ("COVID-19", {"ViewPosition": "PA", "PatientID": secret}),
        ("COVID-19", {"ViewPosition": "AP", "PatientID": secret}),
        ("COVID-19", {"Modality": "CT", "PatientID": secret}),
        ("Normal", {"PatientID": "2"}),
        ("Normal", {"PatientID": "ANONYMOUS"}),
        ("Normal", {"PatientID": "ANONYMOUS", "ViewPosition": "LL"}),
        ("Normal", {"PatientID": "anonymous"}),
        ("Normal", {"PatientID": "2", "IssuerOfPatientID": "elsewhere"}),
    ]
    table, report = build_manifest(cohort(tmp_path / "data", rows), cache=tmp_path / "files.csv")
    by_name = table.set_index(table["path"].str.extract(r"(\d+)\.dcm$")[0])
    assert sorted(by_name.index) == ["0", "1", "3", "4", "6", "7"]
    assert by_name["view"].to_dict() == {
        "0": "PA", "1": "AP", "3": "AP or PA", "4": "AP or PA", "6": "AP or PA", "7": "AP or PA"
    }  # fmt: skip
    assert by_name["group"]["0"] == by_name["group"]["1"]
    assert by_name["group"].nunique() == 5
    text = str(report)
    assert "1 groups were joined by Patient ID" in text
    assert "1 left out, modality CT, not a radiograph: COVID-19/2.dcm" in text
    assert "1 left out, a lateral view by its header: Normal/5.dcm" in text
    written = table.to_csv() + report.text() + (tmp_path / "files.csv").read_text() + repr(report)
    assert secret not in written
    assert secret not in repr(header_of(tmp_path / "data" / "COVID-19" / "0.dcm"))


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["COVID-19", "Normal"]),
            st.fixed_dictionaries(
                {
                    "PatientID": st.sampled_from(["a", "b", "c", "", "ANON"]),
                    "ViewPosition": st.sampled_from(["PA", "AP", "", "LL", "LATERAL"]),
                    "Modality": st.sampled_from(["DX", "CR", "CT", ""]),
                }
            ),
        ),
        min_size=2,
        max_size=8,
    )
)
def test_files_are_one_group_exactly_where_one_patient_is_named(tmp_path_factory, rows):
    rows = [("COVID-19", {"PatientID": "x"}), ("Normal", {"PatientID": "y"}), *rows]
    table, _ = build_manifest(cohort(tmp_path_factory.mktemp("data"), rows))
    kept = {int(path.rpartition("/")[2][:-4]): group for path, group in zip(
        table["path"], table["group"], strict=True)}  # fmt: skip
    assert set(kept) == {
        number
        for number, (_, words) in enumerate(rows)
        if words.get("ViewPosition") not in ("LL", "LATERAL") and words.get("Modality") != "CT"
    }
    for one, group in kept.items():
        for other, second in kept.items():
            ids = [rows[number][1]["PatientID"] for number in (one, other)]
            same = one == other or (ids[0] == ids[1] and ids[0] in ("a", "b", "c", "x", "y"))
            assert (group == second) == same
