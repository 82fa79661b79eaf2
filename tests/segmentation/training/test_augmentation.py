import numpy as np
import pytest
import torch

from segmentation.training.augmentation import Augmentation, augment, draw_marks, expose_and_mark

SIDE = 32


class Extreme:
    """Draws the upper bound of everything."""

    def random(self) -> float:
        return 0.0

    def uniform(self, low: float, high: float, size: int | None = None) -> float | np.ndarray:
        return high if size is None else np.full(size, high)


@pytest.fixture
def radiograph() -> torch.Tensor:
    """A bright square off the middle, rows 4 to 11, columns 6 to 13."""
    picture = torch.full((1, SIDE, SIDE), 50.0)
    picture[0, 4:12, 6:14] = 200.0
    return picture


def moved(radiograph, generator=None, structures="lungs", **bounds):
    target = (radiograph[0] > 100).long()
    generator = generator or Extreme()
    return augment(radiograph, target, Augmentation(**bounds), structures, generator)


def test_nothing_asked_for_changes_nothing(radiograph):
    changed, target = moved(radiograph, np.random.default_rng(0))
    assert torch.equal(changed, radiograph)
    assert torch.equal(target, (radiograph[0] > 100).long())


def test_target_follows_the_radiograph(radiograph):
    """Where the target says so, and nowhere else, the picture is bright (edges aside)."""
    for seed in range(20):
        changed, target = moved(
            radiograph, np.random.default_rng(seed), flip=True, rotation_degrees=30, zoom=0.3,
            stretch=0.2, shift=0.1,
        )  # fmt: skip
        agree = (changed[0] > 125) == (target == 1)
        assert agree.float().mean() > 0.98
        assert 20 < target.sum() < 140


def test_shift_and_zoom_by_hand(radiograph):
    """A quarter of 32 px to the right and down; twice as large about the middle (16, 16)."""
    _, target = moved(radiograph, shift=0.25)
    rows, columns = target.nonzero(as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (12, 19, 14, 21)
    _, target = moved(radiograph, zoom=1.0)
    rows, columns = target.nonzero(as_tuple=True)
    assert (rows.max(), columns.max()) == (7, 11)  # 16 + 2 * (12 - 16) = 8 and 16 + 2 * (14 - 16)
    assert target.sum() == 8 * 12


def test_what_comes_in_is_black_background(radiograph):
    changed, target = moved(radiograph, shift=0.25)
    assert changed[0, :7].eq(0).all()
    assert target[:7].eq(0).all()


def test_grey_values_by_hand():
    """Gamma 2 of 51 / 255 = 0.2 is 0.04; contrast 1.5 about 127.5, cut at 0 and 255."""
    grey = torch.tensor([[[51.0, 127.5, 245.0, 0.0]]])
    target = torch.zeros(1, 4, dtype=torch.long)
    for bounds, expected in (
        ({"gamma": 1.0}, [0.04 * 255, 0.25 * 255, (245 / 255) ** 2 * 255, 0]),
        ({"contrast": 0.5}, [12.75, 127.5, 255, 0]),
    ):
        changed, _ = augment(grey, target, Augmentation(**bounds), "lungs", Extreme())
        assert changed[0, 0].tolist() == pytest.approx(expected, abs=1e-3)


def test_a_mirrored_left_lung_is_a_right_one(radiograph):
    target = torch.zeros(2, 4, dtype=torch.long)
    target[0] = torch.tensor([3, 0, 1, 2])
    mirror = Augmentation(flip=True)
    _, turned = augment(torch.zeros(1, 2, 4), target, mirror, "heart_left_right", Extreme())
    assert turned[0].tolist() == [3, 1, 0, 2]
    _, turned = augment(torch.zeros(1, 2, 4), target % 2, mirror, "lungs", Extreme())
    assert turned[0].tolist() == [0, 1, 0, 1]


def test_grey_comes_in_from_outside(radiograph):
    """In half of the draws; else black."""
    outside = set()
    for seed in range(20):
        changed, target = moved(
            radiograph, np.random.default_rng(seed), zoom=3.0, grey_outside=True
        )
        edge = torch.cat([changed[0, 0], changed[0, -1]])
        if len(edge.unique()) == 1:  # zoomed out
            outside.add(float(edge[0]))
            assert target[0].eq(0).all()
    assert 0.0 in outside
    assert len(outside) > 3


@pytest.mark.parametrize(
    "bounds", [{"shading": 0.3}, {"blur_px": 2.0}, {"noise": 20.0}, {"marks": 3}]
)
def test_grey_values_depart_where_the_target_stays(radiograph, bounds):
    departed = [moved(radiograph, np.random.default_rng(seed), **bounds) for seed in range(10)]
    assert all(torch.equal(target, (radiograph[0] > 100).long()) for _, target in departed)
    assert all(changed.shape == radiograph.shape for changed, _ in departed)
    assert all(changed.min() >= 0 and changed.max() <= 255 for changed, _ in departed)
    assert sum(not torch.equal(changed, radiograph) for changed, _ in departed) >= 5


def test_noise_has_the_deviation_asked_for():
    """Uniformly between nothing and the bound, so half of it on average."""
    grey = torch.full((1, 64, 64), 127.0)
    bound = Augmentation(noise=10.0)
    spread = [
        float(expose_and_mark(grey, bound, np.random.default_rng(seed)).std()) for seed in range(50)
    ]
    assert np.mean(spread) == pytest.approx(5, abs=1.2)
    assert max(spread) < 10.5


def test_shading_is_smooth_and_bounded():
    grey = torch.full((1, 64, 64), 127.0)
    shaded = expose_and_mark(grey, Augmentation(shading=0.2), np.random.default_rng(3))
    assert shaded.std() > 1
    assert (shaded[:, 1:] - shaded[:, :-1]).abs().max() < 10
    assert (shaded - grey).abs().max() < 0.2 * 255 * 1.5  # bicubic overshoot


def test_marks_are_black_or_white_and_few(radiograph):
    assert torch.equal(draw_marks(radiograph, 0, np.random.default_rng(0)), radiograph)
    marked = draw_marks(torch.full((1, 128, 128), 99.0), 3, np.random.default_rng(1))
    changed = marked[marked != 99]
    assert 0 < len(changed) < 0.3 * marked.numel()
    assert ((changed < 99) | (changed > 99)).all()
