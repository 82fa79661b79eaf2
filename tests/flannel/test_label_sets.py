"""Studies of two and of three diagnoses, from their learners to their report."""

import json

import numpy as np
import pytest
from sklearn.metrics import f1_score

from flannel.__main__ import main
from flannel.analysis.patch_report import write_patch_study
from flannel.comparison.compare import compare_study
from flannel.comparison.measurements import measure_comparison
from flannel.comparison.results import read_comparison
from flannel.comparison.tables import all_tables
from flannel.comparison.tables.cohort import table_2
from flannel.data.diagnosis import LABEL_SETS
from flannel.data.folds import assign_folds
from flannel.data.manifest import build_manifest
from flannel.data.provenance import Choices, save_with_provenance
from flannel.ensemble import ensemble
from flannel.learners import learner
from flannel.learners.datamodule import CohortError, RadiographDataModule
from flannel.learners.learner import TrainingError
from flannel.learners.shortcut_baselines import fit_baselines
from flannel.study.predictions import load_predictions, probability_columns

TINY = (
    "--name=tiny", "--model.network=flannel.networks.ImageNetNetwork",
    "--model.network.init_args.architecture=mobilenet_v3_small",
    "--model.network.init_args.weights=random", "--optimizer=torch.optim.Adam",
    "--optimizer.init_args.lr=0.001", "--data.size_px=32", "--data.resize_px=40",
    "--data.window_px=24", "--data.batch_size=8", "--data.predict_patches=4",
    "--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--resume_every=0",
)  # fmt: skip


@pytest.fixture
def relabelled(phantoms, phantom_study):
    """Returns the study of the phantoms other diagnoses; its store and masks stay."""

    def read(mapping):
        table, _ = build_manifest(phantoms, mapping=mapping)
        table = assign_folds(table, "patient", seed=1, folds=5)
        save_with_provenance(table, phantom_study / "manifest.csv", Choices("patient", 1, mapping))
        return phantom_study

    return read


def fit(study, *options):
    learner.train(["fit", *TINY, f"--study={study}", *options])


@pytest.fixture
def trained(relabelled, monkeypatch):
    """Makes a study with two learners, their ensemble and the shortcut baselines."""
    monkeypatch.setattr("flannel.data.audit.shortcuts.TREES", 8)

    def make(mapping):
        study = relabelled(mapping)
        classes = f"--model.network.init_args.classes={len(LABEL_SETS[mapping])}"
        weighed = ("--model.class_weights=inverse_frequency", "--data.order=balanced")
        for arm in ("global", "patched"):
            fit(study, f"--data.arm={arm}", classes, *weighed)
        ensemble.main(
            ["fit", "--name=flannel", f"--study={study}", "--data.arm=fused",
             "--data.learners=[global/tiny,patched/tiny]", "--optimizer=torch.optim.Adam",
             "--optimizer.lr=0.01", "--trainer.max_epochs=2", "--trainer.accelerator=cpu"]
        )  # fmt: skip
        fit_baselines(study)
        return study

    return make


@pytest.mark.slow
def test_one_sigmoid_is_enough_for_two_diagnoses(relabelled):
    study = relabelled("covid_normal")
    fit(
        study, "--data.arm=global", "--model.vote=mean_softmax",
        "--model.network=flannel.networks.FrozenNetwork",
        "--model.network.init_args.architecture=mobilenet_v3_small",
        "--model.network.init_args.weights=random", "--model.network.init_args.classes=2",
        "--model.loss=flannel.losses.SquaredError",
    )  # fmt: skip
    diagnoses = LABEL_SETS["covid_normal"]
    table = load_predictions(study / "base/global/tiny/fold0/predictions.csv", diagnoses)
    confidences = table[probability_columns(diagnoses)].to_numpy()
    np.testing.assert_allclose(confidences.sum(axis=1), 1, atol=1e-6)
    assert confidences.std() > 0.001
    assert np.abs(confidences - 0.5).max() < 0.5


@pytest.mark.slow
def test_three_diagnoses_reach_every_run_and_table(trained):
    study, diagnoses = trained("covid_qu_ex"), LABEL_SETS["covid_qu_ex"]
    columns = probability_columns(diagnoses)
    for run in ("base/global/tiny", "base/patched/tiny", "ensemble/fused", "shortcut/lungs_hidden"):
        table = load_predictions(study / run / "fold0" / "predictions.csv", diagnoses)
        assert set(table["diagnosis"]) == set(diagnoses)
        assert [name for name in table if name.startswith("p_")] == columns
        np.testing.assert_allclose(table[columns].sum(axis=1), 1, atol=1e-5)
        of_test = json.loads((study / run / "fold0" / "metrics.json").read_text())["test"]
        assert of_test["macro_f1"] == pytest.approx(np.mean([*of_test["f1"].values()]))
        test = table[table["split"] == "test"]
        found = f1_score(
            test["diagnosis"], np.array(diagnoses)[test[columns].to_numpy().argmax(axis=1)],
            labels=diagnoses, average=None,
        )  # fmt: skip
        assert [of_test["f1"][name] for name in diagnoses] == pytest.approx(found)
    tables = {t.name: t for t in all_tables(measure_comparison(read_comparison(study)), [])}
    assert tables["table_3"].head == ("arm", "learner", "from", *diagnoses, "macro")
    rows = {line.cells[:2] for line in tables["table_3"].lines}
    assert ("fused", "FLANNEL") in rows
    assert len(rows) == len(tables["table_3"].lines) == 3 + 4  # networks, shortcut baselines


@pytest.mark.slow
def test_two_diagnoses_reach_the_report(trained, capsys, drawn_once):
    study = trained("covid_normal")
    write_patch_study(study, repeats=2)
    assert (study / "base" / "patched" / "tiny" / "fold0" / "patches.png").is_file()
    capsys.readouterr()
    compare_study(study, wandb="off")
    note = "The diagnoses of this study (COVID-19, Normal) are not those of paper 004"
    assert note in capsys.readouterr().out
    page = (study / "comparison" / "table.md").read_text()
    for absent in ("Viral pneumonia", "final report", "0.9239", "of the paper's 5"):
        assert absent not in page


def test_a_cohort_of_other_diagnoses_is_counted_without_the_paper(relabelled):
    table = table_2(relabelled("darkcovidnet"))
    assert table.head == ("", "", "Total", *LABEL_SETS["darkcovidnet"])
    assert "paper 004" not in table.caption
    total = table.lines[-1].cells[2:]
    assert [int(cell) for cell in total] == [40, 10, 20, 10]


@pytest.mark.slow
def test_a_network_with_another_number_of_outputs_learns_nothing(relabelled):
    study = relabelled("covid_qu_ex")
    with pytest.raises(TrainingError, match=r"has 4 outputs and the study 3 diagnoses .*classes=3"):
        fit(study)


def test_base_models_give_networks_as_many_outputs_as_there_are_diagnoses(
    relabelled, experiments, capsys
):
    words = [f"--experiments={experiments}", "--learner=resnet18,densenet_small", "--list=true"]
    for mapping, expected in (
        ("wide", []),
        ("covid_normal", ["classes=2", "num_classes=2"]),  # as ours and as torchvision's call it
    ):
        assert main(["base-models", f"--study={relabelled(mapping)}", *words]) == 0
        command = capsys.readouterr().out.split()
        option = "--model.network.init_args."
        values = [word.removeprefix(option) for word in command if word.startswith(option)]
        assert values == expected * 2  # arms


def test_a_manifest_of_other_diagnoses_than_it_says_is_refused(relabelled):
    study = relabelled("covid_qu_ex")
    (study / "manifest.json").unlink()
    data = RadiographDataModule(study)
    with pytest.raises(CohortError, match=r"diagnosis 'Non-COVID'; .*MAPPING="):
        data.setup("fit")


def test_targets_count_in_the_order_of_the_label_set(relabelled):
    data = RadiographDataModule(relabelled("covid_qu_ex"), size_px=32, resize_px=40)
    data.setup("fit")
    assert data.diagnoses == ("COVID-19", "Non-COVID", "Normal")
    assert list(data.class_counts()) == list(data.diagnoses)
    truth = data.table.set_index("image_id")["diagnosis"]
    for batch in data.predict_dataloader():
        diagnoses = [data.diagnoses[int(target)] for target in batch.target]
        assert diagnoses == [truth[image_id] for image_id in batch.image_ids]
