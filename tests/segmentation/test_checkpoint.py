import json
import shutil

import pytest
import torch
from torch import nn

from segmentation.checkpoint import MaskError, build_network, find_checkpoint, load_segmenter

SMALL = {"in_channels": 1, "classes": 2, "down": [1], "bottleneck": 1, "up": [1], "growth": 4}
UNET = {"encoder_name": "resnet18", "encoder_weights": "imagenet", "in_channels": 1, "classes": 4}


def test_a_segmenter_is_built_again_from_its_run(tmp_path, write_run):
    network = write_run(tmp_path / "segmentation" / "small").eval()
    segmenter = load_segmenter(find_checkpoint(tmp_path))
    grey = 255 * torch.rand(1, 1, 16, 16)
    with torch.no_grad():
        assert torch.allclose(segmenter.network(grey), network(grey), atol=1e-5)
    assert segmenter.size_px == 48
    assert not segmenter.network.training
    assert segmenter.classes == ("background", "lungs")
    assert segmenter.checkpoint == tmp_path / "segmentation" / "small" / "best.ckpt"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("class_path", "arguments"),
    [
        ("segmentation.fc_densenet.FCDenseNet103", {"in_channels": 1, "classes": 4}),
        ("segmentation_models_pytorch.Unet", UNET),
    ],
)
def test_other_networks_and_classes_are_built_again(tmp_path, write_run, class_path, arguments):
    write_run(tmp_path / "run", class_path, arguments, structures="heart_left_right")
    network = build_network({"class_path": class_path, "init_args": arguments})
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "run" / "best.ckpt")
    segmenter = load_segmenter(tmp_path / "run" / "best.ckpt")
    assert segmenter.classes == ("background", "heart", "left lung", "right lung")
    expected = network.state_dict()
    for name, value in segmenter.network.state_dict().items():
        assert torch.equal(value, expected[name])


def test_a_segmenter_that_has_not_finished_is_not_used(tmp_path, write_run):
    for name, finished in (("begun", False), ("whole", True)):
        write_run(tmp_path / "segmentation" / name)
        fingerprint = tmp_path / "segmentation" / name / "fingerprint.json"
        fingerprint.write_text(json.dumps({"finished": finished, "parts": {}}))
    assert find_checkpoint(tmp_path).parent.name == "whole"
    shutil.rmtree(tmp_path / "segmentation" / "whole")
    with pytest.raises(MaskError, match=r"no trained segmenter.*begun.best\.ckpt is not finished"):
        find_checkpoint(tmp_path)
    with pytest.raises(MaskError, match=r"a training that has not finished. Let the command"):
        load_segmenter(tmp_path / "segmentation" / "begun" / "best.ckpt")


class Intruder:
    """What would run if a checkpoint's pickle were trusted."""

    def __reduce__(self):
        return (print, ("run",))


def test_a_checkpoint_runs_no_code_and_a_damaged_one_is_a_sentence(tmp_path, write_run, capsys):
    write_run(tmp_path / "run")
    checkpoint = tmp_path / "run" / "best.ckpt"
    whole = checkpoint.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no checkpoint"):
        checkpoint.write_bytes(content)
        with pytest.raises(MaskError, match="is damaged, or no checkpoint"):
            load_segmenter(checkpoint)
    for state in ({"state_dict": Intruder()}, {"weights": {}}, [1]):
        torch.save(state, checkpoint)
        with pytest.raises(MaskError, match="nothing in it was run"):
            load_segmenter(checkpoint)
    assert capsys.readouterr().out == ""


def test_runs_that_cannot_be_used_are_one_sentence(tmp_path, write_run):
    with pytest.raises(MaskError, match="does not exist"):
        load_segmenter(tmp_path / "best.ckpt")
    write_run(tmp_path / "segmentation" / "other", arguments={**SMALL, "growth": 5})
    with pytest.raises(MaskError, match="do not fit"):
        load_segmenter(find_checkpoint(tmp_path))
    write_run(tmp_path / "segmentation" / "misspelt", arguments={"channels": 1})
    with pytest.raises(MaskError, match="FCDenseNet cannot be built from"):
        load_segmenter(tmp_path / "segmentation" / "misspelt" / "best.ckpt")
    write_run(tmp_path / "unknown", structures="bones")
    with pytest.raises(MaskError, match="structures is 'bones'"):
        load_segmenter(tmp_path / "unknown" / "best.ckpt")
    with pytest.raises(MaskError, match="holds 2 segmenters"):
        find_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "class_path",
    [
        "os.system",
        "torch.nn.Conv2d",
        "segmentation.fc_densenet.Path",
        "segmentation_models_pytorch.os",
    ],
)
def test_only_known_networks_are_built(class_path):
    with pytest.raises(MaskError, match="is not built"):
        build_network({"class_path": class_path, "init_args": {}})


def test_pretrained_weights_are_never_fetched():
    unet = build_network({"class_path": "segmentation_models_pytorch.Unet", "init_args": UNET})
    assert isinstance(unet, nn.Module)
