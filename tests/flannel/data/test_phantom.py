import numpy as np
import pytest

from flannel.data.diagnosis import FLANNEL
from flannel.data.phantom import draw_phantom, varied_size


@pytest.mark.slow
@pytest.mark.parametrize("diagnosis", FLANNEL)
def test_anatomy_is_where_it_belongs(diagnosis):
    for seed in range(4):
        phantom = draw_phantom(diagnosis, np.random.default_rng(seed), (256, 240))
        assert phantom.image.shape == (256, 240)
        assert phantom.image.dtype == np.uint8
        left, right, heart = phantom.left_lung, phantom.right_lung, phantom.heart
        # The patient's left is on the right of the picture, as in SCR (centroids 195 / 76 of 256).
        assert np.nonzero(left)[1].mean() > 140 > 100 > np.nonzero(right)[1].mean()
        assert not (left & right).any()
        assert not (heart & (left | right)).any()
        assert 0.2 < (left | right).mean() < 0.4  # 0.305 on average in SCR
        assert np.nonzero(phantom.clavicles)[0].mean() < np.nonzero(left)[0].mean()
        assert heart.any()


def test_lungs_are_darker_than_the_body_around_them():
    phantom = draw_phantom("Normal", np.random.default_rng(0))
    lungs = phantom.left_lung | phantom.right_lung
    assert phantom.image[lungs].mean() + 50 < phantom.image[phantom.heart].mean()


def test_the_same_seed_draws_the_same_patient_with_and_without_disease():
    normal = draw_phantom("Normal", np.random.default_rng(3))
    again = draw_phantom("Normal", np.random.default_rng(3))
    covid = draw_phantom("COVID-19", np.random.default_rng(3))
    np.testing.assert_array_equal(normal.image, again.image)
    np.testing.assert_array_equal(normal.left_lung, covid.left_lung)
    assert not np.array_equal(normal.image, covid.image)


def brightness(phantom, lung):
    return phantom.image[lung].mean()


def roughness(phantom, lung):
    steps = np.abs(np.diff(phantom.image.astype(float), 2, axis=1))
    return steps[lung[:, 1:-1]].mean()


def lung_levels(diagnosis):
    """Brightness and roughness of both lungs of eight phantoms: (2, phantoms, lungs)."""
    phantoms = [draw_phantom(diagnosis, np.random.default_rng(k), (200, 200)) for k in range(8)]
    return np.array(
        [
            [[part(one, lung) for lung in (one.left_lung, one.right_lung)] for one in phantoms]
            for part in (brightness, roughness)
        ]
    )


@pytest.mark.slow
def test_each_disease_is_seen_in_its_own_way():
    bright, rough = np.array([lung_levels(name) for name in FLANNEL]).swapaxes(0, 1)
    covid, viral, bacterial, normal = range(4)
    assert bright[covid].min(axis=1).mean() > bright[normal].mean() + 10  # both lungs
    gap = np.ptp(bright, axis=2).mean(axis=1)
    assert gap[bacterial] > 40 > gap[normal]  # one lung
    each = rough.mean(axis=(1, 2))
    assert each[viral] > 1.3 * max(each[normal], each[covid])  # fine lines


def test_unknown_diagnosis_is_refused():
    with pytest.raises(ValueError, match="'Flu' is not in the label set"):
        draw_phantom("Flu", np.random.default_rng(0))


def test_sizes_vary_around_the_nominal_one():
    generator = np.random.default_rng(0)
    sizes = np.array([varied_size(generator, 200) for _ in range(100)])
    assert sizes.min() >= 176
    assert sizes.max() <= 224
    assert len(np.unique(sizes)) > 20
