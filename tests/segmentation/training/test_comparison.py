import json

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from segmentation.checkpoint import MaskError
from segmentation.fc_densenet import FCDenseNet
from segmentation.training.comparison import compare_segmenters, save_comparison

SMALL = {"in_channels": 1, "classes": 2, "down": [1], "bottleneck": 1, "up": [1], "growth": 4}


def write_run(study, name, jaccards, stems=None, origins=None, finished=True):
    """A finished run whose test radiographs have the given Jaccard indices."""
    folder = study / "segmentation" / name
    folder.mkdir(parents=True)
    stems = stems or [f"p{n}" for n in range(len(jaccards))]
    table = pd.DataFrame(
        {
            "stem": stems, "origin": origins or "here", "group": stems, "split": "test",
            "jaccard": jaccards, "jaccard_native": jaccards, "dice": 0.9, "hausdorff95": 0.02,
        }
    )  # fmt: skip
    other = table.iloc[:1].assign(split="val", jaccard=0.0)
    pd.concat([other, table]).to_csv(folder / "measures.csv", index=False)
    (folder / "metrics.json").write_text(json.dumps({"parameters": 1234567}))
    (folder / "fingerprint.json").write_text(json.dumps({"finished": finished, "parts": {}}))
    network = FCDenseNet(1, 2, (1,), 1, (1,), growth=4)
    state = {f"network.{key}": value for key, value in network.state_dict().items()}
    torch.save({"state_dict": state}, folder / "best.ckpt")
    specification = {"class_path": "segmentation.fc_densenet.FCDenseNet", "init_args": SMALL}
    config = {"model": {"network": specification}, "data": {"size_px": 16}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def test_runs_are_compared_radiograph_by_radiograph(tmp_path):
    """Always 0.1 better: the difference is certain, although the radiographs differ widely."""
    base = np.linspace(0.2, 0.8, 30)
    write_run(tmp_path, "a", base)
    write_run(tmp_path, "b", base + 0.1)
    write_run(tmp_path, "c", base - 0.1, finished=False)
    table = compare_segmenters(tmp_path, rounds=1).set_index("run")
    assert table.index.tolist() == ["a", "b"]
    assert table["radiographs"].tolist() == [30, 30]
    assert table.loc["b", "jaccard"] == pytest.approx(0.6)
    assert table.loc["b", "jaccard_high"] - table.loc["b", "jaccard_low"] > 0.1
    differences = table.loc["b", ["difference", "difference_low", "difference_high"]].tolist()
    assert differences[0] == pytest.approx(0.1)
    assert pd.isna(differences[1:]).all()  # they do not vary, so no uncertainty is known
    assert np.isnan(table.loc["a", "difference"])
    assert (table["images_per_second"] > 0).all()
    turned = compare_segmenters(tmp_path, against="b", rounds=0).set_index("run")
    assert turned.loc["a", "difference"] == pytest.approx(-0.1)
    assert turned["images_per_second"].isna().all()


def test_only_shared_radiographs_count_and_origins_stand_apart(tmp_path, capsys):
    write_run(tmp_path, "a", [0.5, 0.7, 0.9], ["p", "q", "r"], ["kids", "kids", "adults"])
    write_run(tmp_path, "b", [0.4, 1.0], ["q", "r"], ["kids", "adults"])
    table = compare_segmenters(tmp_path, rounds=0)
    assert "a: 1 test radiographs that not all runs share" in capsys.readouterr().out
    found = {(row.run, row.tested_on): row.jaccard for row in table.itertuples()}
    assert found == pytest.approx(
        {
            ("a", "all"): 0.8, ("b", "all"): 0.7, ("a", "adults"): 0.9, ("b", "adults"): 1.0,
            ("a", "kids"): 0.7, ("b", "kids"): 0.4,
        }
    )  # fmt: skip


def test_table_can_be_read(tmp_path):
    write_run(tmp_path, "a", [0.5, 0.5])
    write_run(tmp_path, "b", [0.75, 0.75])
    text = save_comparison(compare_segmenters(tmp_path, rounds=0), tmp_path)
    assert (tmp_path / "comparison.md").read_text() == text
    assert text.splitlines()[3] == (
        "| b | all (2) | 0.7500 (no interval) | 0.7500 | 0.9000 | 0.0200 "
        "| 0.2500 (no interval) | 1,234,567 |  |"
    )
    assert pd.read_csv(tmp_path / "comparison.csv")["jaccard"].tolist() == [0.5, 0.75]


def test_what_cannot_be_compared_is_one_sentence(tmp_path):
    with pytest.raises(MaskError, match="holds no finished run"):
        compare_segmenters(tmp_path)
    write_run(tmp_path, "a", [0.5], ["p"])
    with pytest.raises(MaskError, match="against is 'c'; expected one of a"):
        compare_segmenters(tmp_path, against="c")
    write_run(tmp_path, "b", [0.5], ["q"])
    with pytest.raises(MaskError, match="share no test radiograph"):
        compare_segmenters(tmp_path, rounds=0)
    (tmp_path / "segmentation" / "b" / "measures.csv").unlink()
    with pytest.raises(MaskError, match=r"measures\.csv is missing"):
        compare_segmenters(tmp_path, rounds=0)
