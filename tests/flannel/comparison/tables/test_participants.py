from flannel.comparison.tables.participants import participants_tables
from flannel.data.diagnosis import FLANNEL

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)


def tables_of(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    tables = participants_tables(study_files.folder, FLANNEL, [0], "patched minus global")
    return {table.name: table for table in tables}


def test_a_study_of_predictions_alone_states_no_design(study_files):
    tables = tables_of(study_files)
    assert list(tables) == ["design"]
    cells = dict(line.cells for line in tables["design"].lines)
    assert cells["split protocol"] == cells["seed of the split"] == "not stated"
    assert cells["primary comparison"] == "patched minus global"
    assert "high risk of bias" in tables["design"].caption


def test_flow_and_participants_are_read_from_the_manifest(study_files):
    study_files.pictures()
    tables = tables_of(study_files)
    assert [line.cells[:2] for line in tables["flow"].lines[:2]] == [
        ("found in the data sets", "not stated"), ("left out", "not stated"),
    ]  # fmt: skip
    rows = {line.cells[0]: line.cells for line in tables["flow"].lines}
    assert rows["test"][1] == "8"
    assert rows["test"][4:] == ("2", "2", "2", "2")
    people = [line for line in tables["participants"].lines if line.cells[0] == "test"]
    assert people[0].cells[:3] == ("test", COVID, "2")
    assert people[0].cells[4:6] == ("not stated", "0 / 0 / 2")
    assert set(tables["flow"].numbers["fold"]) == {0}
