import pytest

from flannel.data.findings import MAPPINGS
from flannel.data.radiograph import read_levels
from flannel.data.sources import darkcovidnet

TOP = "X-Ray Image DataSet"
COUNTS = {"COVID-19": 3, "Normal": 2, "Bacterial pneumonia": 1}


def touched(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def known(folder):
    return {row.path.name: (row.patient_id, row.group) for row in darkcovidnet.rows(folder)}


@pytest.mark.parametrize("inside", ["", TOP])
def test_rows_of_the_phantom_twin(tmp_path, inside):
    darkcovidnet.write_phantoms(tmp_path, COUNTS, seed=0, size=64)
    rows = darkcovidnet.rows(tmp_path / inside)
    assert [(row.path.name, row.patient_id, row.group, row.finding) for row in rows] == [
        ("phantom-pneumonia-1-day0.jpeg", "phantom-pneumonia-1",
         "darkcovidnet-phantom-pneumonia-1", "Covid-19"),
        ("phantom-pneumonia-1-day1.jpeg", "phantom-pneumonia-1",
         "darkcovidnet-phantom-pneumonia-1", "Covid-19"),
        ("phantom-pneumonia-2-day0.jpeg", "phantom-pneumonia-2",
         "darkcovidnet-phantom-pneumonia-2", "Covid-19"),
        ("00001001_000.png", "00001001", "chestxray8-00001001", "No_findings"),
        ("00001001_001.png", "00001001", "chestxray8-00001001", "No_findings"),
        ("00002001_000.png", "00002001", "chestxray8-00002001", "Pneumonia"),
    ]  # fmt: skip
    assert {(row.source, row.view, row.split) for row in rows} == {("darkcovidnet", "AP or PA", "")}
    three = MAPPINGS["darkcovidnet"].diagnoses
    assert [three[row.finding] for row in rows] == ["COVID-19"] * 3 + ["No findings"] * 2 + [
        "Pneumonia"
    ]
    assert read_levels(rows[-1].path).bits == 8


def test_real_names_in_the_earlier_top_folder(tmp_path):
    touched(
        tmp_path / "Dataset",
        "Covid-19/covid-19-pneumonia-24-day6.jpg",
        "Covid-19/covid-19-pneumonia-24-day12.jpg",
        "Covid-19/covid-19-pneumonia-2.jpg",
        "Covid-19/covid-19-pneumonia-7-PA.jpg",
        "Covid-19/jkms-35-e79-g001-l-a.jpg",
        "Covid-19/jkms-35-e79-g001-l-b.jpg",
        "Covid-19/1-s2.0-S1684118220300682-main.pdf-002-a2.png",
        "Covid-19/nejmoa2001191_f3-PA.jpeg",
        "No_findings/00001684_006.png",
        "No_findings/00001684_010.png",
        "Pneumonia/00001684_011.png",
    )
    patients = {name: patient for name, (patient, _) in known(tmp_path).items()}
    assert patients == {
        "covid-19-pneumonia-24-day6.jpg": "covid-19-pneumonia-24",
        "covid-19-pneumonia-24-day12.jpg": "covid-19-pneumonia-24",
        "covid-19-pneumonia-2.jpg": "covid-19-pneumonia-2",
        "covid-19-pneumonia-7-PA.jpg": "covid-19-pneumonia-7",
        "jkms-35-e79-g001-l-a.jpg": "jkms-35-e79-g001",
        "jkms-35-e79-g001-l-b.jpg": "jkms-35-e79-g001",
        "1-s2.0-S1684118220300682-main.pdf-002-a2.png": "1-s2.0-S1684118220300682-main.pdf-002",
        "nejmoa2001191_f3-PA.jpeg": "nejmoa2001191_f3",
        "00001684_006.png": "00001684",
        "00001684_010.png": "00001684",
        "00001684_011.png": "00001684",
    }
    groups = {group for name, (_, group) in known(tmp_path).items() if name.startswith("0")}
    assert groups == {"chestxray8-00001684"}  # one patient, in both classes


@pytest.mark.parametrize("place", ["inside/covid-chestxray-dataset", "covid-chestxray-dataset"])
def test_ccx_beside_it_tells_the_patient_and_the_view(tmp_path, place):
    touched(tmp_path / "inside" / TOP, "Covid-19/a-day3.jpg", "Covid-19/b.jpg", "Covid-19/c.jpg")
    touched(tmp_path / "inside" / TOP, "No_findings/00000001_000.png", "Pneumonia/b.jpg")
    (tmp_path / place / "images").mkdir(parents=True)
    (tmp_path / place / "metadata.csv").write_text(
        "patientid,finding,view,modality,filename,sex,license\n"
        "17,COVID-19,AP Supine,X-ray,a-day3.jpg,M,CC BY\n"
        "9,Pneumonia/Viral/COVID-19,L,X-ray,b.jpg,F,\n"
    )
    rows = darkcovidnet.rows(tmp_path / "inside")
    assert [(r.path.name, r.patient_id, r.group, r.finding, r.view, r.licence) for r in rows] == [
        ("a-day3.jpg", "17", "ccx-17", "Covid-19", "AP Supine", "CC BY"),
        ("b.jpg", "9", "ccx-9", "Covid-19", "L", ""),
        ("c.jpg", "c", "darkcovidnet-c", "Covid-19", "AP or PA", ""),
        ("00000001_000.png", "00000001", "chestxray8-00000001", "No_findings", "AP or PA", ""),
        ("b.jpg", "b", "chestxray8-b", "Pneumonia", "AP or PA", ""),
    ]
    assert {row.source for row in rows} == {"darkcovidnet"}
    assert rows[0].path == tmp_path / "inside" / TOP / "Covid-19" / "a-day3.jpg"
