from flannel.comparison.radiograph_figures.disagreements import disagreements, first_disagreement
from flannel.comparison.results import read_comparison
from flannel.data.diagnosis import FLANNEL

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)
# Wrong on test-1 and test-7, and on test-0, as the other.
ONE = (NORMAL, VIRAL, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, COVID)
# Wrong on test-2.
OTHER = (NORMAL, COVID, NORMAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)


def two_arms(study_files, learner="base/{}/vgg19_bn"):
    for arm, predicted in (("global", ONE), ("patched", OTHER)):
        study_files.run(f"{learner.format(arm)}/fold0", predicted)
    return read_comparison(study_files.folder)


def test_radiographs_are_listed_that_one_arm_alone_tells(study_files):
    found = first_disagreement(two_arms(study_files))
    assert list(found.table["image_id"]) == ["test-1", "test-2", "test-7"]
    assert list(found.only_right("first")["image_id"]) == ["test-2"]
    assert list(found.only_right("second")["image_id"]) == ["test-1", "test-7"]
    assert found.table["gap"].round(6).tolist() == [0.6, -0.6, 0.6]


def test_the_widest_gap_comes_first(study_files):
    comparison = two_arms(study_files)
    second = comparison.results[1].predictions
    second.loc[second["image_id"] == "test-7", f"p_{NORMAL}"] = 0.9
    only = first_disagreement(comparison).only_right("second")
    assert list(only["image_id"]) == ["test-7", "test-1"]


def test_the_ensemble_is_compared_before_learners(study_files):
    two_arms(study_files)
    found = first_disagreement(two_arms(study_files, "ensemble/{}"))
    assert found.first.run.learner == "FLANNEL"


def test_a_row_for_each_arm_that_is_right_alone(study_files, store):
    figure = disagreements(store, first_disagreement(two_arms(study_files)))
    assert figure.get_suptitle() == (
        "vgg19_bn fold 0: global and patched differ on 3 of 8 test radiographs"
    )
    assert len(figure.axes) == 8
    assert figure.axes[0].get_title() == f"true:\n{VIRAL}"
    assert figure.axes[0].get_xlabel() == (f"global: {VIRAL} 0.70\npatched: {NORMAL} 0.70\ntest-2")
    assert figure.axes[4].get_ylabel() == "only patched right\n(2 of 2)"


def test_one_arm_has_nobody_to_differ_from(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    assert first_disagreement(read_comparison(study_files.folder)) is None
