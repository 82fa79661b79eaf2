from pathlib import Path

import numpy as np
import pytest
import torch

from flannel.data.radiograph import write_mask
from flannel.data.sources import find_pairs
from flannel.data.sources.mask_pairs import write_phantoms
from segmentation.data import (
    EpochSampler,
    LungDataModule,
    LungPairError,
    prepare_pairs,
    split_pairs,
)

JSRT = [f"JPCLN{n:03d}" for n in range(1, 155)] + [f"JPCNN{n:03d}" for n in range(1, 94)]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    write_phantoms(folder, 8, seed=3, size=96)
    return folder


def module(folder: Path, **options) -> LungDataModule:
    data = LungDataModule(study=folder / "study", folder=folder, size_px=32, **options)
    data.setup("fit")
    return data


def test_paper_split_is_the_original_programs():
    """197 / 50 of 247; the original shuffles the sorted list after numpy.random.seed(407)."""
    split = split_pairs(JSRT[::-1], "paper")
    order = list(range(247))
    np.random.RandomState(407).shuffle(order)
    assert split["train"] == [sorted(JSRT)[i] for i in order[:197]]
    assert len(split["val"]) == 50
    assert split["test"] == split["val"]


def test_shares_split_whole_groups_and_lose_nothing():
    stems = [f"p{person}_{image}" for person in range(20) for image in range(1 + person % 3)]
    split = split_pairs(stems, "shares", group_pattern=r"^(p\d+)_", seed=5)
    assert sorted(stem for members in split.values() for stem in members) == sorted(stems)
    persons = [{stem.split("_")[0] for stem in split[name]} for name in ("train", "val", "test")]
    assert sum(len(some) for some in persons) == 20
    assert abs(len(split["train"]) - 0.7 * len(stems)) <= 3


def test_shares_of_single_pairs_are_exact_and_seeded():
    """0.6, 0.2 and 0.2 of 247 are 148.2, 49.4 and 49.4."""
    split = split_pairs(JSRT, "shares", shares=(0.6, 0.2, 0.2), seed=1)
    assert [len(split[name]) for name in ("train", "val", "test")] == [148, 50, 49]
    assert split == split_pairs(JSRT[::-1], "shares", shares=(0.6, 0.2, 0.2), seed=1)
    assert split != split_pairs(JSRT, "shares", shares=(0.6, 0.2, 0.2), seed=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shares": (0.5, 0.5, 0.5)}, "sum to 1"),
        ({"protocol": "random"}, "'random'"),
        ({"group_pattern": "("}, "no regular expression"),
        ({"group_pattern": "JPC"}, "in 1 groups"),
    ],
)
def test_impossible_splits_are_one_sentence(options, message):
    with pytest.raises(LungPairError, match=message):
        split_pairs(JSRT, **{"protocol": "shares", **options})


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
    data = module(pairs, flip=True)

    def epoch(number):
        loader = data.train_dataloader()
        loader.sampler.set_epoch(number)
        return torch.cat([batch.radiographs for batch in loader])

    assert torch.equal(epoch(3), epoch(3))
    assert not torch.equal(epoch(3), epoch(4))


def test_mirroring_turns_radiograph_and_mask_together(pairs):
    plain, mirrored = module(pairs), module(pairs, flip=True)
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


def test_bad_files_are_listed_together_and_left_out(tmp_path, capsys):
    write_phantoms(tmp_path, 8, seed=3, size=96)
    images = sorted((tmp_path / "images").iterdir())
    images[0].write_bytes(b"")
    images[1].write_bytes(images[1].read_bytes()[:300])
    for side in ("left_lung", "right_lung"):
        write_mask(np.eye(60, 20, dtype=bool), tmp_path / "masks" / side / images[2].name)
    prepared = prepare_pairs(find_pairs(tmp_path), size_px=32, strict=False)
    said = capsys.readouterr().out
    assert "Left out 3 of 8" in said
    assert all(str(path) in said for path in images[:3])
    assert prepared.stems == tuple(path.stem for path in images[3:])
    assert len(prepared.radiographs) == len(prepared.masks) == 5
    with pytest.raises(LungPairError, match="3 of 8 image"):
        module(tmp_path, strict=True)


def test_a_split_without_a_usable_pair_is_one_sentence(tmp_path):
    write_phantoms(tmp_path, 3, seed=3, size=96)
    next((tmp_path / "images").iterdir()).write_bytes(b"")
    with pytest.raises(LungPairError, match=r"pair is left for \w+ in"):
        module(tmp_path)
