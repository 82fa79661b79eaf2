import pytest
import torch
import yaml
from torch import nn

from segmentation.checkpoint import build_network, find_checkpoint, load_segmenter
from segmentation.fc_densenet import FCDenseNet
from segmentation.masks import MaskError

SMALL = {"in_channels": 1, "classes": 2, "down": [1], "bottleneck": 1, "up": [1], "growth": 4}


def write_run(folder, class_path="segmentation.fc_densenet.FCDenseNet", arguments=SMALL):
    folder.mkdir(parents=True)
    network = FCDenseNet(1, 2, (1,), 1, (1,), growth=4)
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state}, folder / "best.ckpt")
    specification = {"class_path": class_path, "init_args": arguments}
    config = {"model": {"network": specification}, "data": {"size_px": 48}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return network


def test_a_segmenter_is_built_again_from_its_run(tmp_path):
    network = write_run(tmp_path / "segmentation" / "small").eval()
    segmenter = load_segmenter(find_checkpoint(tmp_path))
    grey = 255 * torch.rand(1, 1, 16, 16)
    with torch.no_grad():
        assert torch.allclose(segmenter.network(grey), network(grey), atol=1e-5)
    assert segmenter.size_px == 48
    assert not segmenter.network.training


def test_runs_that_cannot_be_used_are_one_sentence(tmp_path):
    with pytest.raises(MaskError, match="holds no trained segmenter"):
        find_checkpoint(tmp_path)
    with pytest.raises(MaskError, match="does not exist"):
        load_segmenter(tmp_path / "best.ckpt")
    write_run(tmp_path / "segmentation" / "other", arguments={**SMALL, "growth": 5})
    with pytest.raises(MaskError, match="do not fit"):
        load_segmenter(find_checkpoint(tmp_path))
    write_run(tmp_path / "segmentation" / "misspelt", arguments={"channels": 1})
    with pytest.raises(MaskError, match="names no network that can be built"):
        load_segmenter(tmp_path / "segmentation" / "misspelt" / "best.ckpt")
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
    unet = build_network(
        {
            "class_path": "segmentation_models_pytorch.Unet",
            "init_args": {
                "encoder_name": "resnet18",
                "encoder_weights": "imagenet",
                "in_channels": 1,
                "classes": 2,
            },
        }
    )
    assert isinstance(unet, nn.Module)
