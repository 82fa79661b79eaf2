"""A store larger than memory: two processes read it row by row, no image is lost or doubled."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from flannel.data.diagnosis import FLANNEL
from flannel.data.folds import assign_folds
from flannel.data.manifest import COLUMNS, save_manifest
from flannel.data.store.layout import ARRAYS, Settings, StoreEntry, write_index, write_summary
from flannel.learners.datamodule import RadiographDataModule
from flannel.learners.datasets import EpochSampler

IMAGES, SIDE_PX, EPOCHS = 400, 256, 2
IMAGE_MB = SIDE_PX**2 / 2**20


@pytest.fixture
def large_study(tmp_path):
    """A study whose radiographs are random numbers, 64 kB each."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({column: [""] * IMAGES for column in COLUMNS})
    table["image_id"] = [f"image-{i:03}" for i in range(IMAGES)]
    table["path"] = table["patient_id"] = table["group"] = table["image_id"]
    table["diagnosis"] = [FLANNEL[i % 4] for i in range(IMAGES)]
    table["width"] = table["height"] = SIDE_PX
    table["fold"] = pd.array([pd.NA] * IMAGES, dtype="Int64")
    save_manifest(assign_folds(table, "patient", seed=1, folds=5), tmp_path / "manifest.csv")
    store, settings = tmp_path / "store", Settings(SIDE_PX, "stretch")
    store.mkdir()
    for name, shape in zip(ARRAYS, settings.row_shapes, strict=True):
        np.save(store / name, rng.integers(0, 256, (IMAGES, *shape), dtype=np.uint8))
    write_index(store, [StoreEntry(image_id, "0") for image_id in table["image_id"]])
    write_summary(store, settings, IMAGES)
    return tmp_path


def resident_mb(kind):
    """Reads this process's own memory ("RssAnon") or its share of mapped files ("RssFile")."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{kind}:"))


class Ears(LightningModule):
    """Notes which images it is given, and what memory the process has; learns nothing."""

    def __init__(self, folder):
        super().__init__()
        self.folder, self.weight = folder, torch.nn.Parameter(torch.zeros(1))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def training_step(self, batch, batch_idx):
        self.note(f"train{self.current_epoch}", batch)
        return self.weight.sum() * batch.pixels.float().mean()

    def validation_step(self, batch, batch_idx):
        """Is not called; Lightning wants one where there are validation images."""

    def predict_step(self, batch, batch_idx):
        self.note("predict", batch)

    def note(self, what, batch):
        with (self.folder / f"{what}-{self.global_rank}.csv").open("a") as file:
            own, mapped = resident_mb("RssAnon"), resident_mb("RssFile")
            file.writelines(f"{name},{own},{mapped}\n" for name in batch.image_ids)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what Lightning says of such a run, and Python of forks
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read on Linux only")
def test_two_processes_part_the_images_and_keep_none(large_study, tmp_path):
    data = RadiographDataModule(large_study, batch_size=8, size_px=32, resize_px=32)
    data.setup("fit")
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy="ddp_fork", max_epochs=EPOCHS, limit_val_batches=0,
        logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False,
    )  # fmt: skip
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the forked processes could not use others
    try:
        trainer.fit(Ears(tmp_path), datamodule=data)
        trainer.predict(Ears(tmp_path), datamodule=data, return_predictions=False)
    finally:
        torch.set_num_threads(threads)
    names = ["image_id", "own", "mapped"]
    wanted = {"train0": {"train"}, "train1": {"train"}, "predict": {"train", "val", "test"}}
    for what, splits in wanted.items():
        heard = [pd.read_csv(tmp_path / f"{what}-{rank}.csv", names=names) for rank in range(2)]
        everything = data.table["image_id"][data.table["split"].isin(splits)]
        assert len(everything) == 256 or what == "predict"
        assert Counter(pd.concat(heard)["image_id"]) == Counter(everything)
        assert len(heard[0]) == len(heard[1])
    for of_rank in heard:  # the last 160 of 200 images, 10 MB, of which no process keeps any
        later = of_rank.iloc[40:]
        assert len(later) * IMAGE_MB == 10
        assert later["own"].max() - later["own"].iloc[0] < 1
        assert later["mapped"].iloc[-1] - later["mapped"].iloc[0] > 8
    first, second = (pd.read_csv(tmp_path / f"train{epoch}-0.csv", names=names) for epoch in (0, 1))
    assert first["image_id"].tolist() != second["image_id"].tolist()


def test_a_device_too_many_leaves_out_less_than_one_image_each():
    parts = [EpochSampler([0] * 11, 3, "shuffled", rank=r, ranks=3) for r in range(3)]
    left_out = []
    for epoch in range(4):
        for part in parts:
            part.set_epoch(epoch)
        rows = Counter(key.row for part in parts for key in part)
        assert set(rows.values()) == {1}
        assert len(rows) == 9
        left_out.append(set(range(11)) - set(rows))
    assert len({frozenset(rows) for rows in left_out}) > 1
