"""A bundle against the study that it was written from, and against everything done to it since."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
import yaml

from flannel.bundle import trained_of_bundle, write_bundle
from flannel.bundle_files import BundleError, is_bundle, read_contents, read_weights, save_weights
from flannel.calibration import Temperature
from flannel.checkpoints import CheckpointError
from flannel.combinations import NeuralWeightModule
from flannel.data.diagnosis import FLANNEL
from flannel.data.folds import splits_of_fold
from flannel.data.store_files import Settings
from flannel.metrics import measured_splits
from flannel.networks import ImageNetNetwork
from flannel.predictions import SPLITS, load_predictions
from flannel.runs import digest_of
from flannel.trained import Trained, TrainedEnsemble, TrainedError, TrainedLearner
from segmentation.checkpoint import load_segmenter
from segmentation.fc_densenet import FCDenseNet
from segmentation.pipeline import MaskOptions

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
    path = "flannel.combinations.NeuralWeightModule"
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


def test_no_path_of_the_training_machine_is_handed_on(trained, base_study, tmp_path):
    arguments = {**SMALL, "weights": "/home/somebody/imagenet"}
    network = {"class_path": "flannel.networks.ImageNetNetwork", "init_args": arguments}
    learners = tuple(replace(one, network=network) for one in trained.learners)
    note = f"Lungs are found by {base_study.folder}/segmentation/x/best.ckpt."
    handed = replace(trained, learners=learners, notes=(note,))
    write_bundle(handed, base_study.folder, tmp_path / "model.flannel")
    written = (tmp_path / "model.flannel" / "bundle.json").read_text()
    assert "/home/somebody" not in written
    assert str(tmp_path) not in written
    assert str(tmp_path) not in (tmp_path / "model.flannel" / "MODEL_CARD.md").read_text()
    back = trained_of_bundle(tmp_path / "model.flannel").learners[0].build().state_dict()
    before = trained.learners[0].weights()
    assert all(torch.equal(back[name], value) for name, value in before.items())


def test_arms_and_learners_are_chosen(bundle):
    assert [one.name for one in trained_of_bundle(bundle, arms=["patched"]).learners] == [
        "patched/small"
    ]
    fused = trained_of_bundle(bundle, arms=["fused"])
    assert [one.name for one in fused.learners] == ["global/small", "patched/small"]
    assert not trained_of_bundle(bundle, arms=["global"]).ensembles
    with pytest.raises(TrainedError, match=r"none of the learners asked for.*patched/small"):
        trained_of_bundle(bundle, learners=["vgg19_bn"])


def test_the_card_tells_data_results_and_limits(bundle, base_study):
    card = (bundle / "MODEL_CARD.md").read_text()
    assert "no medical device" in card
    used = splits_of_fold(base_study.manifest, 0)
    counts = [(used[base_study.manifest["source"] == "a"] == split).sum() for split in SPLITS]
    assert f"| a | not stated | {' | '.join(map(str, counts))} |" in card
    assert "Licence of the weights: CC BY 4.0." in card
    table = load_predictions(base_study.folder / "base/global/small/fold0/predictions.csv", FLANNEL)
    macro_f1 = measured_splits(table, FLANNEL)["test"]["macro_f1"]
    assert f"| global small | {macro_f1:.4f} |" in card
    assert "| 1.500 |" in card
    assert "A note on the masks." in card


def test_nothing_is_replaced_unless_asked_and_nothing_half_written(
    trained, bundle, base_study, tmp_path
):
    before = (bundle / "bundle.json").read_bytes()
    with pytest.raises(BundleError, match="--redo true"):
        write_bundle(trained, base_study.folder, bundle)
    broken = replace(trained, learners=(replace(trained.learners[0], weights=unreadable),))
    with pytest.raises(TrainedError, match="damaged"):
        write_bundle(broken, base_study.folder, bundle, redo=True)
    assert (bundle / "bundle.json").read_bytes() == before
    write_bundle(trained, base_study.folder, bundle, licence="MIT", redo=True)
    assert "MIT" in (bundle / "MODEL_CARD.md").read_text()
    with pytest.raises(BundleError, match=r"study exists. Name another place"):
        write_bundle(trained, base_study.folder, base_study.folder, redo=True)
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def unreadable():
    raise CheckpointError("best.ckpt is damaged")


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


def test_missing_and_oversized_files_are_found(bundle, monkeypatch):
    monkeypatch.setattr("flannel.bundle_files.MOST_BYTES_OF_FILE", 1000)
    with pytest.raises(BundleError, match="more than the 1,000 allowed"):
        read_contents(bundle)
    monkeypatch.setattr("flannel.bundle_files.MOST_BYTES_OF_CONTENTS", 10)
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
    """Gives a change that sets a value somewhere within the contents."""
    *places, last, value = path

    def change(contents):
        for place in places:
            contents = contents[place]
        contents[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (set_in("learners", 0, "network", "class_path", "os.system"), "names the class os.system"),
        (
            set_in("segmenter", "network", "class_path", "subprocess.Popen"),
            "subprocess.Popen is not built",
        ),
        (
            set_in("ensembles", 0, "combination", "class_path", "torch.load"),
            "names the class torch.load",
        ),
        (set_in("ensembles", 0, "combination", "init_args", ["tanh"]), "expected a table, not"),
        (set_in("learners", 0, "arm", "../../outside"), "the name '../../outside'"),
        (set_in("learners", 0, "vote", "loudest"), "'loudest', where one of share"),
        (set_in("learners", 0, "data", "colour", "red"), "colour"),
        (set_in("learners", 0, "weights", "../w"), "does not say what was trained"),
        (set_in("learners", 0, "temperature", {"value": -1, "floor": 0.1}), "temperature of -1"),
        (set_in("store", "size_px", 10**9), "a side of 1000000000 px"),
        (set_in("store", "resize", "crop"), "'crop', where one of"),
        (set_in("diagnoses", "many"), "expected a list of names"),
        (set_in("learners", "none"), "expected a list"),
    ],
)
def test_what_is_not_ours_is_refused_by_name(bundle, change, told):
    changed(bundle, change)
    with pytest.raises(BundleError, match=told):
        trained_of_bundle(bundle)


def test_weights_that_do_not_fit_and_files_that_hold_none(bundle, tmp_path):
    save_weights({"weight": torch.ones(2)}, tmp_path / "own.safetensors")
    assert read_weights(tmp_path / "own.safetensors")["weight"].tolist() == [1, 1]
    (tmp_path / "text.safetensors").write_text("no weights at all")
    with pytest.raises(CheckpointError, match="holds no weights"):
        read_weights(tmp_path / "text.safetensors")
    changed(bundle, set_in("learners", 0, "network", "init_args", "classes", 3))
    with pytest.raises(TrainedError, match="do not fit"):
        trained_of_bundle(bundle).learners[0].build()
