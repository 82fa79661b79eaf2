"""A bundle against the study that it was written from, and against everything done to it since."""

import hashlib
import json
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from flannel.bundle import weights as bundle_weights
from flannel.bundle.layout import BundleError, is_bundle, read_contents
from flannel.bundle.read import trained_of_bundle
from flannel.bundle.write import write_bundle
from flannel.data.duplicates import HASH_BYTES
from flannel.files import digest_of
from flannel.networks import ImageNetNetwork
from flannel.prediction.predictors import Panel
from flannel.prediction.trained import TrainedError
from segmentation import shipped
from segmentation.checkpoint import load_segmenter

pytestmark = pytest.mark.slow

SMALL = {"architecture": "shufflenet_v2_x0_5", "classes": 4, "weights": "random"}


def test_everything_comes_back(trained, bundle):
    back = trained_of_bundle(bundle)
    assert is_bundle(bundle)
    for name in ("fold", "diagnoses", "store", "masks", "norms", "notes"):
        assert getattr(back, name) == getattr(trained, name)
    for before, after in zip(trained.learners, back.learners, strict=True):
        unlike = {"weights": before.weights, "identity": before.identity}
        assert replace(after, **unlike) == before
        built, state = after.build(), before.weights()
        assert all(torch.equal(built.state_dict()[name], value) for name, value in state.items())
    (before,), (after,) = trained.ensembles, back.ensembles
    rows = torch.rand(5, 2, 4)
    assert torch.equal(before.build()(rows), after.build()(rows))
    radiograph = 255 * torch.rand(1, 1, 48, 48)
    assert torch.equal(trained.segmenter.network(radiograph), back.segmenter.network(radiograph))
    assert back.segmenter.sha256 == trained.segmenter.sha256
    assert back.segmenter.classes == trained.segmenter.classes


def test_the_segmenter_of_the_package_comes_back(trained, base_study, tmp_path):
    trained = replace(trained, segmenter=load_segmenter())
    write_bundle(trained, base_study.folder, tmp_path / "model.flannel")
    back = trained_of_bundle(tmp_path / "model.flannel").segmenter
    radiograph = 255 * torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        assert torch.equal(back.network(radiograph), trained.segmenter.network(radiograph))
    assert back.sha256 == shipped.SHA256


def test_arms_and_learners_are_chosen(bundle):
    assert [one.name for one in trained_of_bundle(bundle, arms=["patched"]).learners] == [
        "patched/small"
    ]
    fused = trained_of_bundle(bundle, arms=["fused"])
    assert [one.name for one in fused.learners] == ["global/small", "patched/small"]
    assert not trained_of_bundle(bundle, arms=["global"]).ensembles
    with pytest.raises(TrainedError, match=r"none of the learners asked for.*patched/small"):
        trained_of_bundle(bundle, learners=["vgg19_bn"])


def changed(bundle, change):
    """Changes the contents, with a checksum that fits: as somebody would who means harm."""
    path = bundle / "bundle.json"
    contents = json.loads(path.read_text())
    del contents["checksum"]
    change(contents)
    path.write_text(json.dumps({**contents, "checksum": digest_of(contents)}))


@pytest.mark.parametrize(
    "name", ["learners/patched.small.safetensors", "segmenter.safetensors", "MODEL_CARD.md"]
)
def test_a_changed_byte_is_found(bundle, name):
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} is not the file that was bundled"):
        trained_of_bundle(bundle)


def test_changed_contents_are_found(bundle):
    path = bundle / "bundle.json"
    path.write_text(path.read_text().replace('"fold": 0', '"fold": 1'))
    with pytest.raises(BundleError, match=r"bundle.json was changed"):
        trained_of_bundle(bundle)
    path.write_text(path.read_text()[:-9])
    with pytest.raises(BundleError, match=r"bundle.json is damaged"):
        trained_of_bundle(bundle)
    path.write_text("[" * 100_000)
    with pytest.raises(BundleError, match=r"bundle.json is damaged"):
        trained_of_bundle(bundle)
    path.write_text('{"format": 2}')
    with pytest.raises(BundleError, match="of the format 2, this version reads 1"):
        trained_of_bundle(bundle)
    path.unlink()
    with pytest.raises(BundleError, match="is no bundle"):
        trained_of_bundle(bundle)


def reseeded(path):
    """Changes a file of weights: other numbers under the same names, and as many bytes."""
    weights = safetensors.torch.load_file(path)
    other = {n: v + 1 if v.is_floating_point() else v for n, v in weights.items()}
    safetensors.torch.save_file(other, path)


@pytest.mark.parametrize("change", [reseeded, Path.unlink, lambda path: path.write_bytes(b"")])
def test_weights_are_those_that_were_compared(bundle, change):
    back = trained_of_bundle(bundle)
    identity = back.identity
    assert back.learners[0].build() is not None
    for path in bundle.rglob("*.safetensors"):
        change(path)
    for part in (*back.learners, *back.ensembles):
        with pytest.raises(TrainedError, match=r"has changed since it was opened|is missing"):
            part.build()
    with pytest.raises(TrainedError):
        Panel(back)
    assert back.identity == identity


@pytest.mark.parametrize("step", ["declared_shapes", "load"])
def test_a_bundle_that_is_replaced_is_told_from_a_damaged_one(
    trained, bundle, base_study, monkeypatch, step
):
    real = getattr(bundle_weights, step)
    torch.manual_seed(3)
    network = ImageNetNetwork(**SMALL).state_dict()
    learners = tuple(replace(one, weights=lambda: network) for one in trained.learners)

    def replaced(*arguments):
        monkeypatch.setattr(bundle_weights, step, real)
        write_bundle(
            replace(trained, learners=learners[:1], ensembles=()), base_study.folder, bundle,
            redo=True,
        )  # fmt: skip
        return real(*arguments)

    monkeypatch.setattr(bundle_weights, step, replaced)
    with pytest.raises(BundleError, match="was replaced or removed while it was read"):
        trained_of_bundle(bundle)


def test_missing_and_oversized_files_are_found(bundle, monkeypatch):
    monkeypatch.setattr("flannel.bundle.layout.MOST_BYTES_OF_FILE", 1000)
    with pytest.raises(BundleError, match="more than the 1,000 allowed"):
        read_contents(bundle)
    monkeypatch.setattr("flannel.bundle.layout.MOST_BYTES_OF_CONTENTS", 10)
    with pytest.raises(BundleError, match="too many for a list of files"):
        read_contents(bundle)
    monkeypatch.undo()
    shutil.rmtree(bundle / "ensembles")
    with pytest.raises(BundleError, match=r"fused.FLANNEL.safetensors is missing"):
        read_contents(bundle)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b", ".hidden", "a\\b", ""])
def test_a_file_outside_is_never_looked_at(bundle, name):
    changed(bundle, lambda contents: contents["files"].update({name: {"bytes": 1, "sha256": ""}}))
    with pytest.raises(BundleError, match="no plain name inside it"):
        trained_of_bundle(bundle)


def test_a_link_out_of_the_bundle_is_not_followed(bundle, tmp_path):
    outside = tmp_path / "outside.safetensors"
    (bundle / "segmenter.safetensors").rename(outside)
    (bundle / "segmenter.safetensors").symlink_to(outside)
    with pytest.raises(BundleError, match="leads out of the bundle"):
        trained_of_bundle(bundle)


def set_in(*path):
    """Returns a change that sets a value somewhere within the contents."""
    *places, last, value = path

    def change(contents):
        for place in places:
            contents = contents[place]
        contents[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_in("learners", 0, "network", "class_path", "os.system"), "the class 'os.system'"),
        (
            set_in("segmenter", "network", "class_path", "subprocess.Popen"),
            "the class 'subprocess.Popen'",
        ),
        (
            set_in("ensembles", 0, "combination", "class_path", "torch.load"),
            "the class 'torch.load'",
        ),
        (set_in("ensembles", 0, "combination", "init_args", ["tanh"]), "expected a table, not"),
        (set_in("learners", 0, "arm", "../../outside"), "the name '../../outside'"),
        (set_in("learners", 0, "vote", "loudest"), "'loudest', where one of share"),
        (set_in("learners", 0, "data", "colour", "red"), "colour"),
        (set_in("learners", 0, "weights", "../w"), "does not say what was trained"),
        (
            set_in("learners", 0, "temperature", {"value": -1, "floor": 0.1}),
            "the number -1; expected one above 0",
        ),
        (set_in("store", "size_px", 10**9), "a side of 1000000000 px"),
        (set_in("store", "resize", "crop"), "'crop', where one of"),
        (set_in("diagnoses", "many"), "expected a list of texts"),
        (set_in("diagnoses", ["a/b", "b", "c", "d"]), "'a/b' cannot be the name of a diagnosis"),
        (set_in("colours", ["#D55E00"]), "1 colours for 4 diagnoses"),
        (
            set_in("colours", ["red", "#D55E00", "#009E73", "#0072B2"]),
            "colour of COVID-19 is 'red'",
        ),
        (set_in("learners", "none"), "expected a list"),
    ],
)
def test_what_is_not_ours_is_refused_by_name(bundle, change, message):
    changed(bundle, change)
    with pytest.raises(BundleError, match=message):
        trained_of_bundle(bundle)


BUILT = ("learners", 0, "network", "init_args")
SEGMENTS = ("segmenter", "network", "init_args")
TRANSFORMER = {"image_size": 32, "patch_size": 16, "num_heads": 1, "hidden_dim": 8, "mlp_dim": 8}


def library(name, **arguments):
    """Returns a change to another network than the one of the weights."""
    path = f"torchvision.models.{name}"
    return set_in("learners", 0, "network", {"class_path": path, "init_args": arguments})


HOSTILE = [
    (set_in(*BUILT, "classes", 3), r"do not fit its network: network.fc.bias is 4, where .* has 3"),
    (set_in(*BUILT, "classes", 100_000), "do not fit its network"),
    (set_in(*BUILT, "classes", 10**12), "numbers up to 100,000"),
    (set_in(*BUILT, "classes", "four"), "cannot be built from"),
    (set_in(*BUILT, "architecture", "regnet_y_128gf"), "far larger than they are"),
    (set_in(*BUILT, "architecture", "/etc/passwd"), "the option '/etc/passwd'"),
    (library("VisionTransformer", **TRANSFORMER, num_layers=10**5), "far larger than they are"),
    (library("DenseNet", growth_rate=100_000), "do not fit its network"),
    (library("DenseNet", block_config=[10**5] * 4), "far larger than they are"),
    (library("DenseNet", block_config=[1] * 65), "a list of 65; at most 64"),
    (
        library(
            "SwinTransformer", patch_size=[4, 4], embed_dim=8, depths=[2], num_heads=[1],
            window_size=[300, 300],
        ),
        "do not fit",
    ),
    (set_in(*SEGMENTS, "growth", 100_000), "weights of the segmenter do not fit"),
    (set_in(*SEGMENTS, "down", [100_000]), "the segmenter .* far larger than they are"),
    (set_in("segmenter", "size_px", 4096), "a segmenter for 4096 px; at most 2048"),
    (
        set_in("segmenter", "network", "class_path", "segmentation_models_pytorch.encoders.X"),
        "names the class",
    ),
    (set_in("learners", 1, "data", "size_px", 2048), "10 x 100 views of 2048 px"),
    (set_in("learners", 1, "data", "window_px", 65), "patches of 65 px of 64"),
    (set_in("learners", 0, "data", "resize_px", 10**6), "a side of 1000000 px"),
    (set_in("learners", 0, "data", "predict_batch_size", -1), "predict_batch_size is -1; expected"),
    (set_in("learners", 0, "data", "size_px", None), "size_px is null"),
    (set_in("learners", 0, "data", "arm", "patched"), "the arm global with the data of patched"),
    (set_in("learners", 0, "precision", "4-bit"), "'4-bit', where one of 32-true"),
    (set_in("learners", 0, "arm", "patched"), "expected different names"),
    (
        lambda contents: contents.update(diagnoses=["a", "b", "c", "d", "e"], colours=[]),
        r"answers \(1, 4\), where \(1, 5\)",
    ),
    (set_in("segmenter", None), "need a lung mask, and no segmenter"),
    (set_in("segmenter", "weights", "bundle.json"), "not in its list of files"),
    (set_in("segmenter", "classes", ["a", "b"]), "a segmenter of a, b"),
    (set_in("masks", "precision", "8-true"), "Expected a typing.Literal"),
    (set_in("notes", ["\x1b[2J"]), r"the text .*x1b"),
    (set_in("norms", {"mean": [1], "directions": [], "limit": 1, "usual": 1,
                      "side_by_side": None, "radiographs": 9}), "norms that are no 256 numbers"),
]  # fmt: skip


def test_what_a_network_may_need_is_known_before_it_is_built(bundle):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    written = (bundle / "bundle.json").read_bytes()
    for change, message in HOSTILE:
        (bundle / "bundle.json").write_bytes(written)
        changed(bundle, change)
        with pytest.raises(BundleError, match=message):
            trained_of_bundle(bundle)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 400_000  # KiB; the networks asked for take up to terabytes


def test_names_come_once_and_numbers_end(bundle):
    path = bundle / "bundle.json"
    written = path.read_text()
    for text in (
        '{"format": 1, "format": 1}', '{"fold": NaN}', '{"fold": 1e999}', f'{{"fold": {"9" * 99}}}'
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(BundleError, match=r"damaged \(.*(twice|no number|99 digits)"):
            trained_of_bundle(bundle)
    path.write_text(written)
    assert trained_of_bundle(bundle).fold == 0


def rewritten(bundle, name, content):
    """Exchanges a file, and lists it as if it belonged there."""
    (bundle / name).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    changed(bundle, set_in("files", name, {"bytes": len(content), "sha256": digest}))


def with_hashes(trained, base_study, folder, count=3):
    hashes = tuple(bytes([number]) * HASH_BYTES for number in range(count))
    write_bundle(replace(trained, hashes=lambda: hashes), base_study.folder, folder)
    return hashes


def test_hashes_come_back_and_the_card_tells_of_them(trained, bundle, base_study, tmp_path):
    hashes = with_hashes(trained, base_study, tmp_path / "new.flannel")
    read = trained_of_bundle(tmp_path / "new.flannel").hashes
    assert read is not None
    assert set(read()) == set(hashes)
    assert "hashes.bin" in (tmp_path / "new.flannel" / "MODEL_CARD.md").read_text()
    assert trained_of_bundle(bundle).hashes is None
    assert "hashes.bin" not in (bundle / "MODEL_CARD.md").read_text()


def test_hashes_that_are_none_or_too_many_are_refused(trained, base_study, tmp_path, monkeypatch):
    folder = tmp_path / "new.flannel"
    with_hashes(trained, base_study, folder)
    rewritten(folder, "hashes.bin", bytes(HASH_BYTES + 1))
    with pytest.raises(BundleError, match=f"hashes of {HASH_BYTES + 1:,} bytes"):
        trained_of_bundle(folder)
    monkeypatch.setattr("flannel.bundle.read.MOST_HASHES", 1)
    rewritten(folder, "hashes.bin", bytes(2 * HASH_BYTES))
    with pytest.raises(BundleError, match=f"hashes of {2 * HASH_BYTES:,} bytes"):
        trained_of_bundle(folder)
    changed(folder, set_in("hashes", "../../secret"))
    with pytest.raises(BundleError, match="not in its list of files"):
        trained_of_bundle(folder)


def test_weights_that_do_not_fit_are_no_numbers_or_no_weights(bundle, trained):
    name = "learners/global.small.safetensors"
    good = (bundle / name).read_bytes()
    for content in (b"no weights at all", good[:-1], good + b"0", (2**30).to_bytes(8, "little")):
        rewritten(bundle, name, content)
        with pytest.raises(BundleError, match="holds no weights"):
            trained_of_bundle(bundle)
    weights = dict(trained.learners[0].weights())
    weights["network.fc.bias"] = torch.tensor([0, torch.nan, 0, 0])
    rewritten(bundle, name, safetensors.torch.save(weights))
    with pytest.raises(TrainedError, match=r"no numbers \(NaN or infinite, in network.fc.bias"):
        trained_of_bundle(bundle).learners[0].build()
