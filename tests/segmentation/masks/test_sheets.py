import os

import numpy as np
import pytest
from PIL import Image

from flannel.data.file_checks import RadiographError
from flannel.data.mask import write_mask
from flannel.data.pictures import SKY
from segmentation.masks.sheets import SHEET_LIMIT, overlay, write_overlays, write_sheet


def drawn(folder, height, width):
    """Writes a grey radiograph and a mask of its left half."""
    grey = np.full((height, width), 100, np.uint8)
    grey[0] = 90
    Image.fromarray(grey).save(folder / "a.png")
    mask = np.zeros((height, width), dtype=bool)
    mask[:, : width // 2] = True
    write_mask(mask, folder / "mask.png")
    return folder / "a.png", folder / "mask.png"


@pytest.fixture
def pair(tmp_path):
    return drawn(tmp_path, 800, 1200)


def test_an_overlay_is_small_and_shows_the_mask(pair):
    picture = overlay(*pair)
    assert picture.shape == (341, 512, 3)
    assert picture[170, 400].tolist() == [100, 100, 100]
    assert picture[170, 255].tolist() == list(SKY)
    assert overlay(*pair, longest_px=2000).shape == (800, 1200, 3)
    write_mask(np.zeros((80, 120), dtype=bool), pair[1])
    with pytest.raises(RadiographError, match="expected 1200 x 800"):
        overlay(*pair)


def test_overlays_are_drawn_once_for_each_mask(pair, tmp_path):
    place, lost = tmp_path / "overlays" / "a.jpg", tmp_path / "overlays" / "b.jpg"
    files = {place: pair, lost: (tmp_path / "none.png", pair[1])}
    count, faults = write_overlays(files)
    assert (count, len(faults)) == (1, 1)
    assert "none.png" in faults[0]
    with Image.open(place) as picture:
        assert (picture.format, picture.size) == ("JPEG", (512, 341))
    os.utime(place, (2e9, 2e9))
    write_overlays({place: pair})
    assert place.stat().st_mtime == 2e9
    os.utime(pair[1], (2.1e9, 2.1e9))
    write_overlays({place: pair})
    assert place.stat().st_mtime < 2e9


def test_a_sheet_shows_the_first_sixty_and_goes_when_there_is_nothing(tmp_path):
    pair = drawn(tmp_path, 200, 300)
    sheet = tmp_path / "flagged.png"
    assert write_sheet(sheet, [(*pair, f"small: {n}") for n in range(SHEET_LIMIT + 2)]) == 60
    with Image.open(sheet) as picture:
        assert picture.size == (6 * (240 + 6) + 6, 10 * (160 + 20 + 6) + 6)
    assert write_sheet(sheet, [(*pair, "a"), (tmp_path / "none.png", pair[1], "b")]) == 1
    with Image.open(sheet) as picture:
        assert picture.size == (240 + 12, 160 + 20 + 12)
    assert write_sheet(sheet, []) == 0
    assert not sheet.exists()
