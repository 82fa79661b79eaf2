import os
from pathlib import Path

import pytest

from flannel.data.findings import SourceError
from flannel.data.sources import ccx

REAL = Path(os.environ.get("FLANNEL_REAL_DATA", Path(__file__).parents[5] / "shared" / "data"))
FOLDER = REAL / "radiographs" / "classification" / "covid-chestxray-dataset"
HEADERS = {
    "March 2020": "patientid,offset,sex,age,finding,survival,view,modality,date,location,"
    "filename,doi,url,license,clinical notes,other notes,",
    "April 2020": "Patientid,offset,sex,age,finding,survival,temperature,pO2 saturation,"
    "wbc count,neutrophil count,lymphocyte count,view,modality,date,location,folder,filename,"
    "DOI,URL,License,Clinical notes,Other notes,,",
    "read-me": "PatientID,Offset,Sex,Age,Finding,Survival,View,Modality,Date,Location,"
    "Filename,doi,url,License,Clinical notes,Other notes",
    "final": ",".join(ccx.COLUMNS),
}


def write(folder, header, *records):
    """Writes metadata.csv with these values by column, whatever the header's spelling."""
    columns = [name.lower().replace(" ", "").replace("_", "") for name in header.split(",")]
    lines = [",".join(f'"{record.get(name, "")}"' for name in columns) for record in records]
    (folder / "images").mkdir(parents=True)
    (folder / "metadata.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_columns_are_found_by_name_in_every_spelling(tmp_path, header):
    write(
        tmp_path,
        header,
        {"patientid": "313b", "offset": "3", "sex": "F", "age": "61", "view": "AP Supine",
         "finding": "Pneumonia/Viral/Herpes ", "modality": "X-ray", "filename": "a b.jpg",
         "license": "CC BY", "clinicalnotes": "fever, cough", "": "stray"},
        {"patientid": "", "finding": "COVID-19, ARDS", "view": "Axial", "modality": "CT",
         "filename": "c.png"},
    )  # fmt: skip
    first, second = ccx.rows(tmp_path)
    assert first == ccx.SourceRow(
        source="ccx",
        path=tmp_path / "images" / "a b.jpg",
        patient_id="313b",
        group="ccx-313b",
        finding="Pneumonia/Viral/Herpes",
        view="AP Supine",
        age="61",
        sex="F",
        licence="CC BY",
    )
    assert (second.patient_id, second.group) == ("unnamed-c.png", "ccx-unnamed-c.png")
    assert (second.finding, second.unfit, second.licence) == ("COVID-19, ARDS", "modality CT", "")


def test_a_byte_order_mark_and_short_or_long_lines_do_no_harm(tmp_path):
    (tmp_path / "images").mkdir()
    lines = "patientid,finding,view,modality,filename,\n1,SARS,PA\n2,SARS,PA,X-ray,b.png,x,y,z\n"
    (tmp_path / "metadata.csv").write_text(lines, encoding="utf-8-sig")
    short, long = ccx.rows(tmp_path)
    assert (short.patient_id, short.unfit) == ("1", "modality not written")
    assert (long.patient_id, long.path.name, long.unfit) == ("2", "b.png", "")


def test_a_table_without_rows_or_columns_is_refused(tmp_path):
    write(tmp_path, "patientid,finding,view,modality,filename")
    assert ccx.rows(tmp_path) == []
    (tmp_path / "metadata.csv").write_text("")
    with pytest.raises(SourceError, match=r"lacks the column patientid, .* it has none"):
        ccx.rows(tmp_path)


def test_an_image_has_the_finding_of_its_own_row(tmp_path):
    """The original code gives each image all labels of its patient and day."""
    covid, normal = "Pneumonia/Viral/COVID-19", "No Finding"
    common = {"patientid": "325", "offset": "", "view": "PA", "modality": "X-ray"}
    write(
        tmp_path,
        HEADERS["final"],
        {**common, "finding": covid, "filename": "a.png"},
        {**common, "finding": normal, "filename": "b.png"},
    )
    findings = {row.path.name: row.finding for row in ccx.rows(tmp_path)}
    assert findings == {"a.png": covid, "b.png": normal}


@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no radiographs in {FOLDER}")
def test_the_real_copy_of_2020():
    rows = ccx.rows(FOLDER)
    assert len(rows) == 104
    assert sum(row.unfit == "modality CT" for row in rows) == 15
    assert sum(not row.unfit and row.view == "L" for row in rows) == 8
    first = rows[0]
    assert (first.patient_id, first.group, first.finding, first.view, first.age, first.sex) == (
        "17", "ccx-17", "COVID-19", "AP", "54", "M"
    )  # fmt: skip
    assert (first.path.name, first.licence) == ("jkms-35-e79-g001-l-a.jpg", "CC BY-NC-SA")
