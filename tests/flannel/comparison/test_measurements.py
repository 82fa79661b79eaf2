from flannel.data.diagnosis import FLANNEL

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)
TWO_WRONG = (COVID, VIRAL, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, COVID)


def names(pairs):
    return [(pair.first.name, pair.second.name) for pair in pairs]


def test_rows_stand_in_the_order_of_the_tables(study_files):
    study_files.run("shortcut/size_and_border/fold0", TWO_WRONG)
    for arm in ("patched", "global"):
        study_files.run(f"ensemble/{arm}/fold0", TRUTH)
        study_files.run(f"base/{arm}/vgg19_bn/fold0", TWO_WRONG)
    measurements = study_files.measured()
    assert [row.name for row in measurements.rows] == [
        "global vgg19_bn", "global FLANNEL", "patched vgg19_bn", "patched FLANNEL",
        "shortcut size and border",
    ]  # fmt: skip
    assert measurements.row("global", "FLANNEL").measured.interval("macro", "f1").value == 1
    assert measurements.row("masked", "FLANNEL") is None
    assert names(measurements.pairs) == [
        ("global FLANNEL", "patched FLANNEL"),
        ("global vgg19_bn", "patched vgg19_bn"),
        ("global vgg19_bn", "global FLANNEL"),
        ("patched vgg19_bn", "patched FLANNEL"),
        ("shortcut size and border", "global FLANNEL"),
        ("shortcut size and border", "patched FLANNEL"),
    ]
    assert [pair.family for pair in measurements.pairs] == [
        "primary", "arms", "learners", "learners", "shortcuts", "shortcuts",
    ]  # fmt: skip
    assert measurements.primary is measurements.pairs[0]


def test_without_ensembles_the_learners_are_set_against_the_baseline(study_files):
    study_files.run("shortcut/size_and_border/fold0", TWO_WRONG)
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    assert names(study_files.measured().pairs) == [("shortcut size and border", "global vgg19_bn")]


def test_rows_without_a_common_fold_are_no_pair(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    study_files.run("base/patched/vgg19_bn/fold1", TRUTH)
    assert study_files.measured().pairs == ()


def test_calibration_leaves_out_folds_without_validation_rows(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    folder = study_files.run("base/global/vgg19_bn/fold1", TRUTH)
    text = (folder / "predictions.csv").read_text()
    (folder / "predictions.csv").write_text(text.replace(",val,", ",train,"))
    (row,) = study_files.measured().rows
    assert list(row.calibrations) == [0]


def test_what_learns_out_of_fold_is_set_against_itself_in_sample(study_files):
    study_files.run("ensemble/global/fold0", TRUTH)
    for form in ("logistic", "logistic_out_of_fold", "flannel_out_of_fold"):
        study_files.run(f"ensemble/global/{form}/fold0", TRUTH)
    assert names(study_files.measured().pairs) == [
        ("global FLANNEL", "global logistic"),
        ("global FLANNEL", "global logistic out of fold"),
        ("global logistic", "global logistic out of fold"),
        ("global FLANNEL", "global FLANNEL out of fold"),
    ]
