import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flannel.data.manifest import ManifestError
from flannel.data.original_cohorts import balanced_subset

TABLE = pd.DataFrame(
    {
        "image_id": [f"made-up-{number:03d}" for number in range(54)],
        "diagnosis": ["flu"] * 30 + ["cold"] * 4 + ["none"] * 20,
    }
)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 99), st.integers(1, 40), st.integers(0, 2**32))
def test_it_is_a_part_with_so_many_of_each_whatever_the_order(order, per_class, seed):
    drawn = balanced_subset(TABLE, per_class, seed)
    shuffled = balanced_subset(TABLE.sample(frac=1, random_state=order), per_class, seed)
    assert set(shuffled["image_id"]) == set(drawn["image_id"])
    assert drawn["image_id"].is_unique
    counts = drawn["diagnosis"].value_counts().to_dict()
    assert counts == {
        name: min(count, per_class) for name, count in (("flu", 30), ("cold", 4), ("none", 20))
    }


def test_another_seed_draws_others():
    first, second = (set(balanced_subset(TABLE, 10, seed)["image_id"]) for seed in (1, 2))
    assert first != second


def test_every_image_can_be_drawn_about_equally_often():
    """300 draws of 10 of 30: each is expected 100 times, with a deviation of 8.2."""
    times = dict.fromkeys(TABLE["image_id"][:30], 0)
    for seed in range(300):
        for image_id in balanced_subset(TABLE[:30], 10, seed)["image_id"]:
            times[image_id] += 1
    assert min(times.values()) > 60
    assert max(times.values()) < 140


def test_nothing_is_no_subset():
    with pytest.raises(ManifestError, match="per_class is 0"):
        balanced_subset(TABLE, 0, seed=0)
