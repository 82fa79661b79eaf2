import csv
import os
import re
from collections import Counter
from pathlib import Path

import pytest

from flannel.data.sources import kcx

REAL = Path(os.environ.get("FLANNEL_REAL_DATA", Path(__file__).parents[5] / "shared" / "data"))
LIST = REAL / "original_lists" / "cohort.csv"


def touched(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_every_kind_of_name(tmp_path):
    touched(
        tmp_path / "chest_xray",
        "train/PNEUMONIA/person23_bacteria_100.jpeg",
        "train/PNEUMONIA/person23_virus_53.jpeg",
        "train/PNEUMONIA/person1618_virus_2805_1.jpeg",
        "val/PNEUMONIA/person1946_bacteria_4874.jpeg",
        "test/NORMAL/IM-0001-0001.jpeg",
        "train/NORMAL/IM-0530-0002-0001.jpeg",
        "train/NORMAL/NORMAL2-IM-0001-0001.jpeg",
        "train/NORMAL/NORMAL2-IM-1188-0001-0002.jpeg",
        "train/NORMAL/.DS_Store.jpeg",
        "train/NORMAL/notes.txt",
        "test/PNEUMONIA/renamed.jpeg",
    )
    found = [(r.path.stem, r.patient_id, r.group, r.finding, r.split) for r in kcx.rows(tmp_path)]
    virus, bacteria, dev = "PNEUMONIA/virus", "PNEUMONIA/bacteria", "development"
    assert found == [
        ("IM-0530-0002-0001", "IM-530", "kcx-IM-530", "NORMAL", dev),
        ("NORMAL2-IM-0001-0001", "NORMAL2-IM-1", "kcx-NORMAL2-IM-1", "NORMAL", dev),
        ("NORMAL2-IM-1188-0001-0002", "NORMAL2-IM-1188", "kcx-NORMAL2-IM-1188", "NORMAL", dev),
        ("person1618_virus_2805_1", "virus-1618", "kcx-person1618", virus, dev),
        ("person23_bacteria_100", "bacteria-23", "kcx-person23", bacteria, dev),
        ("person23_virus_53", "virus-23", "kcx-person23", virus, dev),
        ("person1946_bacteria_4874", "bacteria-1946", "kcx-person1946", bacteria, dev),
        ("IM-0001-0001", "IM-1", "kcx-IM-1", "NORMAL", "test"),
        ("renamed", "renamed", "kcx-renamed", "PNEUMONIA", "test"),
    ]
    assert {(row.view, row.licence) for row in kcx.rows(tmp_path)} == {("AP", "CC BY 4.0")}


@pytest.mark.slow
@pytest.mark.skipif(not LIST.is_file(), reason=f"no {LIST}")
def test_the_whole_set_by_its_names(tmp_path):
    with LIST.open(newline="") as stream:
        names = [row["file"] for row in csv.DictReader(stream) if row["source"] == "KCX"]
    rows = kcx.rows(touched(tmp_path, *names))
    patterns = Counter(re.sub(r"\d+", "#", row.path.stem) for row in rows)
    assert patterns == {
        "person#_bacteria_#": 2780,
        "person#_virus_#": 1492,
        "person#_virus_#_#": 1,
        "NORMAL#-IM-#-#": 858,
        "IM-#-#": 582,
        "IM-#-#-#": 84,
        "NORMAL#-IM-#-#-#": 59,
    }
    assert Counter((row.finding, row.split) for row in rows) == {
        ("NORMAL", "development"): 1341 + 8,
        ("NORMAL", "test"): 234,
        ("PNEUMONIA/bacteria", "development"): 2530 + 8,
        ("PNEUMONIA/bacteria", "test"): 242,
        ("PNEUMONIA/virus", "development"): 1345,
        ("PNEUMONIA/virus", "test"): 148,
    }
    # The numbers of patients as counted from the same list before (1,437 + 1,216 + 1,444).
    strict = {(row.finding, row.patient_id) for row in rows}
    assert Counter(finding for finding, _ in strict) == {
        "PNEUMONIA/bacteria": 1437, "PNEUMONIA/virus": 1216, "NORMAL": 1444
    }  # fmt: skip
    persons = {re.match(r"person(\d+)", row.path.stem)[1] for row in rows if "p" in row.path.stem}
    assert len({row.group for row in rows}) == len(persons) + 1444
    # Same-class numbers never cross Kaggle's own split.
    places = {}
    for row in rows:
        places.setdefault(row.patient_id, set()).add(row.split)
    assert max(len(splits) for splits in places.values()) == 1
