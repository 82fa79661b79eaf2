import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist

from segmentation.training.measures import dice, hausdorff95, interval_words, jaccard, mean_interval


def mask(*rows: str) -> np.ndarray:
    return np.array([[c == "#" for c in row] for row in rows])


NOTHING = mask("....", "....")


@pytest.mark.parametrize(
    ("predicted", "truth", "expected_jaccard", "expected_dice"),
    [
        (mask("##..", "...."), mask(".##.", "...."), 1 / 3, 1 / 2),
        (mask("##..", "##.."), mask("##..", "##.."), 1, 1),
        (NOTHING, mask("##..", "...."), 0, 0),
        (NOTHING, NOTHING, 1, 1),
    ],
)
def test_overlap_by_hand(predicted, truth, expected_jaccard, expected_dice):
    assert jaccard(predicted, truth) == pytest.approx(expected_jaccard)
    assert dice(predicted, truth) == pytest.approx(expected_dice)


def test_a_square_moved_by_three_pixels():
    """20 x 20 pixels each, 3 pixels apart: more than 5 % of the 76 outline pixels are 3 off."""
    truth, moved = np.zeros((2, 40, 30), bool)
    truth[10:30, 5:25] = True
    moved[10:30, 8:28] = True
    assert hausdorff95(moved, truth) == pytest.approx(3 / 50)
    assert hausdorff95(truth, truth) == 0


def test_one_stray_pixel_among_many_is_forgiven():
    truth = np.zeros((60, 80), bool)
    truth[20:40, 20:40] = True
    stray = truth.copy()
    stray[0, 79] = True
    assert hausdorff95(stray, truth) == 0


def test_boundary_distance_against_all_pairs_of_outline_pixels():
    rng = np.random.default_rng(3)
    for _ in range(5):
        predicted, truth = rng.random((2, 12, 16)) < 0.3
        outlines = []
        for one in (predicted, truth):
            padded = np.pad(one, 1)
            inside = (
                padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:] & one
            )
            outlines.append(np.argwhere(one & ~inside))
        distances = cdist(*outlines)
        expected = max(
            np.percentile(distances.min(axis=1), 95), np.percentile(distances.min(axis=0), 95)
        )
        assert hausdorff95(predicted, truth) == pytest.approx(expected / 20)


def test_finding_nothing_is_as_far_as_can_be():
    assert hausdorff95(NOTHING, mask("#...", "....")) == 1
    assert hausdorff95(mask("#...", "...."), NOTHING) == 1
    assert hausdorff95(NOTHING, NOTHING) == 0


def test_interval_of_single_images_is_the_textbooks():
    """400 draws of a fair coin: standard error 0.025, so about 0.5 +- 0.049."""
    values = np.tile([0.0, 1.0], 200)
    mean, low, high = mean_interval(values, [str(i) for i in range(400)])
    assert mean == 0.5
    assert (low, high) == pytest.approx((0.451, 0.549), abs=0.004)


def test_images_of_one_patient_carry_less_than_images_of_many():
    values = np.tile([0.0, 1.0], 200)
    patients = np.repeat(np.arange(20), 20).astype(str)
    values_by_patient = np.repeat(np.tile([0.0, 1.0], 10), 20)
    _, low, high = mean_interval(values_by_patient, list(patients))
    assert high - low > 3 * 0.098
    # Twenty patients with the same mean tell nothing of how much patients differ.
    assert mean_interval(values, list(patients)) == (0.5, None, None)
    assert mean_interval(np.array([0.9, 0.8, 0.7]), ["a", "b", "c"])[1:] == (None, None)
    with pytest.raises(ValueError, match="3 values and 2 groups"):
        mean_interval(np.zeros(3), ["a", "b"])


def test_the_interval_stays_within_one_and_is_students_on_the_logit_scale():
    values = np.array([0.99, 0.97, 0.98, 0.5, 0.96, 0.95])
    mean, low, high = mean_interval(values, list("abcdef"))
    assert 0 < low < mean < high < 1
    half = stats.t(5).ppf(0.975) * values.std(ddof=1) / np.sqrt(6) / (mean * (1 - mean))
    ends = np.log(mean / (1 - mean)) + np.array([-half, half])
    assert (low, high) == pytest.approx(tuple(1 / (1 + np.exp(-ends))))
    named = {"dice": mean, "dice_low": low, "dice_high": high}
    assert interval_words(named, "dice") == f"{mean:.4f} ({low:.4f} to {high:.4f})"
    nothing = {"dice": 0.5, "dice_low": None, "dice_high": None}
    assert interval_words(nothing, "dice") == "0.5000 (no interval)"
    _, low, high = mean_interval(values - 0.9, list("abcdef"), within_one=False)
    half = stats.t(5).ppf(0.975) * values.std(ddof=1) / np.sqrt(6)
    assert (low, high) == pytest.approx((mean - 0.9 - half, mean - 0.9 + half))
