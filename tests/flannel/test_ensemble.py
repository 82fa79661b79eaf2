"""The neural weight module against the original's numbers, and ensembles of made-up predictions."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from flannel import ensemble
from flannel.data.diagnosis import FLANNEL
from flannel.ensemble import EnsembleError, NeuralWeightModule, PredictionsDataModule, Rows
from flannel.predictions import load_predictions, probability_columns, save_predictions
from flannel.runs import RunError


def test_combined_scores_equal_the_original(golden):
    numbers = golden("ensemble_dev")
    module = NeuralWeightModule(learners=5, classes=4).double()
    with torch.no_grad():
        module.linear.weight.copy_(torch.tensor(numbers["weight"]))
        module.linear.bias.copy_(torch.tensor(numbers["bias"]))
    combined = module(torch.tensor(numbers["learner_probabilities"], dtype=torch.float64))
    np.testing.assert_allclose(combined.detach().numpy(), numbers["combined"], atol=1e-9, rtol=0)


def test_weights_by_hand_for_two_learners_and_two_classes():
    module = NeuralWeightModule(2, 2)
    with torch.no_grad():
        module.linear.weight.zero_()
        module.linear.weight[0, 1 * 4 + 2] = 1.0  # f[1] * f[2] speaks for learner 0
        module.linear.bias.copy_(torch.tensor([0.0, -0.5]))
    p = torch.tensor([[[0.3, 0.7], [0.6, 0.4]]])
    w0, w1 = np.tanh(0.7 * 0.6), np.tanh(-0.5)
    expected = [w0 * 0.3 + w1 * 0.6, w0 * 0.7 + w1 * 0.4]
    np.testing.assert_allclose(module(p).detach().numpy()[0], expected, rtol=1e-6)


@pytest.mark.parametrize("learners", [1, 3, 10])
def test_any_number_of_learners(learners):
    module = NeuralWeightModule(learners, 4)
    assert sum(p.numel() for p in module.parameters()) == (learners * 4) ** 2 * learners + learners
    assert module(torch.rand(7, learners, 4)).shape == (7, 4)


def test_five_learners_have_2005_parameters():
    assert sum(p.numel() for p in NeuralWeightModule(5, 4).parameters()) == 2005


def test_softmax_weights_are_positive_and_sum_to_one():
    weights = NeuralWeightModule(5, 4, weights="softmax").learner_weights(torch.rand(6, 5, 4))
    assert (weights > 0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(6))


def test_the_wrong_number_of_learners_is_named():
    with pytest.raises(ValueError, match="expected \\(batch, 5 learners, 4 classes\\)"):
        NeuralWeightModule(5, 4)(torch.rand(2, 4, 4))


def test_rows_come_once_an_epoch_and_in_another_order_in_the_next():
    probabilities = torch.arange(10.0).view(10, 1, 1).expand(10, 2, 4)
    rows = Rows(probabilities, torch.arange(10), batch_size=4, seed=3)
    first = torch.cat([batch.target for batch in rows])
    again = torch.cat([batch.target for batch in rows])
    rows.set_epoch(1)
    second = torch.cat([batch.target for batch in rows])
    assert first.tolist() == again.tolist() != second.tolist()
    assert sorted(second.tolist()) == list(range(10))
    assert len(rows) == 3


def write_base_run(study, arm, learner, expert, rows=60, split="abc"):
    """A finished base run that is right about the diagnosis `expert`, and guesses otherwise."""
    rng = np.random.default_rng(expert)
    diagnosis = np.array(FLANNEL)[np.arange(rows) % 4]
    probabilities = rng.dirichlet(np.ones(4), size=rows)
    knows = diagnosis == FLANNEL[expert]
    probabilities[knows] = 0.02
    probabilities[knows, expert] = 0.94
    table = pd.DataFrame(
        {
            "image_id": [f"image-{i:03}" for i in range(rows)],
            "patient_id": [f"p{i}" for i in range(rows)],
            "group": [f"p{i}" for i in range(rows)],
            "split": np.resize(["train"] * 6 + ["val", "val"] + ["test", "test"], rows),
            "diagnosis": diagnosis,
        }
    )
    table[probability_columns()] = probabilities
    folder = study / "base" / arm / learner / "fold0"
    save_predictions(table, folder / "predictions.csv")
    parts = {"split": split, "store": "s", "config": learner, "code": "1"}
    (folder / "fingerprint.json").write_text(json.dumps({"finished": True, "parts": parts}))
    return table


def arguments(study, *learners, epochs=30):
    return [
        "fit", "--name=flannel", f"--study={study}", "--data.arm=global", "--data.fold=0",
        f"--data.learners=[{','.join(learners)}]", "--data.batch_size=8",
        "--optimizer=torch.optim.Adam", "--optimizer.lr=0.02", f"--trainer.max_epochs={epochs}",
        "--trainer.accelerator=cpu", "--model.gamma=1",
    ]  # fmt: skip


def test_an_ensemble_is_trained_written_and_then_skipped(tmp_path, capsys):
    for expert in range(4):
        write_base_run(tmp_path, "global", f"learner{expert}", expert)
    names = [f"global/learner{expert}" for expert in range(4)]
    assert ensemble.main(arguments(tmp_path, *names)) == 0
    folder = tmp_path / "ensemble" / "global" / "fold0"
    table = load_predictions(folder / "predictions.csv")
    assert len(table) == 60
    np.testing.assert_allclose(table[probability_columns()].sum(axis=1), 1, atol=1e-6)
    assert table[[f"w_learner{i}" for i in range(4)]].abs().max().max() <= 1
    single = load_predictions(tmp_path / "base/global/learner0/fold0/predictions.csv")
    right = (table[probability_columns()].to_numpy().argmax(1) == np.arange(60) % 4).mean()
    alone = (single[probability_columns()].to_numpy().argmax(1) == np.arange(60) % 4).mean()
    assert right > alone + 0.2
    assert json.loads((folder / "fingerprint.json").read_text())["finished"] is True
    assert not (folder / "last.ckpt").exists()
    checkpoint = torch.load(folder / "best.ckpt", weights_only=True)
    assert "combination.linear.weight" in checkpoint["state_dict"]
    ensemble.main(arguments(tmp_path, *names))
    assert "finished with the same fingerprint: skipped" in capsys.readouterr().out
    with pytest.raises(RunError, match="another config"):
        ensemble.main(arguments(tmp_path, *names, epochs=31))


def test_missing_learners_are_all_named(tmp_path):
    write_base_run(tmp_path, "global", "a", 0)
    with pytest.raises(EnsembleError, match=r"global/b, global/c .*make base-models FOLD=0"):
        ensemble.main(arguments(tmp_path, "global/a", "global/b", "global/c"))


def test_learners_of_another_split_are_refused(tmp_path):
    write_base_run(tmp_path, "global", "a", 0)
    write_base_run(tmp_path, "global", "b", 1, split="other")
    with pytest.raises(RunError, match=r"different fingerprints \(split\)"):
        ensemble.main(arguments(tmp_path, "global/a", "global/b"))


def test_training_rows_give_the_class_counts(tmp_path):
    table = write_base_run(tmp_path, "global", "a", 0)
    data = PredictionsDataModule(tmp_path, "global", ["global/a"])
    data.setup("fit")
    train = table[table["split"] == "train"]["diagnosis"]
    assert data.class_counts().tolist() == [(train == name).sum() for name in FLANNEL]
