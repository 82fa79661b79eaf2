"""Radiographs with answers and masks."""

import numpy as np
import pytest

from flannel.comparison.radiograph_figures.answers import (
    answer,
    answers,
    cohort_grid,
    first_of_each,
)
from flannel.comparison.radiograph_figures.arms import seen_by_arms
from flannel.data.diagnosis import FLANNEL

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TWO_WRONG = (COVID, VIRAL, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, COVID)
SEEN = "data: {{arm: {}, resize_px: 64, size_px: 64, crop_margin_px: 0}}\n"


@pytest.fixture
def results(study_files, store):
    for arm in ("global", "masked"):
        folder = study_files.run(f"base/{arm}/vgg19_bn/fold0", TWO_WRONG)
        (folder / "config.yaml").write_text(SEEN.format(arm))
    return study_files.measured().comparison.results


def test_an_answer_is_written_as_the_papers_do():
    assert answer(NORMAL, NORMAL) == "Normal [OK]"
    assert answer(NORMAL, COVID) == "Normal [NO → COVID-19]"


def test_every_answer_stands_over_its_radiograph(results, store):
    panels = answers(store, results[0], FLANNEL).axes
    titles = [axes.get_title().replace("\n", " ") for axes in panels if axes.images]
    assert titles == [
        "COVID-19 [OK]", "COVID-19 [NO → Viral pneumonia]", *["Viral pneumonia [OK]"] * 2,
        *["Bacterial pneumonia [OK]"] * 2, "Normal [OK]", "Normal [NO → COVID-19]",
    ]  # fmt: skip
    shown = [axes for axes in panels if axes.images][1].images[0].get_array()
    assert np.array_equal(shown, store.radiograph("test-1"))
    assert sum(axes.axison for axes in panels) == len(titles)


def test_the_cohort_has_its_masks_below(results, store):
    panels = [axes for axes in cohort_grid(store, results[0].predictions, FLANNEL).axes]
    above, below = panels[0], panels[4]
    assert above.get_title() == "COVID-19"
    assert below.get_title() == "COVID-19: lung mask"
    assert np.array_equal(below.images[0].get_array() > 0, store.lung_mask("test-0"))


def test_the_first_by_name_are_shown(results, store):
    first = first_of_each(results[0].predictions, store, FLANNEL, count=1)
    assert [part["image_id"].tolist() for part in first.values()] == [
        ["test-0"], ["test-2"], ["test-4"], ["test-6"],
    ]  # fmt: skip


def test_each_arm_is_seen_as_its_recipe_has_it(results, store):
    table = results[0].predictions
    panels = seen_by_arms(store, results, table, FLANNEL).axes
    assert [axes.get_title() for axes in panels[:2]] == ["COVID-19\nglobal", "COVID-19\nmasked"]
    whole, masked = (axes.images[0].get_array() for axes in panels[:2])
    assert np.array_equal(whole, store.radiograph("test-0"))
    assert np.array_equal(masked, store.radiograph("test-0") * store.lung_mask("test-0"))
    assert seen_by_arms(store, results[:1], table, FLANNEL) is None
