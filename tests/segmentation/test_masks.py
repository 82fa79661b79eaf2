from pathlib import Path

import numpy as np
import pytest

from segmentation.masks import (
    MaskError,
    MaskRow,
    clean,
    load_mask_rows,
    mask_at_size,
    quality,
    save_mask_rows,
)


def drawn(*rows: str) -> np.ndarray:
    return np.array([[c == "#" for c in row] for row in rows])


def lungs() -> np.ndarray:
    mask = np.zeros((40, 40), dtype=bool)
    mask[5:35, 4:16] = True
    mask[5:35, 24:36] = True
    return mask


def test_clean_keeps_the_two_largest_parts_and_fills_holes():
    ragged = drawn(
        "###...####",
        "#.#...#..#",
        "###...####",
        "..........",
        ".##.......",
    )
    cleaned = drawn(
        "###...####",
        "###...####",
        "###...####",
        "..........",
        "..........",
    )
    assert np.array_equal(clean(ragged), cleaned)
    assert np.array_equal(clean(cleaned), cleaned)


def test_clean_leaves_bays_and_empty_masks_alone():
    bay = drawn("#.#", "#.#", "###")
    assert np.array_equal(clean(bay), bay)
    empty = np.zeros((3, 3), dtype=bool)
    assert np.array_equal(clean(empty), empty)


def test_quality_by_hand():
    confidence = np.where(lungs(), 0.75, 0.1).astype(np.float32)
    seen = quality(lungs(), confidence)
    assert seen.area_share == pytest.approx(2 * 30 * 12 / 1600)
    assert (seen.parts, seen.touches_border, seen.flag) == (2, False, "")
    assert seen.mean_confidence == pytest.approx(0.75)
    assert quality(lungs()).mean_confidence is None


def test_flags():
    empty = np.zeros((40, 40), dtype=bool)
    small = empty.copy()
    small[10:14, 10:14] = True
    one = lungs()
    one[:, 20:] = False
    dotted = lungs()
    dotted[0, 20] = True
    assert quality(empty, np.zeros((40, 40), dtype=np.float32)).mean_confidence is None
    assert [quality(m).flag for m in (empty, small, ~empty, one, dotted)] == [
        "empty", "small", "large", "one lung", "many parts",
    ]  # fmt: skip
    assert quality(dotted).touches_border


def test_masks_are_cut_smoothly_at_the_radiographs_size():
    """Between a 0 and a 1 the bilinear half lies in the middle."""
    mask, probability = mask_at_size(np.array([[0.0, 1.0]], dtype=np.float32), 3, 8)
    assert mask.tolist() == [[False] * 4 + [True] * 4] * 3
    assert probability[0].tolist() == pytest.approx(
        [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1], abs=1e-6
    )


def test_rows_come_back_as_they_were_saved(tmp_path):
    rows = [
        MaskRow("b", "predicted", quality(lungs(), lungs().astype(np.float32)), "f00"),
        MaskRow("a", "reference", quality(np.zeros((40, 40), dtype=bool)), "00012"),
    ]
    save_mask_rows(rows, tmp_path / "masks.csv")
    assert load_mask_rows(tmp_path / "masks.csv") == {"a": rows[1], "b": rows[0]}
    assert load_mask_rows(tmp_path / "none.csv") == {}


@pytest.mark.parametrize("text", ["image_id,origin\na,predicted\n", "image_id,origin\na,guessed\n"])
def test_damaged_tables_are_one_sentence(tmp_path: Path, text):
    (tmp_path / "masks.csv").write_text(text)
    with pytest.raises(MaskError, match="no table of masks"):
        load_mask_rows(tmp_path / "masks.csv")
