from flannel.comparison.tables.cohort import table_1, table_2


def test_table_1_stands_beside_the_papers(study_files):
    assert table_1(study_files.folder) is None
    measures = {"train/radiographs": 30, "val/radiographs": 5, "val/jaccard": 0.91234}
    study_files.json("segmentation/lungs/metrics.json", measures)
    table = table_1(study_files.folder)
    assert [line.cells for line in table.lines] == [
        ("FC-DenseNet103, paper 004", "197", "50", "–", "0.9339", "–"),
        ("lungs", "30", "5", "–", "0.9123", "–"),
    ]


def test_table_2_counts_by_source_view_and_split(study_files):
    assert table_2(study_files.folder) is None
    study_files.pictures()
    path = study_files.folder / "manifest.csv"
    path.write_text(path.read_text().replace("made-up", "ccx"))
    table = table_2(study_files.folder)
    assert [line.cells for line in table.lines] == [
        ("source", "CCX data", "8 (554)", "2 (478)", "2 (16)", "2 (42)", "2 (18)"),
        ("view", "unknown", "8", "2", "2", "2", "2"),
        ("split", "Testing", "8 (1,283)", "2 (100)", "2 (339)", "2 (531)", "2 (313)"),
        ("", "Total", "8 (6,410)", "2 (478)", "2 (1,509)", "2 (2,822)", "2 (1,601)"),
    ]
