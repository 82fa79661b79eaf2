import numpy as np
import torch

from flannel.analysis.saliency_checks import STAGES, Check, Example
from flannel.analysis.saliency_table import checks_table, verdict


def check(inside, flat, correlations, name="a"):
    empty = torch.zeros(2, 2)
    values = dict(zip(STAGES, correlations, strict=True))
    example = Example(name, "Normal", "COVID-19")
    return Check(example, empty, dict.fromkeys(STAGES, empty), inside, flat, values)


def test_maps_that_hang_on_the_weights_are_said_to():
    found = [check(0.6, 0.4, (0.9, 0.5, 0.1)), check(0.5, 0.4, (0.8, 0.2, -0.3), "b")]
    inside, chance = verdict(found * 2)
    assert inside == (
        "55% of the saliency lies inside the lungs; a map that is equal wherever the learner "
        "looked would have 40% there."
    )
    assert "0.20 in size (median of 4, -0.30 to 0.10): the maps depend on" in chance


def test_maps_of_edges_are_not_to_be_argued_with():
    found = [check(0.6, 0.4, (0.9, 0.9, 0.8))]
    assert verdict(found * 4)[-1].endswith("do not argue with them.")
    assert "too few to say" in verdict(found)[-1]


def test_empty_maps_are_told_and_left_out():
    nothing = (np.nan,) * 3
    found = [check(np.nan, 0.4, nothing), check(0.5, 0.5, (0.1, 0.1, 0.1), "b")]
    first, second, _ = verdict(found)
    assert first.startswith("1 of 2 maps are empty")
    assert second.startswith("50% of the saliency")
    assert verdict([check(np.nan, 0.4, nothing)])[-1] == (
        "With all weights left to chance there is no map left to compare."
    )
    table = checks_table("patched small fold 0", found)
    assert table.lines[0].cells == ("a", "Normal", "COVID-19", "–", "40%", "–", "–", "–")
    assert table.lines[1].cells[3:] == ("50%", "50%", "0.10", "0.10", "0.10")
    assert table.numbers["all weights"].tolist()[1] == 0.1
    assert "| b | Normal | COVID-19 | 50% |" in table.markdown()
