import numpy as np
from PIL import Image

from flannel.data.findings import MAPPINGS
from flannel.data.radiograph import read_radiograph
from flannel.data.sources import jsrt, jsrt_radiographs


def test_phantoms_are_listed_with_what_the_name_tells(tmp_path):
    jsrt_radiographs.write_phantoms(tmp_path / "All247images", normal=2, nodules=1, seed=0)
    assert jsrt_radiographs.is_here(tmp_path)
    assert jsrt_radiographs.is_here(tmp_path / "All247images")
    rows = jsrt_radiographs.rows(tmp_path)
    assert [(r.path.name, r.patient_id, r.group, r.finding, r.view) for r in rows] == [
        ("JPCLN001.IMG", "JPCLN001", "jsrt-JPCLN001", "lung nodule", "PA"),
        ("JPCNN001.IMG", "JPCNN001", "jsrt-JPCNN001", "no nodule", "PA"),
        ("JPCNN002.IMG", "JPCNN002", "jsrt-JPCNN002", "no nodule", "PA"),
    ]
    assert {(row.source, row.split, row.unfit) for row in rows} == {("jsrt", "", "")}
    assert MAPPINGS["flannel"].diagnoses["no nodule"] == "Normal"
    assert "lung nodule" in MAPPINGS["flannel"].left_out
    assert read_radiograph(rows[0].path).shape == (1, 2048, 2048)


def test_masks_are_no_radiographs_and_raw_files_go_before_copies(tmp_path):
    jsrt.write_phantoms(tmp_path, 1, seed=0)
    (tmp_path / "png").mkdir()
    (tmp_path / "masks").mkdir()
    (tmp_path / "Left_Lung").mkdir()
    copy = Image.fromarray(np.zeros((64, 64), np.uint8))
    for name in ("png/jpcnn001.PNG", "png/JPCLN154.png", "masks/JPCLN001.png"):
        copy.save(tmp_path / name)
    copy.save(tmp_path / "Left_Lung" / "JPCLN002.png")
    names = [row.path.relative_to(tmp_path).as_posix() for row in jsrt_radiographs.rows(tmp_path)]
    assert names == ["png/JPCLN154.png", "JPCNN001.IMG"]


def test_other_folders_are_not_this_set(tmp_path):
    (tmp_path / "JPCNN-notes.txt").touch()
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "JPCNN001.png").touch()
    assert not jsrt_radiographs.is_here(tmp_path)
