import numpy as np

from flannel.comparison.figures.weights import learner_weights
from flannel.comparison.results import read_comparison
from flannel.data.diagnosis import FLANNEL

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)


def test_learner_weights_are_means_by_true_diagnosis(study_files):
    study_files.run("ensemble/global/fold0", TRUTH, weights={"vgg19_bn": 0.8, "resnet152": -0.5})
    study_files.run("ensemble/global/fold1", TRUTH, weights={"vgg19_bn": 0.4, "resnet152": -0.5})
    axes = learner_weights(read_comparison(study_files.folder)).axes[0]
    assert np.allclose(axes.images[0].get_array(), [[0.6] * 4, [-0.5] * 4])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["vgg19_bn", "resnet152"]
