"""The picture of a run's patches."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from flannel.data.diagnosis import FLANNEL, coloured
from flannel.data.pictures import GAP_PX, colour_of
from flannel.learners.datamodule import RadiographDataModule
from flannel.learners.patch_pictures import SHOWN_PX, PatchPictures


@pytest.mark.slow
def test_patches_are_drawn_on_their_radiographs_once(phantom_study, tmp_path):
    data = RadiographDataModule(
        phantom_study, arm="patched", batch_size=6, window_px=24, size_px=24, val_patches=2
    )
    data.setup("fit")
    batch = next(iter(data.val_dataloader()))
    callback = PatchPictures(tmp_path, to_wandb=False, radiographs=3)
    trainer = SimpleNamespace(datamodule=data, is_global_zero=True, loggers=[])
    callback.on_validation_batch_end(trainer, None, None, batch, 0)
    picture = np.asarray(Image.open(tmp_path / "patches.png"))
    true = [FLANNEL[int(index)] for index in batch.target[:3]]
    drawn = {tuple(colour) for colour in np.unique(picture.reshape(-1, 3), axis=0)}
    colours = {name: colour_of(colour) for name, colour in coloured(FLANNEL).items()}
    for diagnosis, colour in colours.items():
        assert (colour in drawn) == (diagnosis in true)
    # The upper edge of the first patch, where its centre says, in the enlarged first radiograph.
    row, column = batch.places.centres[0, 0].tolist()
    top = min(max(row - 12, 0), 64 - 24) * SHOWN_PX // 64
    left = min(max(column - 12, 0), 64 - 24) * SHOWN_PX // 64
    edge = picture[GAP_PX + top, GAP_PX + left : GAP_PX + left + 24 * SHOWN_PX // 64]
    assert (edge == colours[true[0]]).all()
    before = picture[GAP_PX + top, GAP_PX + left - 1] if left else np.zeros(3)
    assert tuple(before) != colours[true[0]]

    (tmp_path / "patches.png").unlink()
    again = PatchPictures(tmp_path, to_wandb=False)
    again.load_state_dict(callback.state_dict())
    again.on_validation_batch_end(trainer, None, None, batch, 0)
    assert not (tmp_path / "patches.png").exists()
