"""The other papers' tables of runs, repeats, images and layers, by hand."""

import numpy as np
import pandas as pd
import pytest

from flannel.comparison.related import COLUMNS, Related, RelatedStudy, Twin
from flannel.comparison.tables.related import (
    composition_table,
    made_up_note,
    network_tables,
    repeats_table,
    runs_table,
)
from flannel.data.diagnosis import FLANNEL

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)
ONE_WRONG = (COVID, VIRAL, *TRUTH[2:])
TWO_WRONG = (COVID, VIRAL, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, COVID)
PLAN = RelatedStudy("Nine", "Paper 9", "flannel", {}, "test", Twin({"ccx": 8}))


def paper(*rows):
    return Related(PLAN, pd.DataFrame(rows, columns=list(COLUMNS)), made_up=True)


@pytest.fixture
def comparison(study_files):
    for place, predicted in (
        ("global/small", TRUTH), ("global/small_seed2", ONE_WRONG),
        ("global/small_seed3", TWO_WRONG), ("cropped/small", TWO_WRONG),
    ):  # fmt: skip
        study_files.run(f"base/{place}/fold0", predicted)
        cost = {"seconds": 90.0, "train_seconds": 60.0, "epochs": 4, "device": "cpu"}
        study_files.json(f"base/{place}/fold0/cost.json", cost)
    return study_files.measured().comparison


def test_runs_stand_with_their_minutes_beside_the_published(comparison):
    related = paper(
        ("global", "small", "test", "overall", "accuracy", 0.98, "paper 9"),
        ("cropped", "small", "", "overall", "minutes", 6.0, "paper 9"),
    )
    table = runs_table(comparison, related)
    assert [line.cells[:2] for line in table.lines] == [("global", "small"), ("cropped", "small")]
    assert [line.cells[-4:] for line in table.lines] == [
        ("0.98", "4", "1.0", ""), ("", "4", "1.0", "6"),
    ]  # fmt: skip
    numbers = table.numbers.set_index("arm")
    assert numbers.loc["global", "test_accuracy"] == 1
    assert numbers.loc["cropped", "test_accuracy"] == 0.75
    assert numbers.loc["cropped", "test_f1"] == 0.5  # of COVID-19: one of two, and one too many
    assert numbers.loc["global", "val_accuracy"] == 0.75


def test_repeats_of_one_recipe_show_their_spread(comparison):
    related = paper(("global", "small", "test", "overall", "accuracy", 0.55, "paper 9"))
    table = repeats_table(comparison, related)
    tested = table.numbers[table.numbers["split"] == "test"].iloc[0]
    values = [1.0, 0.875, 0.75]
    assert tested["repeats"] == 3
    assert (tested["lowest"], tested["highest"]) == (0.75, 1.0)
    assert tested["deviation"] == pytest.approx(np.std(values, ddof=1))
    assert table.lines[-1].cells[4:] == ("0.750", "0.875 ± 0.125", "1.000", "0.55")
    assert {line.cells[0] for line in table.lines} == {"global"}


def test_images_are_counted_by_split_as_published(study_files, comparison):
    assert composition_table(comparison, paper()) is None


def test_images_of_a_fold_are_counted(base_study):
    for name in ("global/small", "masked/small"):
        base_study.run(name, expert=0)
    from flannel.comparison.results import read_comparison

    comparison = read_comparison(base_study.folder)
    related = paper(*(("", "", "test", name, "radiographs", 2395.0, "paper 9") for name in FLANNEL))
    table = composition_table(comparison, related)
    counted = table.numbers.set_index("split")
    assert counted.loc["total"].tolist() == [20, 20, 20, 20, 80]
    assert (counted.loc[["train", "val", "test"]].sum() == counted.loc["total"]).all()
    tested = next(line for line in table.lines if line.cells[0] == "test")
    assert tested.cells[1] == f"{counted.loc['test', COVID]} (2,395)"
    assert tested.cells[-1].endswith("(9,580)")


def test_a_network_is_listed_by_layers_that_fit_a_page(study_files, comparison):
    blocks = [
        row
        for block in range(50)
        for row in (
            (f"body.{block}", 1, 2, "Sequential", "4 x 8 x 8", 20, 20),
            (f"body.{block}.0", 2, 1, "Conv2d", "4 x 8 x 8", 12, 12),
            (f"body.{block}.1", 2, 1, "BatchNorm2d", "4 x 8 x 8", 8, 8),
        )
    ]
    layers = [("body", 0, 100, "Sequential", "4 x 8 x 8", 1000, 1000), *blocks]
    layers += [("head", 0, 1, "Linear", "2", 10, 0), ("", 0, 101, "Small", "2", 1010, 1000)]
    columns = ["name", "depth", "layers", "type", "output", "parameters", "trainable"]
    folder = study_files.folder / "base" / "global" / "small" / "fold0"
    pd.DataFrame(layers, columns=columns).to_csv(folder / "network.csv", index=False)
    related = paper(("global", "small", "", "overall", "parameters", 1010.0, "paper 9"))
    (table,) = network_tables(comparison, related)
    assert len(table.lines) == 50 + 1 + 1
    assert table.lines[0].cells == ("body.0", "Sequential", "4 x 8 x 8", "20", "20")
    assert table.lines[-1].cells == ("total", "Small", "2", "1,010", "1,000")
    assert "Blocks are shown whole" in table.caption
    assert "Published: 1,010 parameters." in table.caption


def test_made_up_radiographs_are_told(comparison):
    assert made_up_note(comparison).startswith("Phantoms: these radiographs are made up")
    assert "4 epochs" in made_up_note(comparison)
