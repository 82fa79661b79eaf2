from pathlib import Path

import pytest
import torch

from flannel.data.sources.mask_pairs import write_phantoms
from segmentation.training.augmentation import Augmentation
from segmentation.training.data import EpochSampler, LungDataModule
from segmentation.training.pairs import LungPairError


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    write_phantoms(folder, 8, seed=3, size=96)
    return folder


def module(folder: Path, **options) -> LungDataModule:
    data = LungDataModule(study=folder / "study", folder=folder, size_px=32, **options)
    data.setup("fit")
    return data


def test_batches_hold_prepared_radiographs_and_their_masks(pairs):
    data = module(pairs, batch_size=3)
    batch = next(iter(data.train_dataloader()))
    assert batch.radiographs.shape == (3, 1, 32, 32)
    assert batch.radiographs.dtype == torch.float32
    assert 0 <= batch.radiographs.min() <= batch.radiographs.max() <= 255
    assert batch.target.unique().tolist() == [0, 1]
    inside = batch.radiographs[:, 0][batch.target == 1].mean()
    assert inside < batch.radiographs[:, 0][batch.target == 0].mean()  # lungs are dark


def test_order_and_mirroring_hang_on_seed_and_epoch_alone(pairs):
    data = module(pairs, augmentation=Augmentation(flip=True))

    def epoch(number):
        loader = data.train_dataloader()
        loader.sampler.set_epoch(number)
        return torch.cat([batch.radiographs for batch in loader])

    assert torch.equal(epoch(3), epoch(3))
    assert not torch.equal(epoch(3), epoch(4))


def test_mirroring_turns_radiograph_and_mask_together(pairs):
    plain, mirrored = module(pairs), module(pairs, augmentation=Augmentation(flip=True))
    turned = 0
    for number in range(6):
        loaders = plain.train_dataloader(), mirrored.train_dataloader()
        for loader in loaders:
            loader.sampler.set_epoch(number)
        for one, other in zip(*loaders, strict=True):
            for i in range(len(one.target)):
                if torch.equal(one.target[i], other.target[i]):
                    continue
                turned += 1
                assert torch.equal(one.target[i].flip(-1), other.target[i])
                assert torch.equal(one.radiographs[i].flip(-1), other.radiographs[i])
    assert 0 < turned < 6 * len(plain.datasets["train"])


def test_ranks_share_an_epoch_without_repeating():
    whole = [draw.position for draw in EpochSampler(9, seed=2)]
    parts = [[draw.position for draw in EpochSampler(9, 2, rank, 2)] for rank in (0, 1)]
    assert [len(part) for part in parts] == [4, 4]
    assert parts[0] == whole[0:8:2]
    assert parts[1] == whole[1:8:2]
    val = [[draw.position for draw in EpochSampler(5, None, rank, 2)] for rank in (0, 1)]
    assert val == [[0, 2, 4], [1, 3]]


def test_a_split_without_a_usable_pair_is_one_sentence(tmp_path):
    write_phantoms(tmp_path, 3, seed=3, size=96)
    next((tmp_path / "images").iterdir()).write_bytes(b"")
    with pytest.raises(LungPairError, match=r"pair is left for \w+ in"):
        module(tmp_path)
