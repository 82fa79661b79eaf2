import numpy as np
import pandas as pd

from flannel.analysis.patch_figure import patches_by_k


def test_every_vote_rule_has_the_same_range_and_no_band_is_cut_off():
    heights = {"share": 0.4, "mean_softmax": 0.7, "mean_sigmoid": 0.2}
    table = pd.DataFrame(
        [
            {
                "k": k, "value": height, "deviation": 0.05, "split": "test", "learner": "small",
                "fold": 0, "window_px": "224", "rule": rule, "measure": measure,
            }
            for rule, height in heights.items()
            for k in (1, 10)
            for measure in ("F1", "spread")
        ]
    )  # fmt: skip
    figure = patches_by_k(table, "F1", "spread", ("one", "three"), "test")
    ranges = np.array([panel.get_ylim() for panel in figure.axes[:3]])
    assert (ranges == ranges[0]).all()
    assert ranges[0][0] <= 0.15
    assert ranges[0][1] >= 0.75


def test_learners_of_the_same_patches_share_one_line_of_coverage():
    table = pd.DataFrame(
        [
            {
                "k": k, "value": k / 10, "deviation": np.nan, "split": "test", "learner": learner,
                "fold": 0, "window_px": "224", "measure": measure,
                "rule": "" if measure in ("once", "thrice") else "share",
            }
            for k in (1, 5)
            for learner in ("one", "two")
            for measure in ("F1", "spread", "once", "thrice")
        ]
    )  # fmt: skip
    once = patches_by_k(table, "F1", "spread", ("once", "thrice"), "test").axes[1]
    assert [line.get_label() for line in once.lines] == ["any learner"]
    apart = (table["learner"] == "two") & (table["measure"] == "once")
    table.loc[apart, "value"] += 0.1
    once = patches_by_k(table, "F1", "spread", ("once", "thrice"), "test").axes[1]
    assert [line.get_label() for line in once.lines] == ["one", "two"]
