"""How training views depart from their radiograph."""

from dataclasses import asdict

import pytest
import torch
from torchvision.transforms.v2 import functional as pictures

from flannel.augmentation import Augmentation, AugmentationError

FASTAI = Augmentation(0.5, 10, 0.2, 0.1, 0.2, 0.75)


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def squares(side=64):
    """A grey field with a bright square in the middle, in two views."""
    pixels = torch.full((2, 1, side, side), 100, dtype=torch.uint8)
    pixels[..., side // 4 : -side // 4, side // 4 : -side // 4] = 200
    return pixels


def test_by_default_nothing_departs():
    pixels = torch.randint(256, (3, 1, 16, 16), dtype=torch.uint8, generator=generator())
    assert torch.equal(Augmentation().apply(pixels, generator()), pixels)


def test_flip_and_rotation_are_drawn_as_the_recipes_always_did():
    pixels = torch.randint(256, (2, 1, 32, 32), dtype=torch.uint8, generator=generator())
    for seed in range(8):
        drawn = generator(seed)
        expected = pixels.flip(-1) if float(torch.rand((), generator=drawn)) < 0.5 else pixels
        expected = pictures.rotate(expected, int(torch.randint(11, (1,), generator=drawn)) - 5)
        found = Augmentation(flip=0.5, rotation_degrees=5).apply(pixels, generator(seed))
        assert torch.equal(found, expected)


def test_a_zoom_shows_less_and_all_of_it_larger():
    """A square of 32 of 64 pixels becomes one of 32 to 64, whatever the place."""
    areas = []
    for seed in range(20):
        found = Augmentation(zoom=1.0).apply(squares(), generator(seed))
        assert torch.equal(found[0], found[1])  # all views alike
        assert found[..., 1:-1, 1:-1].min() >= 100  # but for the edge nothing comes from outside
        areas.append((found[0] > 150).sum().item() / 32**2)
    assert all(0.9 <= area <= 4.2 for area in areas)
    assert max(areas) > 2


def test_a_warp_lengthens_and_shortens_sides_about_the_middle():
    seen = {"black": 0, "cut": 0}
    for seed in range(20):
        found = Augmentation(warp=0.2).apply(squares(), generator(seed))[0, 0]
        assert found[32, 32] == 200  # the middle stays
        seen["black"] += int((found == 0).any())
        seen["cut"] += int((found[0] == 100).all())
    assert seen["black"]
    assert seen["cut"]


def test_lighting_moves_the_middle_and_keeps_black_and_white():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    middles = []
    for seed in range(40):
        found = Augmentation(lighting=0.2).apply(levels, generator(seed)).flatten().int()
        assert found[0] == 0
        assert found[255] == 255
        assert (found.diff() >= 0).all()
        middles.append(found[127].item() / 255)
    assert min(middles) >= 0.39
    assert max(middles) <= 0.61
    assert max(middles) - min(middles) > 0.1


def test_lighting_by_hand():
    """0.75 has the logit log 3: a shift by logit(0.6) and a slope of 0.8 give 0.7835."""

    draws = iter([1.0, 1.0])  # the largest middle, 0.5 (1 + 0.2), and the smallest slope, 1 - 0.2
    levels = torch.tensor([[[[round(0.75 * 255)]]]], dtype=torch.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "flannel.augmentation._uniform", lambda _, low, high: low + (high - low) * next(draws)
        )
        found = Augmentation(lighting=0.2).apply(levels, generator())
    assert found.item() == round(255 / (1 + 3**-0.8 * 2 / 3))


def test_one_draw_one_result_and_one_for_each_image():
    pixels = torch.randint(256, (1, 1, 48, 48), dtype=torch.uint8, generator=generator())
    found = [FASTAI.apply(pixels, generator(seed)) for seed in (1, 1, 2, 3)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert found[0].shape == pixels.shape
    assert found[0].dtype == torch.uint8


def test_what_has_a_probability_of_0_never_happens():
    never = Augmentation(**{**asdict(FASTAI), "flip": 0.0, "probability": 0.0})
    for seed in range(5):
        assert torch.equal(never.apply(squares(), generator(seed)), squares())


@pytest.mark.parametrize(
    "wrong", [{"zoom": -0.1}, {"lighting": 1.0}, {"probability": 1.5}, {"rotation_degrees": 200}]
)
def test_a_value_out_of_its_range_is_named(wrong):
    (name,) = wrong
    with pytest.raises(AugmentationError, match=rf"augmentation's {name} is .*; expected 0 to"):
        Augmentation(**wrong)
