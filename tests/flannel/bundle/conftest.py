"""A small bundle, of networks with random weights."""

import shutil

import pytest
import torch
import yaml

from flannel.bundle.write import write_bundle
from flannel.data.diagnosis import FLANNEL
from flannel.data.store.layout import Settings
from flannel.ensemble import NeuralWeightModule
from flannel.metrics.calibration import Temperature
from flannel.networks import ImageNetNetwork
from flannel.prediction.trained import Trained, TrainedEnsemble, TrainedLearner
from segmentation.checkpoint import load_segmenter
from segmentation.fc_densenet import FCDenseNet
from segmentation.masks.pipeline import MaskOptions

SMALL = {"architecture": "shufflenet_v2_x0_5", "classes": 4, "weights": "random"}
DENSE = {"in_channels": 1, "classes": 2, "down": [1], "bottleneck": 1, "up": [1], "growth": 4}


@pytest.fixture(scope="module")
def _trained(tmp_path_factory):
    """Two learners, what joins them, and a segmenter with its run's files; random weights."""
    torch.manual_seed(1)

    def learner(arm, temperature):
        state = ImageNetNetwork(**SMALL).state_dict()
        return TrainedLearner(
            arm=arm,
            learner="small",
            network={"class_path": "flannel.networks.ImageNetNetwork", "init_args": SMALL},
            data={"arm": arm, "size_px": 32, "resize_px": 36, "window_px": 16},
            vote="share" if arm == "patched" else "mean_softmax",
            views_at_once=8,
            precision="32-true",
            weights=lambda: state,
            temperature=temperature,
            identity=f"study {arm}",
        )

    joined = NeuralWeightModule(2, 4)
    path = "flannel.ensemble.combinations.NeuralWeightModule"
    ensemble = TrainedEnsemble(
        arm="fused",
        learner="FLANNEL",
        learners=("global/small", "patched/small"),
        combination={"class_path": path, "init_args": {"weights": "tanh"}},
        classes=4,
        weights=joined.state_dict,
        temperature=None,
        identity="study fused",
    )
    run = tmp_path_factory.mktemp("segmentation")
    network = FCDenseNet(1, 2, (1,), 1, (1,), growth=4)
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state}, run / "best.ckpt")
    specification = {"class_path": "segmentation.fc_densenet.FCDenseNet", "init_args": DENSE}
    config = {"model": {"network": specification}, "data": {"size_px": 48}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    return Trained(
        name="study",
        fold=0,
        diagnoses=FLANNEL,
        store=Settings(64, "letterbox"),
        segmenter=load_segmenter(run / "best.ckpt"),
        masks=MaskOptions(clean_up=True, flip=True, precision="32-true"),
        learners=(
            learner("global", Temperature(1.5, 0.01, at_bound=False)),
            learner("patched", None),
        ),
        ensembles=(ensemble,),
        norms=None,
        notes=("A note on the masks.",),
    )


@pytest.fixture
def trained(_trained, base_study):
    """The study that they belong to: its manifest and predictions are there, for the card."""
    base_study.run("global/small", expert=0)
    base_study.run("patched/small", expert=1)
    ensemble = base_study.folder / "ensemble" / "fused" / "fold0"
    shutil.copytree(base_study.folder / "base" / "patched" / "small" / "fold0", ensemble)
    return _trained


@pytest.fixture
def bundle(trained, base_study, tmp_path):
    folder = tmp_path / "model.flannel"
    write_bundle(trained, base_study.folder, folder, licence="CC BY 4.0")
    return folder
