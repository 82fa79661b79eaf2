"""What writing a bundle leaves: whole, without paths of the machine, as its reader takes it."""

import re
import shutil
import threading
from dataclasses import replace

import pytest
import torch

from flannel.bundle.layout import BundleError
from flannel.bundle.read import trained_of_bundle
from flannel.bundle.write import write_bundle
from flannel.data.diagnosis import FLANNEL
from flannel.data.duplicates import HASH_BYTES
from flannel.data.folds import splits_of_fold
from flannel.metrics.classification import measured_splits
from flannel.prediction.trained import TrainedError
from flannel.runs.checkpoints import CheckpointError
from flannel.study.predictions import SPLITS, load_predictions

pytestmark = pytest.mark.slow


def test_no_path_of_the_training_machine_is_handed_on(trained, base_study, tmp_path):
    network = dict(trained.learners[0].network)
    network["init_args"] = {**network["init_args"], "weights": "/home/somebody/imagenet"}
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


def test_the_card_tells_data_results_and_limits(bundle, base_study):
    card = (bundle / "MODEL_CARD.md").read_text()
    assert "no medical device" in card
    used = splits_of_fold(base_study.manifest, 0)
    counts = [(used[base_study.manifest["source"] == "a"] == split).sum() for split in SPLITS]
    assert f"| a | not stated | {' | '.join(map(str, counts))} |" in card
    assert "Licence of the weights: CC BY 4.0." in card
    table = load_predictions(base_study.folder / "base/global/small/fold0/predictions.csv", FLANNEL)
    macro_f1 = measured_splits(table, FLANNEL)["test"]["macro_f1"]
    assert re.search(rf"\| global small \| {macro_f1:.3f}( \[[^]]*\])? \|", card)
    assert "| split protocol |" in card
    assert "| **in the cohort** |" in card
    assert "No shortcut baseline was computed" in card
    assert "| 1.500 |" in card
    assert "A note on the masks." in card


def test_shortcut_baselines_travel_on_the_card(trained, base_study, tmp_path):
    baseline = base_study.folder / "shortcut" / "size_and_border" / "fold0"
    shutil.copytree(base_study.folder / "base" / "global" / "small" / "fold0", baseline)
    folder = tmp_path / "model.flannel"
    write_bundle(trained, base_study.folder, folder)
    card = (folder / "MODEL_CARD.md").read_text()
    (ours,) = [line for line in card.splitlines() if line.startswith("| global small | 0")]
    (theirs,) = [line for line in card.splitlines() if line.startswith("| shortcut size and")]
    assert ours.split("|")[2:-2] == theirs.split("|")[2:-2]
    assert theirs.endswith("| – |")
    assert "random forests that see no lung pixels" in card


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


def test_who_reads_meets_the_old_bundle_the_new_one_or_a_sentence(trained, bundle, base_study):
    other = replace(trained, notes=("Another.",))
    outcomes, ended = [], threading.Event()

    def replace_it():
        while not ended.is_set():
            for one in (other, trained):
                write_bundle(one, base_study.folder, bundle, redo=True)

    writer = threading.Thread(target=replace_it)
    writer.start()
    try:
        for _ in range(12):
            try:
                outcomes.append(trained_of_bundle(bundle).notes)
            except BundleError as fault:
                outcomes.append(str(fault))
    finally:
        ended.set()
        writer.join()
    sentences = {one for one in outcomes if isinstance(one, str)}
    assert {one for one in outcomes if isinstance(one, tuple)} <= {trained.notes, other.notes}
    gone = f"{bundle} is no bundle: it has no bundle.json."
    replaced = f"The bundle {bundle} was replaced or removed while it was read."
    assert all(one == gone or one.startswith(replaced) for one in sentences)
    assert [path.name for path in bundle.parent.iterdir() if path.name.startswith(".")] == []


def test_a_link_to_a_bundle_stays_one(trained, bundle, base_study, tmp_path):
    link = tmp_path / "newest.flannel"
    link.symlink_to(bundle)
    write_bundle(trained, base_study.folder, link, licence="MIT", redo=True)
    assert link.is_symlink()
    assert "MIT" in (bundle / "MODEL_CARD.md").read_text()


def test_what_its_reader_would_refuse_is_not_written(trained, base_study, tmp_path):
    folder = tmp_path / "model.flannel"
    odd = replace(trained, notes=("Two\nlines.",))
    with pytest.raises(BundleError, match=r"model.flannel is not written, as no .* the text 'Two"):
        write_bundle(odd, base_study.folder, folder)
    assert not [path.name for path in tmp_path.iterdir() if "model.flannel" in path.name]


def test_more_hashes_than_are_read_are_left_out_with_a_note(
    trained, base_study, tmp_path, monkeypatch
):
    monkeypatch.setattr("flannel.bundle.write.MOST_HASHES", 2)
    hashes = tuple(bytes([number]) * HASH_BYTES for number in range(3))
    for count, note in ((2, ()), (3, ("It knows no copies",))):
        folder = tmp_path / f"{count}.flannel"
        known = replace(trained, hashes=lambda count=count: hashes[:count])
        write_bundle(known, base_study.folder, folder)
        back = trained_of_bundle(folder)
        assert [one[:18] for one in back.notes[1:]] == list(note)
        assert (back.hashes is None) == bool(note)
        assert ("hashes.bin" in (folder / "MODEL_CARD.md").read_text()) == (not note)
