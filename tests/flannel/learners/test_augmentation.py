"""How training views depart from their radiograph."""

from dataclasses import asdict

import pytest
import torch
from torchvision.transforms.v2 import functional as pictures

from flannel.learners.augmentation import Augmentation, AugmentationError, perspective, stacked

FASTAI = Augmentation(0.5, 10, 0.2, 0.1, 0.2, 0.75)


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def noise(images, views, side):
    return torch.randint(
        256, (images, views, 1, side, side), dtype=torch.uint8, generator=generator()
    )


def drawn(augmentation, seeds):
    """The augmented_by of a batch, each image's from a generator of its own."""
    return stacked([augmentation.draw(generator(seed)) for seed in seeds])


def departed(augmentation, pixels, seed):
    """The views of one image, departed."""
    return drawn(augmentation, [seed]).apply(pixels[None])[0]


def squares(side=64):
    """A grey field with a bright square in the middle, in two views."""
    pixels = torch.full((2, 1, side, side), 100, dtype=torch.uint8)
    pixels[..., side // 4 : -side // 4, side // 4 : -side // 4] = 200
    return pixels


def test_by_default_nothing_departs_and_nothing_is_drawn():
    untouched = generator()
    assert Augmentation().draw(untouched) is None
    assert torch.equal(untouched.get_state(), generator().get_state())
    assert stacked([None, None]) is None


def uniform(source, low, high):
    return low + (high - low) * float(torch.rand((), generator=source))


def plainly(pixels, augmentation, source):
    """One image after another: flip, torchvision's rotation, a table of the grey levels."""
    if uniform(source, 0, 1) < augmentation.flip:
        pixels = pixels.flip(-1)
    widest = augmentation.rotation_degrees
    turned = int(torch.randint(2 * widest + 1, (1,), generator=source)) - widest
    pixels = pictures.rotate(pixels, turned)
    middle = torch.tensor(0.5 + uniform(source, -augmentation.lighting, augmentation.lighting) / 2)
    slope = (1 - augmentation.lighting) ** uniform(source, -1, 1)
    logits = (torch.arange(256) / 255).clamp(1e-7, 1 - 1e-7).logit()
    table = ((logits * slope + middle.logit()).sigmoid() * 255).round().to(torch.uint8)
    return table[pixels.int()]


@pytest.mark.parametrize("widest", [5, 180])
def test_a_batch_departs_as_image_by_image_to_the_last_pixel(widest):
    pixels = noise(12, 2, 56)
    augmentation = Augmentation(flip=0.5, rotation_degrees=widest, lighting=0.2)
    found = drawn(augmentation, range(12)).apply(pixels)
    for seed, views in enumerate(pixels):
        assert torch.equal(found[seed], plainly(views, augmentation, generator(seed)))


def test_every_whole_degree_gives_the_pixels_of_torchvision_at_the_networks_sizes():
    for side, step in ((224, 7), (299, 11)):
        pixels = noise(1, 1, side)
        for seed in range(0, 40, step):
            turned = int(torch.randint(361, (1,), generator=generator(seed))) - 180
            found = departed(Augmentation(rotation_degrees=180), pixels[0], seed)
            assert torch.equal(found, pictures.rotate(pixels[0], turned))


def test_an_image_departs_the_same_in_any_batch():
    pixels = noise(6, 2, 40)
    together = drawn(FASTAI, range(6)).apply(pixels)
    for seed in range(6):
        assert torch.equal(together[seed], departed(FASTAI, pixels[seed], seed))
    assert len({views.numpy().tobytes() for views in together}) == 6


def test_a_quadrilateral_is_seen_as_torchvision_s_perspective_shows_it():
    """Within a grey level, for the last digits of the places differ."""
    side, corners = 64, [[3, -5], [60, 4], [70, 61], [-2, 55]]
    whole = [[0, 0], [side, 0], [side, side], [0, side]]
    pixels = noise(1, 1, side)
    bent = perspective([(2 * x / side - 1, 2 * y / side - 1) for x, y in corners])
    augmented_by = drawn(Augmentation(zoom=0.1), [1])._replace(
        source=torch.from_numpy(bent).float()[None]
    )
    found, expected = augmented_by.apply(pixels), pictures.perspective(pixels, corners, whole)
    assert (found.int() - expected.int()).abs().max() <= 1


def test_rotation_and_warp_are_one_mapping_read_once():
    """In a picture whose grey level is the column, what is read is the column itself."""
    turn, bend = Augmentation(rotation_degrees=30), Augmentation(warp=0.2, zoom=0.3)
    both = Augmentation(rotation_degrees=30, warp=0.2, zoom=0.3)
    columns = torch.arange(65, dtype=torch.uint8).expand(1, 1, 65, 65)
    for seed in range(5):
        same = generator(seed)
        turned, bent = turn.draw(same).source, bend.draw(same).source
        source = drawn(both, [seed]).source[0]
        torch.testing.assert_close(source, turned @ bent)
        found = departed(both, columns, seed)[0, 0]
        for row, column in ((32, 32), (30, 40), (25, 22), (41, 35)):
            place = torch.tensor([(column - 32) / 32.5, (row - 32) / 32.5, 1.0])
            across, _, depth = (source @ place).tolist()
            assert found[row, column].item() == pytest.approx(32 + 32.5 * across / depth, abs=0.51)


def test_a_zoom_shows_less_and_all_of_it_larger():
    """A square of 32 of 64 pixels becomes one of 32 to 64, whatever the place."""
    areas = []
    for seed in range(20):
        found = departed(Augmentation(zoom=1.0), squares(), seed)
        assert torch.equal(found[0], found[1])  # all views alike
        assert found[..., 1:-1, 1:-1].min() >= 100  # but for the edge nothing comes from outside
        areas.append((found[0] > 150).sum().item() / 32**2)
    assert all(0.9 <= area <= 4.2 for area in areas)
    assert max(areas) > 2


def test_a_warp_lengthens_and_shortens_sides_about_the_middle():
    seen = {"black": 0, "cut": 0}
    for seed in range(20):
        found = departed(Augmentation(warp=0.2), squares(), seed)[0, 0]
        assert found[32, 32] == 200  # the middle stays
        seen["black"] += int((found == 0).any())
        seen["cut"] += int((found[0] == 100).all())
    assert seen["black"]
    assert seen["cut"]


def test_lighting_moves_the_middle_and_keeps_black_and_white():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    middles = []
    for seed in range(40):
        found = departed(Augmentation(lighting=0.2), levels, seed).flatten().int()
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
            "flannel.learners.augmentation._uniform",
            lambda _, low, high: low + (high - low) * next(draws),
        )
        found = departed(Augmentation(lighting=0.2), levels, 1)
    assert found.item() == round(255 / (1 + 3**-0.8 * 2 / 3))


def test_mixed_precision_does_not_round_the_places():
    pixels = noise(4, 1, 64)
    augmented_by = drawn(FASTAI, range(4))
    plain = augmented_by.apply(pixels)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(augmented_by.apply(pixels), plain)


def test_the_device_is_asked_for_no_value():
    """A tensor on the meta device has a shape and no values: whoever asks for one fails."""
    augmented_by = drawn(FASTAI, range(3))
    numbers = [one.to("meta") for one in augmented_by[:3]]
    pixels = noise(3, 2, 32).to("meta")
    found = augmented_by._make([*numbers, augmented_by.interpolation]).apply(pixels)
    assert (found.shape, found.dtype, found.device.type) == (pixels.shape, torch.uint8, "meta")


def test_what_has_a_probability_of_0_never_happens():
    never = Augmentation(**{**asdict(FASTAI), "flip": 0.0, "probability": 0.0})
    for seed in range(5):
        assert torch.equal(departed(never, squares(), seed), squares())


@pytest.mark.parametrize(
    "wrong",
    [
        *({"zoom": -0.1}, {"lighting": 1.0}, {"probability": 1.5}, {"rotation_degrees": 200}),
        {"warp": 0.6},
    ],
)
def test_a_value_out_of_its_range_is_named(wrong):
    (name,) = wrong
    with pytest.raises(AugmentationError, match=rf"augmentation's {name} is .*; expected 0 to"):
        Augmentation(**wrong)
