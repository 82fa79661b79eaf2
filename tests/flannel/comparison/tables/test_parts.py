from flannel.comparison.tables.parts import parts_table
from flannel.data.diagnosis import FLANNEL

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)
# F1 by hand: COVID-19 1/2, viral 4/5, bacterial 1, normal 2/3, macro 89/120.
TWO_WRONG = (COVID, VIRAL, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, COVID)


def test_each_source_and_view_is_measured_for_itself(study_files):
    study_files.pictures()
    study_files.run("ensemble/global/fold0", TWO_WRONG)
    manifest = study_files.folder / "manifest.csv"
    text = manifest.read_text()
    for number in (0, 1):  # both COVID-19 radiographs come from elsewhere
        text = text.replace(f"{number}.png,made-up", f"{number}.png,elsewhere")
    manifest.write_text(text)
    table = parts_table(study_files.measured())
    assert [line.cells[:6] for line in table.lines] == [
        ("source", "elsewhere", "2", "1", "global", "FLANNEL"),
        ("source", "made-up", "6", "3", "global", "FLANNEL"),
        ("view", "unknown", "8", "4", "global", "FLANNEL"),
    ]
    # One of two is right, so that F1 is 2/3, which is the mean over one diagnosis.
    assert table.lines[0].cells[6].startswith("0.667")
    assert table.lines[0].cells[8].startswith("0.500")
    assert table.lines[1].cells[7] == "–"


def test_without_a_manifest_there_are_no_parts(study_files):
    study_files.run("ensemble/global/fold0", TRUTH)
    assert parts_table(study_files.measured()) is None
