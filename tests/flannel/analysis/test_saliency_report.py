import pandas as pd
import pytest
import torch
import torchvision
import yaml

from flannel.__main__ import main
from flannel.analysis.saliency_checks import STAGES
from flannel.analysis.saliency_report import chosen_runs, write_saliency
from flannel.data.diagnosis import FLANNEL
from flannel.learners.grad_cam import SaliencyError

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)
SHAPE = {"growth_rate": 4, "block_config": [1, 1], "num_init_features": 8, "num_classes": 4}


@pytest.fixture
def study(study_files):
    """A patched learner with random weights, whose predictions are all right."""
    study_files.pictures()
    folder = study_files.run("base/patched/small/fold0", TRUTH)
    config = {
        "model": {
            "network": {"class_path": "torchvision.models.DenseNet", "init_args": SHAPE},
            "vote": "share",
            "views_at_once": 4,
        },
        "data": {"arm": "patched", "size_px": 32, "window_px": 24, "predict_patches": 6, "seed": 3},
        "trainer": {"precision": "32-true"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(1)
    network = torchvision.models.DenseNet(**SHAPE)
    network.classifier.weight.data.abs_()
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": weights}, folder / "best.ckpt")
    return study_files.folder


@pytest.mark.slow
def test_a_table_and_a_figure_for_each_learner(study, capsys):
    assert main(["saliency", f"--study={study}", "--count=5"]) == 0
    *lines, place = capsys.readouterr().out.splitlines()
    folder = study / "saliency" / "patched" / "small" / "fold0"
    assert lines[0] == "patched small fold 0:"
    assert place == str(folder / "saliency.md")
    assert (folder / "saliency.png").stat().st_size > 10_000
    table = pd.read_csv(folder / "saliency.csv")
    assert list(table["image_id"]) == ["test-0", "test-2", "test-4", "test-6", "test-1"]
    assert list(table["predicted"]) == [COVID, VIRAL, BACTERIAL, NORMAL, COVID]
    assert list(table.columns[3:]) == ["inside", "flat", *STAGES]
    assert table["flat"].between(0, 1).all()
    assert lines[1] in (folder / "saliency.md").read_text()


def test_what_is_not_there_is_refused(study):
    with pytest.raises(SaliencyError, match="no finished base learner of fold 1 in the arm"):
        chosen_runs(study, ["patched"], None, 1)
    (run,) = chosen_runs(study, ["patched"], None, 0)
    with pytest.raises(SaliencyError, match="'classifier' gives no feature map"):
        write_saliency(run, study, layer="classifier")
