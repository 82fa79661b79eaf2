from pathlib import Path

import pytest
import torch

from flannel.data.sources.mask_pairs import write_phantoms
from flannel.errors import OptionError
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
    whole = [draw.position for draw in EpochSampler([1] * 9, seed=2)]
    parts = [[draw.position for draw in EpochSampler([1] * 9, 2, rank, 2)] for rank in (0, 1)]
    assert [len(part) for part in parts] == [4, 4]
    assert parts[0] == whole[0:8:2]
    assert parts[1] == whole[1:8:2]
    val = [[draw.position for draw in EpochSampler([1] * 5, None, rank, 2)] for rank in (0, 1)]
    assert val == [[0, 2, 4], [1, 3]]


def test_repeated_radiographs_are_drawn_anew_each_time():
    drawn = list(EpochSampler([1, 3], seed=2))
    assert sorted(draw.position for draw in drawn) == [0, 1, 1, 1]
    assert {draw.turn for draw in drawn if draw.position == 1} == {0, 1, 2}


def test_origins_are_repeated_in_training_only(tmp_path):
    for origin in ("children", "adults"):
        write_phantoms(tmp_path / origin, 4, seed=3, size=96)
    data = module(tmp_path, repeats={"adults": 3}, augmentation=Augmentation(noise=9.0))
    adults = [pair.origin == "adults" for pair in data.datasets["train"].pairs]
    batches = list(data.train_dataloader())
    assert sum(len(batch.target) for batch in batches) == len(adults) + 2 * sum(adults)
    pictures = torch.cat([batch.radiographs for batch in batches]).flatten(1)
    assert len(torch.unique(pictures, dim=0)) == len(pictures)
    test = list(data.test_dataloader())
    assert sum(len(batch.target) for batch in test) == len(data.datasets["test"])


def test_repeats_that_cannot_be_drawn_are_one_sentence(tmp_path):
    for origin in ("children", "adults"):
        write_phantoms(tmp_path / origin, 4, seed=3, size=96)
    with pytest.raises(LungPairError, match="names elders, but the pairs come from adults, child"):
        module(tmp_path, repeats={"elders": 3})
    with pytest.raises(OptionError, match="repeats of adults is 0; expected 1 or more"):
        module(tmp_path, repeats={"adults": 0})


def test_a_split_without_a_usable_pair_is_one_sentence(tmp_path):
    write_phantoms(tmp_path, 3, seed=3, size=96)
    next((tmp_path / "images").iterdir()).write_bytes(b"")
    with pytest.raises(LungPairError, match=r"pair is left for \w+ in"):
        module(tmp_path)
