import pytest

from flannel.comparison.results import read_comparison
from flannel.comparison.tables.recipes import recipes_table
from flannel.data.diagnosis import FLANNEL
from flannel.study.contents import StudyError

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


def test_a_broken_recipe_is_named(study_files):
    folder = study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    comparison = read_comparison(study_files.folder)
    assert recipes_table(comparison) is None
    (folder / "config.yaml").write_text("a: [")
    with pytest.raises(StudyError, match="is no YAML"):
        recipes_table(comparison)
