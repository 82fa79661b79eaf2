"""Broken and hostile bundles, drawn at random, most of them with hashes that fit."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np

from flannel.files import digest_of

Draw = np.random.Generator

CLASSES = (
    "flannel.networks.ImageNetNetwork", "flannel.networks.FrozenNetwork", "flannel.networks.CNN13",
    "flannel.networks.COVIDNet", "flannel.networks.DarkCovidNet", "torchvision.models.DenseNet",
    "torchvision.models.VisionTransformer", "torchvision.models.SwinTransformer",
    "torchvision.models.MaxVit", "torchvision.models.MNASNet", "torchvision.models.VGG",
    "torchvision.models.GoogLeNet", "torchvision.models.Inception3", "torchvision.models.RegNet",
    "torchvision.models.resnet.Bottleneck", "torchvision.models.SqueezeNet", "torch.nn.Linear",
    "torchvision.models.detection.MaskRCNN", "torchvision.models.AlexNet", "os.system",
    "segmentation_models_pytorch.Unet", "segmentation_models_pytorch.DeepLabV3Plus",
    "segmentation.fc_densenet.FCDenseNet103", "segmentation.fc_densenet.FCDenseNet",
    "flannel.ensemble.combinations.LinearCombination",
    "flannel.ensemble.combinations.NeuralWeightModule", "", ".",
    "flannel.networks..ImageNetNetwork", "flannel.networks.\0", "torchvision.models.torch.load",
)  # fmt: skip
OPTIONS = (
    "growth_rate", "num_layers", "block_config", "classes", "num_classes", "in_channels", "depths",
    "window_size", "patch_size", "image_size", "embed_dim", "num_heads", "hidden_dim", "mlp_dim",
    "down", "up", "bottleneck", "growth", "encoder_name", "encoder_depth", "decoder_channels",
    "architecture", "weights", "encoder_weights", "widths", "dropouts", "size_px", "alpha", "data",
    "predict_patches", "window_px", "resize_px", "batch_size", "predict_batch_size", "auxiliary",
)  # fmt: skip
VALUES = (
    None, True, False, 0, 1, -1, 2, 7, 64, 100_000, 10**6, 10**12, 10**18, 0.5, -0.0, 1e-300, 1e300,
    "", "x", "resnet18", "regnet_y_400mf", "vit_h_14", "mit_b0", "tu-resnet18", "tu-hf-hub:a/b",
    "../../etc/passwd", "/dev/zero", "imagenet", "\x1b[2J", "\ud800", "x" * 5000, [], {}, [[]],
    [10**5] * 4, [1] * 1000, [1, 1, 1, 1], {"a": {"b": {"c": [1]}}}, [None], ["x"], 9**30,
)  # fmt: skip
NUMBERS = (b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff\xff\x7f\x7f", b"\x01\0\0\0")
"""NaN, infinity, and the largest and smallest of float32, little-endian."""


def hostile(draw: Draw, bundle: Path) -> None:
    """Changes a good bundle in place."""
    path = bundle / "bundle.json"
    contents = json.loads(path.read_text())
    contents.pop("checksum")
    for _ in range(int(draw.choice([0, 1, 1, 2, 4]))):
        _change_value(draw, contents)
    for _ in range(int(draw.choice([0, 0, 1, 2]))):
        _change_file(draw, bundle, contents, listed=bool(draw.random() < 0.9))
    checksum = "wrong" if draw.random() < 0.03 else digest_of(contents)
    text = json.dumps({**contents, "checksum": checksum}).encode("utf-8", "surrogatepass")
    if draw.random() < 0.05:
        text = _change_bytes(draw, text)
    path.write_bytes(text)
    if draw.random() < 0.03:
        _move(draw, bundle)


def _change_value(draw: Draw, contents: dict) -> None:
    """Changes one value somewhere within, or takes it away, or adds one."""
    within = contents
    while True:
        keys = list(within) if isinstance(within, dict) else list(range(len(within)))
        if isinstance(within, dict) and "mean" in within and draw.random() < 0.8:
            keys.remove("mean")
        if not keys:
            return
        key = keys[int(draw.integers(len(keys)))]
        deeper = within[key]
        if not isinstance(deeper, dict | list) or not deeper or draw.random() < 0.1:
            break
        within = deeper
    kind = draw.random()
    if kind < 0.1:
        del within[key]
    elif kind < 0.35 and isinstance(within, dict):
        within[str(draw.choice(OPTIONS))] = _value(draw)
    elif kind < 0.45 and isinstance(within, dict) and "class_path" in within:
        within["class_path"] = str(draw.choice(CLASSES))
    elif kind < 0.5 and isinstance(within, list):
        within.append(within[key])
    elif isinstance(within[key], str) and within[key].startswith(("flannel.", "segmentation.")):
        within[key] = str(draw.choice(CLASSES))
    else:
        within[key] = _value(draw)


def _value(draw: Draw) -> object:
    return VALUES[int(draw.integers(len(VALUES)))]


def _change_file(draw: Draw, bundle: Path, contents: dict, listed: bool) -> None:
    """Changes a file, and its entry in the list with it."""
    files = contents.get("files")
    names = sorted(p.relative_to(bundle).as_posix() for p in bundle.rglob("*.safetensors"))
    name = names[int(draw.integers(len(names)))]
    path = bundle / name
    content = path.read_bytes()
    kind = draw.random()
    if kind < 0.35:
        content = _change_header(draw, content)
    elif kind < 0.6 and len(content) > 1000:
        at = len(content) - 4 * int(draw.integers(1, 100))
        content = content[:at] + NUMBERS[int(draw.integers(4))] + content[at + 4 :]
    elif kind < 0.7:
        content = (bundle / names[int(draw.integers(len(names)))]).read_bytes()
    else:
        content = _change_bytes(draw, content)
    path.write_bytes(content)
    if listed and isinstance(files, dict):
        digest = hashlib.sha256(content).hexdigest()
        files[name] = {"bytes": len(content), "sha256": digest}


def _change_header(draw: Draw, content: bytes) -> bytes:
    """Changes what a file of weights declares, with a length of the header that fits."""
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
        _change_value(draw, header)
        text = json.dumps(header).encode("utf-8", "surrogatepass")
    except (ValueError, KeyError, IndexError, TypeError):
        return content
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def _change_bytes(draw: Draw, content: bytes) -> bytes:
    data = bytearray(content)
    at = int(draw.integers(max(1, len(data))))
    match int(draw.integers(4)):
        case 0:
            del data[at:]
        case 1:
            data[:8] = int(draw.choice([0, 2**20, 2**30, 2**62])).to_bytes(8, "little")
        case 2:
            data[at : at + 1] = draw.bytes(1)
        case _:
            data += draw.bytes(int(draw.integers(1, 100)))
    return bytes(data)


def _move(draw: Draw, bundle: Path) -> None:
    """Puts a link or something else in the place of a file."""
    paths = sorted(path for path in bundle.rglob("*") if path.is_file())
    path = paths[int(draw.integers(len(paths)))]
    path.unlink()
    match int(draw.integers(5)):
        case 0:
            path.symlink_to("/etc/passwd")
        case 1:
            path.symlink_to(path)
        case 2:
            path.symlink_to("/dev/zero")
        case 3:
            path.mkdir()
        case _:
            os.mkfifo(path)
