"""What a study.yaml may say, and how published numbers are found."""

import math

import pytest

from flannel.comparison.related import (
    RelatedError,
    keep_plan,
    load_published,
    load_related_study,
    read_related,
)

PLAN = """
title: A title
papers: Paper 9, Table 1
mapping: covid_normal
reported: test
runs: {small: [global, masked]}
phantoms: {images: {alifrahman: 8}}
"""
PUBLISHED = """arm,learner,split,class,measure,value,source
global,small,test,Normal,f1,0.97,paper 9 Table 1
,,train,Normal,radiographs,1200,paper 9 Section 2
"""


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "experiments" / "nine"
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(PLAN)
    (folder / "published.csv").write_text(PUBLISHED)
    return folder


def test_a_plan_says_what_is_run_and_the_rest_is_the_house_s(folder):
    plan = load_related_study(folder / "study.yaml")
    assert plan.runs == {"small": ["global", "masked"]}
    assert plan.phantoms.images == {"alifrahman": 8}
    assert (plan.protocol, plan.masks, plan.repeats, plan.hdf5_px) == ("patient", "none", 1, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("reported: train", "reported"),
        ("mapping: padchest", "mapping"),
        ("learners: [a]", "does not accept option 'learners'"),
        ("masks: drawn", "masks"),
        ("runs: [", "no plan of a study"),
    ],
)
def test_what_a_plan_cannot_say_is_a_sentence(folder, change, message):
    name = change.partition(":")[0]
    kept = [line for line in PLAN.splitlines() if not line.startswith(f"{name}:")]
    (folder / "study.yaml").write_text("\n".join([*kept, change]))
    with pytest.raises(RelatedError, match=message):
        load_related_study(folder / "study.yaml")


def test_an_unknown_study_names_those_that_are_there(folder):
    with pytest.raises(RelatedError, match="Studies there: nine"):
        load_related_study(folder.parent / "ten" / "study.yaml")


def test_published_numbers_are_found_by_what_they_are_of(folder, tmp_path):
    keep_plan(folder, tmp_path / "study", made_up=False)
    related = read_related(tmp_path / "study")
    assert related.number("f1", "Normal", "global", "small", "test") == 0.97
    assert related.number("radiographs", "Normal", split="train") == 1200
    assert math.isnan(related.number("f1", "Normal", "masked", "small", "test"))
    assert not related.made_up
    assert read_related(tmp_path) is None


def test_phantoms_and_real_radiographs_do_not_meet_in_one_study(folder, tmp_path):
    keep_plan(folder, tmp_path / "study", made_up=True)
    keep_plan(folder, tmp_path / "study", made_up=True)
    with pytest.raises(RelatedError, match=r"begun with phantoms.*cannot go on with real"):
        keep_plan(folder, tmp_path / "study", made_up=False)


def test_a_table_that_is_none(folder):
    path = folder / "published.csv"
    path.write_text(PUBLISHED.replace("source", "from"))
    with pytest.raises(RelatedError, match="lacks the column source"):
        load_published(path)
    path.write_text(PUBLISHED.replace("0.97", "high"))
    with pytest.raises(RelatedError, match="no number"):
        load_published(path)
    assert load_published(folder / "nothing.csv").empty
