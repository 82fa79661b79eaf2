import pytest

from flannel.comparison.results import read_comparison
from flannel.comparison.tables.recipes import chosen_epoch, recipes_table, runs_table
from flannel.data.diagnosis import FLANNEL
from flannel.study.contents import StudyError, find_runs

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)
RECIPE = """
model: {vote: share, network: {class_path: a.Network, init_args: {weights: imagenet}}}
optimizer: {class_path: torch.optim.Adam, init_args: {lr: 1.0e-5, weight_decay: 0.1}}
data: {batch_size: 16, predict_patches: 100, size_px: 224}
trainer: {max_epochs: 200}
selection: val/macro_f1
"""


def test_recipes_say_what_was_trained_with_what(study_files):
    for arm in ("global", "patched"):
        folder = study_files.run(f"base/{arm}/vgg19_bn/fold0", TRUTH)
        (folder / "config.yaml").write_text(RECIPE)
    table = recipes_table(read_comparison(study_files.folder))
    assert table.lines[1].cells == (
        "patched", "vgg19_bn", "imagenet", "Adam", "1e-05", "0.1", "16", "200", "224", "100",
        "share", "val/macro_f1",
    )  # fmt: skip
    assert table.lines[0].cells[9:11] == ("–", "–")  # whole radiographs do not vote


def test_every_training_names_its_seed_epochs_device_and_precision(study_files):
    folder = study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    other = study_files.run("base/global/vgg19_bn/fold1", TRUTH)
    assert runs_table(find_runs(study_files.folder)) is None  # nothing was trained by epochs
    (folder / "config.yaml").write_text(f"seed_everything: 7\n{RECIPE}")
    for run in (folder, other):
        (run / "curves.csv").write_text("epoch,val/macro_f1\n0,0.5\n1,0.75\n2,0.75\n3,0.6\n")
    known = {"epochs": 4, "device": "GPU", "devices": 2, "precision": "32-true", "torch": "2.10.0"}
    study_files.json("base/global/vgg19_bn/fold0/cost.json", {"seconds": 1, **known})
    table = runs_table(find_runs(study_files.folder))
    assert table.lines[0].cells == (
        "global", "vgg19_bn", "0", "7", "4", "2", "GPU × 2", "32-true", "2.10.0",
    )  # fmt: skip
    assert table.lines[1].cells[3:] == (
        "not stated", "not stated", "not stated", "cpu", "not stated", "not stated",
    )  # fmt: skip


def test_the_chosen_epoch_is_the_first_of_the_best(tmp_path):
    assert chosen_epoch(tmp_path, "val/macro_f1") is None
    (tmp_path / "curves.csv").write_text("epoch,val/macro_f1\n0,\n1,0.4\n2,0.6\n3,0.6\n")
    assert chosen_epoch(tmp_path, "val/macro_f1") == 3
    assert chosen_epoch(tmp_path, "last") == 4
    assert chosen_epoch(tmp_path, "val/accuracy") is None
    (tmp_path / "curves.csv").write_text("epoch,val/macro_f1\n")
    assert chosen_epoch(tmp_path, "last") is None


def test_a_broken_recipe_is_named(study_files):
    folder = study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    comparison = read_comparison(study_files.folder)
    assert recipes_table(comparison) is None
    (folder / "config.yaml").write_text("a: [")
    with pytest.raises(StudyError, match="is no YAML"):
        recipes_table(comparison)
