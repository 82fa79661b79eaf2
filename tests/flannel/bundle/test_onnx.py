"""Exported networks, asked by ONNX Runtime."""

import json

import pytest
import torch
from torch import nn

from flannel.bundle.onnx import OnnxError, export_network, export_trained


class Small(nn.Module):
    """What a learner is made of: convolution, norm, pooling, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images).mean(dim=(2, 3)))


@pytest.mark.slow
def test_onnx_runtime_gives_the_networks_numbers_for_any_batch(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(1)
    network = Small().eval()
    path = tmp_path / "folder" / "small.onnx"
    exported = export_network(network, torch.rand(2, 3, 16, 16), path, {"classes": ["a", "b"]})
    assert exported.difference < 1e-5
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images = torch.rand(5, 3, 16, 16)
    (found,) = session.run(None, {"input": images.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), network(images))
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == ["a", "b"]


@pytest.mark.slow
def test_a_file_that_answers_otherwise_is_not_written(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    monkeypatch.setattr("flannel.bundle.onnx._difference", lambda *_: float("nan"))
    with pytest.raises(OnnxError, match="is not written"):
        export_network(Small().eval(), torch.rand(2, 3, 8, 8), tmp_path / "small.onnx", {})
    assert list(tmp_path.iterdir()) == []


def test_the_missing_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(OnnxError, match=r"onnxruntime is not installed: pip install .*\[onnx\]"):
        next(export_trained(None, tmp_path))
