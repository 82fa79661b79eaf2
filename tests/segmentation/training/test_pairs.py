from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flannel.data.mask import write_mask
from flannel.data.phantom import draw_phantom
from flannel.data.sources import MaskPair, find_pairs, read_pair_mask
from flannel.data.sources.mask_pairs import write_phantoms
from segmentation.masks.folder import MaskRow, open_mask_folder
from segmentation.masks.quality import quality
from segmentation.training.pairs import (
    LungPairError,
    convention_of,
    group_of,
    prepare_pairs,
    split_pairs,
)


def named(stem: str, **attributes: str) -> MaskPair:
    return MaskPair(Path(f"{stem}.png"), {}, stem, **attributes)


STEMS = [f"JPCLN{n:03d}" for n in range(1, 155)] + [f"JPCNN{n:03d}" for n in range(1, 94)]
JSRT = [named(stem) for stem in STEMS]


def test_paper_split_is_the_original_programs():
    """197 / 30 / 50 of 247, numpy.random.seed(407); its test pairs contain the validation pairs."""
    split = split_pairs(JSRT[::-1], "paper")
    order = list(range(247))
    np.random.RandomState(407).shuffle(order)
    assert split["train"] == [sorted(STEMS)[i] for i in order[:197]]
    assert split["test"] == [sorted(STEMS)[i] for i in order[197:]]
    assert split["val"] == split["test"][:30]


def test_shares_split_whole_groups_and_lose_nothing():
    stems = [f"p{person}_{image}" for person in range(20) for image in range(1 + person % 3)]
    split = split_pairs([named(stem) for stem in stems], group_pattern=r"^(p\d+)_", seed=5)
    assert sorted(stem for members in split.values() for stem in members) == sorted(stems)
    persons = [{stem.split("_")[0] for stem in split[name]} for name in ("train", "val", "test")]
    assert sum(len(some) for some in persons) == 20
    assert abs(len(split["train"]) - 0.7 * len(stems)) <= 3


def test_shares_of_single_pairs_are_exact_and_seeded():
    """0.6, 0.2 and 0.2 of 247 are 148.2, 49.4 and 49.4."""
    split = split_pairs(JSRT, shares=(0.6, 0.2, 0.2), seed=1)
    assert [len(split[name]) for name in ("train", "val", "test")] == [148, 50, 49]
    assert split == split_pairs(JSRT[::-1], shares=(0.6, 0.2, 0.2), seed=1)
    assert split != split_pairs(JSRT, shares=(0.6, 0.2, 0.2), seed=2)


def test_patients_stay_together_and_the_pattern_goes_before_them():
    pair = named("p7_a", patient="seven")
    assert group_of(pair, None) == "seven"
    assert group_of(named("p7_a"), None) == "p7_a"
    assert group_of(pair, r"^p\d") == "p7"
    assert group_of(pair, r"^p(\d)") == "7"
    assert group_of(pair, "nowhere") == "seven"


def test_given_split_is_taken_as_it_is():
    pairs = [named(f"a{n}", split=("train", "val", "test")[n % 3]) for n in range(7)]
    assert split_pairs(pairs, "given") == {
        "train": ["a0", "a3", "a6"], "val": ["a1", "a4"], "test": ["a2", "a5"],
    }  # fmt: skip
    with pytest.raises(LungPairError, match="1 of 8 pairs come without a split, first b"):
        split_pairs([*pairs, named("b")], "given")


def test_other_origins_are_for_testing_only(capsys):
    children = [named(f"c{n}", origin="children", patient=f"c{n}") for n in range(20)]
    adults = [named(f"a{n}", origin="adults", patient=f"a{n}") for n in range(5)]
    split = split_pairs(children + adults, train_on=["children"])
    assert {stem[0] for stem in split["train"] + split["val"]} == {"c"}
    assert {f"a{n}" for n in range(5)} < set(split["test"])
    assert len(split["test"]) == 5 + 3
    # The same patient in the other origin, of whom the network learned:
    twin = named("twin", origin="adults", patient=split["train"][0])
    assert "twin" not in split_pairs([*children, *adults, twin], train_on=["children"])["test"]
    assert "1 pairs of other origins left out" in capsys.readouterr().err
    with pytest.raises(LungPairError, match=r"train_on names dogs, but .* adults, children"):
        split_pairs(children + adults, train_on=["dogs"])


def test_conventions_are_not_mixed_unawares():
    one, other = named("a", convention="scr"), named("b", convention="v7")
    assert convention_of([one, one], mixed=False) == "scr"
    assert convention_of([named("c")], mixed=False) == ""
    assert convention_of([one, other], mixed=True) == "scr + v7"
    with pytest.raises(LungPairError, match=r"scr: 1 pairs, v7: 2 pairs.*mixed_conventions true"):
        convention_of([one, other, other], mixed=False)


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


def test_bad_files_are_listed_together_and_left_out(tmp_path, capsys):
    write_phantoms(tmp_path, 8, seed=3, size=96)
    images = sorted((tmp_path / "images").iterdir())
    images[0].write_bytes(b"")
    images[1].write_bytes(images[1].read_bytes()[:300])
    for side in ("left_lung", "right_lung"):
        write_mask(np.eye(60, 20, dtype=bool), tmp_path / "masks" / side / images[2].name)
    pairs = find_pairs(tmp_path)
    prepared = prepare_pairs(pairs, size_px=32, structures="lungs", strict=False)
    printed = capsys.readouterr().out
    assert "Left out 3 of 8" in printed
    assert all(str(path) in printed for path in images[:3])
    assert [pair.stem for pair in prepared.pairs] == [path.stem for path in images[3:]]
    assert len(prepared.radiographs) == len(prepared.targets) == 5
    with pytest.raises(LungPairError, match="3 of 8 image"):
        prepare_pairs(pairs, size_px=32, structures="lungs", strict=True)


def test_structures_are_told_apart_where_the_set_has_them(tmp_path):
    """The patient's left lung lies on the right of the picture; the heart between the two."""
    write_phantoms(tmp_path / "pairs", 3, seed=1, size=256)
    prepared = prepare_pairs(find_pairs(tmp_path / "pairs"), 64, "heart_left_right", strict=True)
    assert prepared.targets.unique().tolist() == [0, 1, 2, 3]
    columns = torch.arange(64).expand(64, 64)
    for target in prepared.targets:
        heart, left, right = (columns[target == place].float().mean() for place in (1, 2, 3))
        assert right < heart < left
    lungs = prepare_pairs(find_pairs(tmp_path / "pairs"), 64, "lungs", strict=True)
    sides = prepare_pairs(find_pairs(tmp_path / "pairs"), 64, "left_right", strict=True)
    # A pixel that two lungs share by less than half each may belong to their union alone.
    differing = (lungs.targets > 0) != (sides.targets > 0)
    assert differing.float().mean() < 0.002

    one = find_pairs(tmp_path / "pairs")[0]
    lacking = MaskPair(one.image, {"lungs": one.masks["left lung"]}, "a")
    with pytest.raises(LungPairError, match="heart"):
        prepare_pairs([lacking], 64, "heart_left_right", strict=False)


def write_masks(folder: Path, kinds: list[str]) -> Path:
    """Writes pairs of phantoms, each with a mask of one kind."""
    for number, kind in enumerate(kinds):
        generator = np.random.default_rng(number)
        drawn = draw_phantom("Normal", generator, (96, 96))
        lungs = drawn.left_lung | drawn.right_lung
        inside = lungs.astype(np.uint8) * 255
        mask = {
            "good": inside,
            "inverted": 255 - inside,
            "black": inside * 0,
            "white": inside | 255,
            "alpha": np.dstack([np.full_like(inside, 255), inside]),
            "labels": np.where(np.arange(96) < 48, inside // 255, inside // 255 * 2),
            "one lung": np.where(np.arange(96) < 48, inside, 0),
        }[kind].astype(np.uint8)
        for part, picture in (("images", drawn.image), ("masks", mask)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / part / f"{number}-{kind.replace(' ', '_')}.png")
    return folder


@pytest.mark.parametrize("size_px", [32, 96])
def test_masks_that_show_no_lungs_are_named_and_left_out(tmp_path, capsys, size_px):
    kinds = ["good"] * 6 + ["inverted", "black", "white", "labels", "alpha", "one lung"]
    pairs = find_pairs(write_masks(tmp_path, kinds))
    prepared = prepare_pairs(pairs, size_px, "lungs", strict=False)
    left = {pair.stem.partition("-")[2] for pair in prepared.pairs}
    assert left == {"good", "alpha", "one_lung"}
    assert len(prepared.pairs) == 8
    assert [path.name for path in prepared.in_alpha] == ["10-alpha.png"]
    printed = capsys.readouterr().out
    assert "Left out 4 of 12 image + mask pairs" in printed
    assert "inverted.png: no mask of lungs, it covers" in printed
    assert "is it inverted? Lungs must be bright" in printed
    assert "black.png: no mask of lungs, it is empty." in printed
    assert "labels.png holds the labels 0, 1, 2" in printed
    assert "1 mask files were read from their transparency (alpha channel): " in printed
    assert "11-one_lung (one lung)" in printed
    with pytest.raises(LungPairError, match=r"4 of 12 .* cannot be used"):
        prepare_pairs(pairs, size_px, "lungs", strict=True)


def test_a_set_whose_masks_are_mostly_inverted_is_refused(tmp_path):
    pairs = find_pairs(write_masks(tmp_path, ["inverted"] * 5 + ["good"] * 4))
    with pytest.raises(LungPairError, match="5 of 9 masks show anything but lungs"):
        prepare_pairs(pairs, 32, "lungs", strict=False)


def test_masks_that_this_project_predicted_are_named_and_left_out(tmp_path, capsys):
    """Two of five are imported references, in the same folder."""
    pairs = find_pairs(write_masks(tmp_path, ["good"] * 5))
    with open_mask_folder(tmp_path / "masks") as masks:
        for number, pair in enumerate(pairs):
            origin = "predicted" if number < 3 else "reference"
            masks.add(MaskRow(pair.stem, origin, quality(read_pair_mask(pair)), "f00"), None)
    prepared = prepare_pairs(find_pairs(tmp_path), 32, "lungs", strict=False)
    assert [pair.stem for pair in prepared.pairs] == ["3-good", "4-good"]
    out = capsys.readouterr().out
    assert "Left out 3 of 5 image + mask pairs" in out
    assert f"{tmp_path / 'masks' / '0-good.png'}: predicted by `lungs predict`" in out
    with pytest.raises(LungPairError, match=r"3 of 3 .*\n.*Copy masks that a person has corrected"):
        prepare_pairs(pairs[:3], 32, "lungs", strict=False)
