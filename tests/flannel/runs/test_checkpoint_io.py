"""Checkpoints are whole or not there, written beside their target, and damage is always noticed."""

import resource
import zipfile

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from flannel.errors import RunError
from flannel.runs.checkpoint_io import RESUMED, WholeCheckpointIO, check_resumable
from flannel.runs.checkpoints import CheckpointError, checkpoint_weights, read_checkpoint


def network(width=5):
    torch.manual_seed(1)
    return nn.Linear(width, 3)


def state_of(model, **further):
    empty = {name: {} for name in RESUMED}
    return {**empty, "state_dict": model.state_dict(), **further}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "best.ckpt"
    WholeCheckpointIO().save_checkpoint(state_of(network(400)), path)
    return path


def test_a_checkpoint_is_written_where_it_belongs_and_nowhere_else(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    monkeypatch.setenv("TMPDIR", "/nowhere")
    path = tmp_path / "run" / "last.ckpt"
    WholeCheckpointIO().save_checkpoint(state_of(network(), epoch=4), path)
    read = WholeCheckpointIO().load_checkpoint(path)
    assert read["epoch"] == 4
    assert torch.equal(read["state_dict"]["weight"], network().weight)
    assert [one.name for one in path.parent.iterdir()] == ["last.ckpt"]
    WholeCheckpointIO().remove_checkpoint(path)
    assert not path.exists()


def test_a_disk_without_room_is_a_sentence_and_leaves_the_checkpoint_before(tmp_path):
    path = tmp_path / "last.ckpt"
    WholeCheckpointIO().save_checkpoint(state_of(network()), path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # as if there were no room
    try:
        with pytest.raises(RunError, match=r"last\.ckpt cannot be written .*Make room"):
            WholeCheckpointIO().save_checkpoint(state_of(network(100_000)), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


KINDS = ("cut", "zeros", "noise", "flip")


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kind=st.sampled_from(KINDS),
    place=st.floats(0, 1, exclude_max=True),
    length=st.integers(1, 3000),
    seed=st.integers(0, 255),
)
def test_damage_is_noticed_or_harms_no_number(written, tmp_path, kind, place, length, seed):
    content = bytearray(written.read_bytes())
    at = int(place * len(content))
    part = slice(at, at + length)
    match kind:
        case "cut":
            del content[at:]
        case "zeros":
            content[part] = bytes(len(content[part]))
        case "noise":
            content[part] = bytes((seed + 37 * i) % 256 for i in range(len(content[part])))
        case "flip":
            content[at] ^= 1 << seed % 8
    damaged = tmp_path / "best.ckpt"
    damaged.write_bytes(content)
    try:
        weights = checkpoint_weights(damaged, "")
    except CheckpointError:
        return
    for name, value in network(400).state_dict().items():
        assert torch.equal(weights[name], value)


def test_zeroed_weights_do_not_pass_for_weights(written, tmp_path):
    """torch itself reads them without a word."""
    with zipfile.ZipFile(written) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("data/0"))
        weights = archive.read(name)
    content = written.read_bytes().replace(weights, bytes(len(weights)))
    damaged = tmp_path / "best.ckpt"
    damaged.write_bytes(content)
    assert not torch.load(damaged, weights_only=True)["state_dict"]["weight"].any()
    with pytest.raises(CheckpointError, match="is damaged"):
        read_checkpoint(damaged)


def test_a_folder_and_a_missing_file_are_sentences(tmp_path):
    with pytest.raises(CheckpointError, match=r"Is a directory"):
        read_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match=r"There is no checkpoint .*best\.ckpt"):
        read_checkpoint(tmp_path / "best.ckpt")


def test_a_training_goes_on_only_from_a_whole_state_of_its_own_network(tmp_path):
    last, best, io = tmp_path / "last.ckpt", tmp_path / "best.ckpt", WholeCheckpointIO()
    io.save_checkpoint(state_of(network()), last)
    check_resumable(last, best, network())
    with pytest.raises(CheckpointError, match=r"last\.ckpt is of another network"):
        check_resumable(last, best, network(6))
    selected = {"ModelCheckpoint{}": {"best_model_path": "/elsewhere/best.ckpt"}, "EpochLine": {}}
    io.save_checkpoint(state_of(network(), callbacks=selected), last)
    with pytest.raises(CheckpointError, match=r"There is no checkpoint .*best\.ckpt"):
        check_resumable(last, best, network())
    check_resumable(last, None, network())
    best.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"best\.ckpt is damaged"):
        check_resumable(last, best, network())
    io.save_checkpoint({"state_dict": network().state_dict()}, best)
    check_resumable(last, best, network())
    with pytest.raises(CheckpointError, match=r"no whole state of a training: no optimizer_states"):
        check_resumable(best, None, network())
