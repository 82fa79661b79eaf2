import numpy as np
import pytest
from PIL import Image

from flannel.data.duplicates import (
    HASH_BYTES,
    HASH_SIDE,
    has_structure,
    perceptual_hash,
    unpacked,
)
from flannel.data.phantom import draw_phantom


def phantom(number: int) -> np.ndarray:
    return draw_phantom("Normal", np.random.default_rng(number), (160, 192)).image


def differing(one: bytes, other: bytes) -> int:
    return int((unpacked([one]) != unpacked([other])).sum())


def test_a_bit_tells_whether_a_pixel_is_brighter_than_its_surroundings():
    # A grid of bright dots on grey, 8 pixels of the hash apart, each a quarter of that wide.
    cell = np.full((32, 32), 100, np.uint8)
    cell[12:20, 12:20] = 160
    picture = np.tile(cell, (8, 8))
    for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1]):
        edge[::2] = 160  # no even margin, which would be cut off
    bits = unpacked([perceptual_hash(picture)])[0]
    assert bits.shape == (HASH_SIDE, HASH_SIDE)
    inner = bits.reshape(8, 8, 8, 8).transpose(0, 2, 1, 3)[1:-1, 1:-1]
    assert inner[:, :, 3:5, 3:5].all()
    assert not inner[:, :, 0].any()
    assert not inner[:, :, :, 7].any()


def test_a_flat_picture_has_no_structure():
    for level in (0, 90, 255):
        assert perceptual_hash(np.full((40, 50), level, np.uint8)) == bytes(HASH_BYTES)
    assert not has_structure(bytes(HASH_BYTES))
    assert not has_structure(b"\xff" * HASH_BYTES)
    assert has_structure(perceptual_hash(phantom(1)))


def test_the_hash_of_a_mirrored_picture_is_the_mirrored_hash():
    original = phantom(3)
    mirrored = unpacked([perceptual_hash(np.ascontiguousarray(original[:, ::-1]))])[0]
    turned = unpacked([perceptual_hash(np.ascontiguousarray(np.rot90(original)))])[0]
    bits = unpacked([perceptual_hash(original)])[0]
    assert (mirrored != bits[:, ::-1]).mean() < 0.01
    assert (turned != np.rot90(bits)).mean() < 0.01


@pytest.mark.parametrize("fill", [0, 128, 255])
def test_even_margins_do_not_count(fill):
    original = phantom(4)
    framed = np.full((260, 300), fill, np.uint8)
    framed[40:200, 30:222] = original
    assert differing(perceptual_hash(framed), perceptual_hash(original)) < HASH_SIDE**2 / 20


def test_size_and_contrast_hardly_count_and_another_phantom_does():
    original = perceptual_hash(phantom(1))
    larger = Image.fromarray(phantom(1)).resize((384, 320), Image.Resampling.BICUBIC)
    assert differing(original, perceptual_hash(np.asarray(larger))) < HASH_SIDE**2 / 20
    paler = (phantom(1) // 2 + 60).astype(np.uint8)
    assert differing(original, perceptual_hash(paler)) < HASH_SIDE**2 / 20
    assert differing(original, perceptual_hash(phantom(2))) > HASH_SIDE**2 / 10


def test_a_hash_of_another_length_is_refused():
    with pytest.raises(ValueError, match="has 3 bytes; expected 2848"):
        unpacked([b"abc"])
