"""Studies of a user's own classes, from their folders to a bundle and its predictions."""

import html
import json

import numpy as np
import pandas as pd
import pytest

from flannel.__main__ import main
from flannel.data.phantom import write_phantom
from flannel.data.provenance import label_set_of
from flannel.learners import learner
from flannel.study.predictions import load_predictions, probability_columns

KINDS = ("COVID-19", "Normal", "Viral pneumonia", "Bacterial pneumonia")
TINY = (
    "--model.network=flannel.networks.ImageNetNetwork", "--model.vote=mean_softmax",
    "--model.network.init_args.architecture=mobilenet_v3_small",
    "--model.network.init_args.weights=random", "--optimizer=torch.optim.Adam",
    "--optimizer.init_args.lr=0.001", "--data.arm=global", "--data.size_px=32",
    "--data.resize_px=40", "--data.batch_size=8", "--trainer.max_epochs=1",
    "--trainer.accelerator=cpu", "--resume_every=0",
)  # fmt: skip


def folders(place, names, each=6):
    """Phantoms in one folder for each class."""
    for kind, name in enumerate(names):
        for number in range(each):
            path = place / name / f"{kind}-{number}.png"
            write_phantom(path, KINDS[kind % 4], np.random.default_rng([kind, number]), (96, 80))
    return place


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("healthy", "tuberculosis"), ("tuberculosis", "healthy")),
        (
            ("Normal", "asthma", "mass", "Pneumothorax", "oedème", "TB (old)", "x_1"),
            ("asthma", "mass", "oedème", "Pneumothorax", "TB (old)", "x_1", "Normal"),
        ),
    ],
)
def test_own_classes_go_the_whole_way(
    names, expected, tmp_path, experiments, monkeypatch, drawn_once
):
    monkeypatch.setattr("flannel.data.audit.shortcuts.TREES", 8)
    data, study = folders(tmp_path / "data", names), tmp_path / "study"
    place = f"--study={study}"
    words = ["manifest", f"--data={data}", place, "--mapping=folders", "--folds=2"]
    assert main(words) == 0
    assert label_set_of(study) == expected
    assert main(["store", place, "--size_px=48"]) == 0
    assert main(["audit", place]) == 0
    page = html.unescape((study / "audit.html").read_text(encoding="utf-8"))
    assert all(f'<td class="words">{name}</td>' in page for name in names)
    outputs = f"--model.network.init_args.classes={len(names)}"
    for name in ("tiny", "other"):
        learner.train(["fit", *TINY, f"--name={name}", place, outputs])
    recipes = f"--experiments={experiments}"
    words = ["ensembles", place, recipes, "--arm=global", "--fold=0", "--learner=tiny,other"]
    assert main([*words, "--form=flannel,mean,majority,logistic"]) == 0
    assert main(["shortcuts", place]) == 0
    assert main(["compare", place, "--wandb=off"]) == 0
    report = (study / "comparison" / "table.md").read_text()
    assert all(name in report for name in expected)
    assert "0.9239" not in report  # FLANNEL's published F1 of COVID-19
    for run in ("base/global/tiny", "base/global/other", "ensemble/global"):
        table = load_predictions(study / run / "fold0" / "predictions.csv", expected)
        np.testing.assert_allclose(table[probability_columns(expected)].sum(axis=1), 1, atol=1e-5)
    bundle, answers = tmp_path / "model.flannel", tmp_path / "answers"
    assert main(["bundle", place, f"--out={bundle}"]) == 0
    one = next((data / names[0]).glob("*.png"))
    assert main(["predict", str(one), f"--study={bundle}", f"--out={answers}"]) == 0
    document = json.loads((answers / "predictions.json").read_text())
    assert tuple(document["diagnoses"]) == expected
    rows = pd.read_csv(answers / "predictions.csv")
    assert set(rows["learner"]) >= {"tiny", "other", "FLANNEL"}
    own = load_predictions(study / "base/global/tiny/fold0/predictions.csv", expected)
    columns = probability_columns(expected)
    mine = rows[rows["learner"] == "tiny"].iloc[0]
    of_study = own[own["image_id"].str.contains(f"-{one.stem}-")].iloc[0]
    np.testing.assert_allclose(
        mine[columns].astype(float), of_study[columns].astype(float), rtol=1e-6
    )
