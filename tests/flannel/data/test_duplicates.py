import numpy as np
import pytest
from PIL import Image

from flannel.data.duplicates import (
    HASH_BITS,
    NEAR_DISTANCE,
    joined_groups,
    near_duplicates,
    perceptual_hash,
)
from flannel.data.phantom import draw_phantom


def phantom(number: int) -> np.ndarray:
    return draw_phantom("Normal", np.random.default_rng(number), (160, 192)).image


def distance(one: np.ndarray, other: np.ndarray) -> int:
    return (perceptual_hash(one) ^ perceptual_hash(other)).bit_count()


def test_a_hash_is_the_signs_of_low_frequencies_against_their_median():
    # One vertical wave of frequency 3: of all coefficients only (3, 0) and the mean stand out.
    wave = np.cos(np.pi * 3 * (np.arange(32) + 0.5) / 32)
    picture = np.rint(128 + 100 * np.repeat(wave[:, None], 32, axis=1)).astype(np.uint8)
    bits = f"{perceptual_hash(picture):0{HASH_BITS}b}"
    assert bits[0] == "1"
    assert bits[3 * 16] == "1"
    assert "1" not in "".join(bits[row * 16 + 1 : row * 16 + 16] for row in range(16))
    inverted = f"{perceptual_hash(255 - picture):0{HASH_BITS}b}"
    assert inverted[3 * 16] == "0"


def test_a_flat_picture_hashes_alike_at_every_level():
    assert perceptual_hash(np.full((40, 50), 7, np.uint8)) == perceptual_hash(
        np.full((90, 64), 200, np.uint8)
    )


def test_a_copy_at_another_size_and_contrast_is_near_and_another_phantom_is_not():
    original = phantom(1)
    smaller = np.asarray(Image.fromarray(original).resize((100, 80), Image.Resampling.BICUBIC))
    assert distance(original, smaller) <= 8
    assert distance(original, (original // 2 + 60).astype(np.uint8)) <= 8
    assert distance(original, phantom(2)) > NEAR_DISTANCE


@pytest.mark.parametrize("max_distance", [0, 5, 100, 256])
def test_near_pairs_are_those_of_a_plain_double_loop(monkeypatch, max_distance):
    monkeypatch.setattr("flannel.data.duplicates.BLOCK", 7)  # several blocks, the last one short
    generator = np.random.default_rng(3)
    hashes = [int.from_bytes(generator.bytes(32)) for _ in range(20)]
    hashes += [hashes[4], hashes[9] ^ 0b10101, hashes[19] ^ (1 << 255), 0, 2**256 - 1]
    expected = [
        (i, j, (hashes[i] ^ hashes[j]).bit_count())
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        if (hashes[i] ^ hashes[j]).bit_count() <= max_distance
    ]
    assert near_duplicates(hashes, max_distance) == expected
    assert (4, 20, 0) in expected


def test_no_hash_has_no_pair_and_a_strange_hash_is_refused():
    assert near_duplicates([]) == []
    with pytest.raises(ValueError, match=r"expected 0 to 2\*\*256"):
        near_duplicates([1, 2**256])


def test_groups_that_share_a_file_are_joined_in_chains():
    groups = ["d", "c", "c", "b", "a", "e"]
    files = ["1", "1", "2", "2", "3", "4"]  # d-c by 1, c-b by 2
    assert joined_groups(groups, files) == ["b", "b", "b", "b", "a", "e"]


def test_near_duplicates_join_groups_too():
    groups = ["d", "c", "c", "b", "a", "e"]
    files = ["1", "2", "3", "4", "5", "5"]  # a-e by 5; c-b near, d alone
    assert joined_groups(groups, files, [(2, 3, 8)]) == ["d", "b", "b", "b", "a", "a"]


def test_without_duplicates_nothing_changes():
    assert joined_groups(["b", "a", "b"], ["1", "2", "3"]) == ["b", "a", "b"]
