import pytest

from flannel.comparison.costs import costs
from flannel.data.diagnosis import FLANNEL
from flannel.study.contents import StudyError

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)


def test_costs_are_added_by_stage_and_arm(study_files):
    study_files.run("base/patched/vgg19_bn/fold0", TRUTH)
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    study_files.run("base/global/resnet152/fold0", TRUTH)
    study_files.run("ensemble/global/fold0", TRUTH)
    lungs = {"seconds": 600, "train_seconds": 540, "predict_seconds": 60, "device": "cpu"}
    study_files.json("segmentation/lungs/cost.json", lungs)
    found = costs(study_files.folder)
    assert [(one.stage, one.arm, one.runs, one.minutes) for one in found] == [
        ("segmentation", "", 1, 10),
        ("base", "global", 2, 3),
        ("base", "patched", 1, 1.5),
        ("ensemble", "global", 1, 1.5),
    ]
    assert (found[0].training, found[0].prediction) == (9, 1)
    assert found[1].minutes_per_run == 1.5


def test_a_cost_without_seconds_is_refused(study_files):
    study_files.json("segmentation/lungs/cost.json", {"seconds": "long"})
    with pytest.raises(StudyError, match="no number of seconds, but 'long'"):
        costs(study_files.folder)


def test_arms_are_compared_by_the_runs_that_both_have(study_files):
    for place, seconds, device in (
        ("global/vgg19_bn/fold0", 60, "cpu"),
        ("global/resnet152/fold0", 600, "cpu"),
        ("global/densenet161/fold0", 600, "V100"),
        ("patched/vgg19_bn/fold0", 150, "cpu"),
        ("patched/densenet161/fold0", 60, "cpu"),
    ):
        study_files.json(f"base/{place}/cost.json", {"seconds": seconds, "device": device})
    whole, patches = costs(study_files.folder)
    assert whole.ratio == 1
    assert patches.ratio == 2.5
