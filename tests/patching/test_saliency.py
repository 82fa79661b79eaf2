import pytest
import torch

from patching.saliency import grad_cam, probabilistic_cam, stretched_to_one
from patching.sampling import crop_patches


def test_grad_cam_by_hand():
    """Channel weights are the mean gradients 2 and -1: 2 * map - other, and nothing below 0."""
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 0.0]], [[1.0, 5.0], [0.0, 0.0]]]])
    gradients = torch.tensor([[[[2.0, 2.0], [4.0, 0.0]], [[-1.0, -1.0], [-1.0, -1.0]]]])
    assert grad_cam(maps, gradients).tolist() == [[[1.0, 0.0], [6.0, 0.0]]]


def test_maps_are_enlarged_and_then_stretched():
    """From 2 to 4 pixels bilinear weights are 1, 3/4, 1/4, 0; the corners keep their values."""
    cams = torch.tensor([[[2.0, 6.0], [2.0, 6.0]]])
    assert stretched_to_one(cams, 4)[0].tolist() == [[0.0, 0.25, 0.75, 1.0]] * 4


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_flat_map_is_nothing_and_not_nan(value):
    cams = torch.stack([torch.full((3, 3), value), torch.arange(9.0).view(3, 3)])
    flat, other = stretched_to_one(cams, 6)
    assert flat.eq(0).all()
    assert (other.min(), other.max()) == (0, 1)


def test_probabilistic_cam_by_hand():
    """Two windows of 2 on a row of 4 share column 1; a third pixel row is seen by nobody."""
    maps = torch.tensor([[[1.0, 0.5], [0.0, 1.0]], [[1.0, 0.0], [0.5, 0.5]]])
    found = probabilistic_cam(
        maps,
        torch.tensor([0.8, 0.4]),
        torch.tensor([[1, 1], [1, 2]]),
        torch.tensor([2, 2]),
        (3, 4),
    )
    expected = [
        [0.8, (0.8 * 0.5 + 0.4 * 1.0) / 2, 0.0, 0.0],
        [0.0, (0.8 * 1.0 + 0.4 * 0.5) / 2, 0.4 * 0.5, 0.0],
        [0.0, 0.0, 0.0, 0.0],
    ]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_a_dark_patch_counts_as_a_window():
    """A patch whose map is all zero lowers the mean where it looks, and makes no NaN."""
    maps = torch.stack([torch.ones(2, 2), torch.zeros(2, 2)])
    places = torch.tensor([[1, 1], [1, 1]]), torch.tensor([2, 2])
    assert probabilistic_cam(maps, torch.tensor([1.0, 1.0]), *places, (2, 2)).eq(0.5).all()


@pytest.mark.parametrize("border", ["inside", "padded", "stretched"])
def test_maps_go_where_their_pixels_came_from(border):
    """With patches of the image itself for maps, all equally probable, the mean is the image."""
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(1, 9, 12, generator=generator)
    centres = torch.tensor([[0, 0], [4, 5], [8, 11], [1, 10], [7, 2]])
    sides = torch.full((5,), 4)
    patches = crop_patches(image, centres, 4, border)[:, 0]
    found = probabilistic_cam(patches, torch.ones(5), centres, sides, (9, 12), border)
    seen = found > 0
    assert seen.any()
    if border == "stretched":  # enlarged and made small again, so only roughly
        assert (found - image[0])[seen].abs().mean() < 0.2
        exact = probabilistic_cam(patches[1:2], torch.ones(1), centres[1:2], sides[:1], (9, 12))
        assert exact[2:6, 3:7].equal(image[0, 2:6, 3:7])
    else:
        torch.testing.assert_close(found[seen], image[0][seen])


def test_a_cut_off_window_is_stretched_over_what_is_left():
    """At the top left corner a window of 4 keeps 2 x 2 pixels, to which its map shrinks."""
    maps = torch.tensor([[[1.0] * 4] * 2 + [[0.0] * 4] * 2])
    at = torch.tensor([[0, 0]]), torch.tensor([4])
    found = probabilistic_cam(maps, torch.ones(1), *at, (5, 5), "stretched")
    expected = torch.zeros(5, 5)
    expected[0, :2] = 1
    assert found.equal(expected)


def test_each_patch_has_its_own_side():
    maps = torch.ones(2, 3, 3)
    centres, sides = torch.tensor([[1, 1], [4, 4]]), torch.tensor([2, 6])
    found = probabilistic_cam(maps, torch.tensor([1.0, 0.5]), centres, sides, (8, 8))
    assert found[0, 0] == 1.0
    assert found[1, 1] == 0.75
    assert found[6, 6] == 0.5
    assert found[7, 7] == 0.0


def test_an_unknown_border_is_refused():
    places = torch.tensor([[1, 1]]), torch.tensor([2])
    with pytest.raises(ValueError, match="expected inside, padded or stretched"):
        probabilistic_cam(torch.ones(1, 2, 2), torch.ones(1), *places, (4, 4), "wrapped")
