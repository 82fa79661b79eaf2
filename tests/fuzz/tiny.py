"""What answers while hostile files are thrown at it: two tiny learners, what joins them, and lungs.

Their weights are random, so that nothing has to be trained, and all that they say is nonsense.
"""

from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import yaml

from flannel.bundle.write import write_bundle
from flannel.data.diagnosis import FLANNEL
from flannel.data.phantom import draw_phantom
from flannel.data.store.layout import Settings
from flannel.ensemble import NeuralWeightModule
from flannel.networks import ImageNetNetwork
from flannel.prediction.doubts import SIDE_PX, norms_of
from flannel.prediction.trained import Trained, TrainedEnsemble, TrainedLearner
from segmentation.checkpoint import load_segmenter
from segmentation.fc_densenet import FCDenseNet
from segmentation.preprocessing import prepare

SMALL = {"architecture": "shufflenet_v2_x0_5", "classes": 4, "weights": "random"}
DENSE = {"in_channels": 1, "classes": 2, "down": [1], "bottleneck": 1, "up": [1], "growth": 4}
SEGMENTED_PX = 48


def phantom(seed: int, size: int = 96) -> np.ndarray:
    """Draws a made-up radiograph."""
    generator = np.random.default_rng(seed)
    return draw_phantom(FLANNEL[seed % len(FLANNEL)], generator, (size, size + 8)).image


def tiny(folder: Path) -> Trained:
    """Returns what is asked; the segmenter's files are written into the folder."""
    torch.manual_seed(1)
    cells = np.random.default_rng(1).normal(size=(24, SIDE_PX**2)).astype(np.float32)
    return Trained(
        name="tiny",
        fold=0,
        diagnoses=FLANNEL,
        store=Settings(64, "letterbox"),
        segmenter=load_segmenter(_segmenter(folder)),
        learners=(_learner("global"), _learner("patched")),
        ensembles=(_ensemble(),),
        norms=norms_of(cells, np.arange(24) % 2 == 0, []),
    )


def tiny_bundle(folder: Path) -> Path:
    """Writes a bundle of it; without a study there is nothing to say on its card."""
    place = folder / "tiny.flannel"
    with patch("flannel.bundle.write.model_card", return_value=""):
        write_bundle(tiny(folder), folder, place)
    return place


def _learner(arm: str) -> TrainedLearner:
    state = ImageNetNetwork(**SMALL).state_dict()
    return TrainedLearner(
        arm=arm,
        learner="small",
        network={"class_path": "flannel.networks.ImageNetNetwork", "init_args": SMALL},
        data={"arm": arm, "size_px": 32, "resize_px": 36, "window_px": 16, "predict_patches": 6},
        vote="share" if arm == "patched" else "mean_softmax",
        views_at_once=8,
        precision="32-true",
        weights=lambda: state,
        temperature=None,
        identity=arm,
    )


def _ensemble() -> TrainedEnsemble:
    return TrainedEnsemble(
        arm="fused",
        learner="FLANNEL",
        learners=("global/small", "patched/small"),
        combination={"class_path": "flannel.ensemble.combinations.NeuralWeightModule"},
        classes=4,
        weights=NeuralWeightModule(2, 4).state_dict,
        temperature=None,
        identity="fused",
    )


def _segmenter(folder: Path) -> Path:
    """Writes a segmenter that finds lungs in about half of a radiograph."""
    network = FCDenseNet(1, 2, (1,), 1, (1,), growth=4).eval()
    with torch.no_grad():
        prepared = torch.from_numpy(prepare(phantom(0), "display", SEGMENTED_PX))
        logits = network(prepared[None])
        network.classifier.bias[1] -= (logits[:, 1] - logits[:, 0]).median()
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state}, folder / "best.ckpt")
    named = {"class_path": "segmentation.fc_densenet.FCDenseNet", "init_args": DENSE}
    config = {"model": {"network": named}, "data": {"size_px": SEGMENTED_PX}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder / "best.ckpt"
