"""Small radiographs on disk, of which stores are made."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from flannel.data.mask import write_mask
from flannel.files import sha256_of


class StoreStudy:
    """A folder of radiographs, 64 x 48 pixels by default, with masks and a store."""

    def __init__(self, folder):
        self.folder, self.store, self.masks = folder, folder / "store", folder / "masks"
        self.masks.mkdir(parents=True)

    def path(self, name):
        return self.folder / f"{name}.png"

    def draw(self, name, seed=0, levels=None):
        """Writes a radiograph of noise, or of given levels."""
        if levels is None:
            levels = np.random.default_rng([seed, *name.encode()]).integers(
                30, 200, (48, 64), np.uint8
            )
        Image.fromarray(levels).save(self.path(name))
        return levels

    def pixels(self, name):
        with Image.open(self.path(name)) as picture:
            return np.asarray(picture)

    def mask(self, name, mask=None):
        """Writes a lung mask: given, or two lungs of a random outline."""
        if mask is None:
            height, width = self.pixels(name).shape
            noise = np.random.default_rng(7).random((height, width))
            columns = np.abs(np.linspace(-1, 1, width))
            mask = (columns > 0.2) & (columns < 0.8) & (noise > 0.2)
        write_mask(mask, self.masks / f"{name}.png")
        return mask

    def manifest(self, names):
        """Makes a manifest, by the columns that a store needs."""
        rows = []
        for name in names:
            height, width = self.pixels(name).shape
            rows.append((name, str(self.path(name)), sha256_of(self.path(name)), width, height))
        return pd.DataFrame(rows, columns=["image_id", "path", "sha256", "width", "height"])


@pytest.fixture
def study(tmp_path):
    """Three radiographs, a, b and c."""
    study = StoreStudy(tmp_path / "study")
    for name in "abc":
        study.draw(name)
    return study
