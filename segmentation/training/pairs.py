"""Image + lung-mask pairs: split into train, val and test, and read at the network's size."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float16, UInt8
from torch import Tensor

from flannel.data.file_checks import RadiographError
from flannel.data.mask import is_alpha_mask
from flannel.data.radiograph import read_levels
from flannel.data.sources import MaskPair, read_structure
from flannel.errors import FlannelError
from flannel.progress import announce, progress
from segmentation.masks.folder import predicted_masks
from segmentation.masks.quality import quality, why_no_lungs
from segmentation.preprocessing import prepare, prepare_target
from segmentation.structures import Structures, classes_of, lung_channels

SplitProtocol = Literal["shares", "paper", "given"]
SPLITS = ("train", "val", "test")
PAPER_SEED = 407
"""The NumPy seed of the original program's split."""


NO_LUNGS = "no mask of lungs, it"
REMARKED = 10
"""Names that a remark on masks shows."""


class LungPairError(FlannelError):
    """Raised when image + mask pairs cannot be used."""


@dataclass(frozen=True)
class PreparedPairs:
    """Pairs at the network's size, in memory.

    Attributes:
        pairs: The pairs.
        radiographs: Prepared radiographs.
        targets: Places in `classes_of(structures)`.
        in_alpha: The mask files that were read from their transparency.
    """

    pairs: tuple[MaskPair, ...]
    radiographs: Float16[Tensor, "pairs 1 size size"]
    targets: UInt8[Tensor, "pairs size size"]
    in_alpha: tuple[Path, ...]


@dataclass(frozen=True)
class _Prepared:
    """A pair at the network's size, its mask's flag, and its files that are masks by alpha."""

    radiograph: Float16[np.ndarray, "1 size size"]
    target: UInt8[np.ndarray, "size size"]
    flag: str
    in_alpha: tuple[Path, ...]


def split_pairs(
    pairs: Sequence[MaskPair],
    protocol: SplitProtocol = "shares",
    shares: Sequence[float] = (0.7, 0.15, 0.15),
    group_pattern: str | None = None,
    train_on: Sequence[str] = (),
    seed: int = 1,
) -> dict[str, list[str]]:
    """Splits pairs into train, val and test.

    Args:
        pairs: Pairs, each stem once.
        protocol: `shares` draws groups of pairs until each split has its share. `given` takes the
            split that the set comes with. `paper` is the original program's: the sorted list
            shuffled with NumPy's seed 407, the first 80 % for training, 80 to 92 % for validation
            and 80 to 100 % for *test* (197, 30 and 50 of JSRT's 247), so that its test figure is
            in part one that the network was selected on.
        shares: Parts of train, val and test under `shares`; they sum to 1.
        group_pattern: See `group_of`; groups stay together under `shares`.
        train_on: Origins whose pairs are split; all others are for testing only, except those of
            a patient who is in train or val. None means all origins.
        seed: Seed of the draw under `shares`.

    Returns:
        The stems of each split, in a fixed order.

    Raises:
        LungPairError: If there are too few groups, the shares do not sum to 1, an origin or the
            protocol is unknown, or a pair has no given split.
    """
    origins = sorted({pair.origin for pair in pairs})
    unknown = [name for name in train_on if name not in origins]
    if unknown:
        raise LungPairError(
            f"train_on names {', '.join(unknown)}, but the pairs come from "
            f"{', '.join(origin or '(unnamed)' for origin in origins)}."
        )
    ordered = sorted(pairs, key=lambda pair: pair.stem)
    inside = [pair for pair in ordered if not train_on or pair.origin in train_on]
    match protocol:
        case "shares":
            split = _split_by_shares(inside, shares, group_pattern, seed)
        case "given":
            split = _split_as_given(inside)
        case "paper":
            stems = [pair.stem for pair in inside]
            np.random.RandomState(PAPER_SEED).shuffle(stems)
            first, second = int(0.8 * len(stems)), int(0.92 * len(stems))
            split = {"train": stems[:first], "val": stems[first:second], "test": stems[first:]}
        case _:
            raise LungPairError(f"split is {protocol!r}: expected shares, paper or given.")
    _test_on_the_rest(split, ordered, group_pattern)
    return split


def group_of(pair: MaskPair, pattern: str | None) -> str:
    """Names what must stay together: the patient, what the pattern finds in the stem, or the stem.

    Args:
        pair: An image + mask pair.
        pattern: Regular expression; pairs whose stems match with the same text (the first group
            of the expression, or the whole match) belong together.

    Raises:
        LungPairError: If the pattern is no regular expression.
    """
    if pattern is None:
        return pair.patient or pair.stem
    try:
        match = re.search(pattern, pair.stem)
    except re.error as fault:
        raise LungPairError(
            f"group_pattern {pattern!r} is no regular expression: {fault}."
        ) from fault
    if match is None:
        return pair.patient or pair.stem
    return match.group(1) if match.re.groups else match.group(0)


def convention_of(pairs: Sequence[MaskPair], mixed: bool) -> str:
    """Names the convention that the outlines follow, "" where the sets do not say.

    Raises:
        LungPairError: If there are several and `mixed` does not allow it.
    """
    counts = Counter(pair.convention or "(none named)" for pair in pairs)
    if len(counts) > 1 and not mixed:
        listed = ", ".join(f"{name}: {count} pairs" for name, count in sorted(counts.items()))
        raise LungPairError(
            f"The masks follow several conventions ({listed}): some leave out the lung behind the "
            "heart and some do not. Train on one, or allow it with data.mixed_conventions true."
        )
    return " + ".join(sorted({pair.convention for pair in pairs if pair.convention}))


def prepare_pairs(
    pairs: Sequence[MaskPair], size_px: int, structures: Structures, strict: bool
) -> PreparedPairs:
    """Reads and prepares pairs, several at a time; bad files are listed together.

    Args:
        pairs: What to read.
        size_px: Side of the prepared radiographs and targets.
        structures: Which structures the targets hold.
        strict: Refuse bad files instead of leaving their pairs out.

    Raises:
        LungPairError: If no pair is left, more than half of the masks show anything but lungs,
            or `strict` and a file is bad. Masks that this project has predicted are bad.
        MaskError: If the table of a folder of predicted masks is damaged.
    """
    predicted = predicted_masks(path for pair in pairs for path in _mask_files(pair))
    with ThreadPoolExecutor() as threads:
        read = threads.map(lambda pair: _prepare_pair(pair, size_px, structures, predicted), pairs)
        outcomes = list(progress(read, len(pairs), "Preparing radiographs and masks"))
    faults = [outcome for outcome in outcomes if isinstance(outcome, str)]
    good = [
        (pair, outcome)
        for pair, outcome in zip(pairs, outcomes, strict=True)
        if not isinstance(outcome, str)
    ]
    no_lungs = sum(NO_LUNGS in fault for fault in faults)
    listing = "\n".join(f"  {fault}" for fault in faults)
    if faults and (strict or not good):
        raise LungPairError(
            f"{len(faults)} of {len(pairs)} image + mask pairs cannot be used:\n{listing}\n"
            "Correct or remove these files" + (", or leave data.strict off." if good else ".")
        )
    if no_lungs * 2 > len(pairs):
        raise LungPairError(
            f"{no_lungs} of {len(pairs)} masks show anything but lungs, so this may be no set of "
            f"lung masks:\n{listing}\nCorrect these files."
        )
    if faults:
        print(f"Left out {len(faults)} of {len(pairs)} image + mask pairs:\n{listing}", flush=True)
    for sentence in _remarks(good):
        print(sentence, flush=True)
    return PreparedPairs(
        pairs=tuple(pair for pair, _ in good),
        radiographs=torch.from_numpy(np.stack([prepared.radiograph for _, prepared in good])),
        targets=torch.from_numpy(np.stack([prepared.target for _, prepared in good])),
        in_alpha=tuple(path for _, prepared in good for path in prepared.in_alpha),
    )


def _remarks(good: Sequence[tuple[MaskPair, _Prepared]]) -> Iterator[str]:
    """Yields what a person should know of the masks that are learnt from."""
    in_alpha = [str(path) for _, prepared in good for path in prepared.in_alpha]
    flagged = [f"{pair.stem} ({prepared.flag})" for pair, prepared in good if prepared.flag]
    for words, names in (
        ("mask files were read from their transparency (alpha channel)", in_alpha),
        ("masks look unusual and are used all the same", flagged),
    ):
        if names:
            more = f" and {len(names) - REMARKED} more" if len(names) > REMARKED else ""
            yield f"{len(names)} {words}: {', '.join(names[:REMARKED])}{more}"


def _split_by_shares(
    pairs: list[MaskPair], shares: Sequence[float], group_pattern: str | None, seed: int
) -> dict[str, list[str]]:
    if len(shares) != len(SPLITS) or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise LungPairError(
            f"shares are {list(shares)}: expected three positive parts that sum to 1."
        )
    groups: dict[str, list[str]] = {}
    for pair in pairs:
        groups.setdefault(group_of(pair, group_pattern), []).append(pair.stem)
    if len(groups) < len(SPLITS):
        raise LungPairError(
            f"{len(pairs)} image + mask pairs in {len(groups)} groups cannot be split into train, "
            "val and test: give at least 3, or another group_pattern."
        )
    names = list(groups)
    np.random.default_rng(seed).shuffle(names)
    # One group for each split first, so that none is empty; the rest goes where most is missing.
    split: dict[str, list[str]] = {name: [] for name in SPLITS}
    for number, name in enumerate(names):
        missing = [
            share * len(pairs) - len(split[key]) for key, share in zip(SPLITS, shares, strict=True)
        ]
        chosen = SPLITS[number] if number < len(SPLITS) else SPLITS[int(np.argmax(missing))]
        split[chosen].extend(groups[name])
    return {name: sorted(members) for name, members in split.items()}


def _split_as_given(pairs: list[MaskPair]) -> dict[str, list[str]]:
    lacking = [pair.stem for pair in pairs if pair.split not in SPLITS]
    if lacking:
        raise LungPairError(
            f"{len(lacking)} of {len(pairs)} pairs come without a split, first {lacking[0]}: "
            "choose data.split shares."
        )
    return {name: [pair.stem for pair in pairs if pair.split == name] for name in SPLITS}


def _test_on_the_rest(
    split: dict[str, list[str]], pairs: list[MaskPair], group_pattern: str | None
) -> None:
    """Adds the pairs of other origins to the test split, but none of a patient learned from."""
    place = {stem: name for name in ("test", "val", "train") for stem in split[name]}
    learned = {
        group_of(pair, group_pattern) for pair in pairs if place.get(pair.stem) in ("train", "val")
    }
    rest = [pair for pair in pairs if pair.stem not in place]
    known = [pair.stem for pair in rest if group_of(pair, group_pattern) in learned]
    if known:
        announce(
            f"{len(known)} pairs of other origins left out, because the patient is in train or "
            f"val: {', '.join(known)}"
        )
    split["test"].extend(pair.stem for pair in rest if pair.stem not in set(known))


def _mask_files(pair: MaskPair) -> list[Path]:
    return sorted({path for some in pair.masks.values() for path in some})


def _prepare_pair(
    pair: MaskPair, size_px: int, structures: Structures, predicted: Set[Path]
) -> _Prepared | str:
    """Returns a pair at the network's size, or the sentence that says why not."""
    files = _mask_files(pair)
    if ours := [str(path) for path in files if path in predicted]:
        return (
            f"{', '.join(ours)}: predicted by `lungs predict`, not drawn by a person. Copy masks "
            "that a person has corrected to another folder."
        )
    try:
        stored = read_levels(pair.image)
        masks = [read_structure(pair, name) for name in classes_of(structures)[1:]]
        in_alpha = tuple(path for path in files if is_alpha_mask(path))
    except RadiographError as fault:
        return str(fault)
    for mask in masks:
        # SCR's masks are half as large as JSRT's radiographs; only the shape must agree.
        ratio = (mask.shape[0] / mask.shape[1]) / np.divide(*stored.levels.shape)
        if abs(ratio - 1) > 0.01:
            return (
                f"{pair.image}: {stored.levels.shape[1]} x {stored.levels.shape[0]} pixels, "
                f"but its mask has {mask.shape[1]} x {mask.shape[0]} and another aspect."
            )
    radiograph = prepare(stored.levels, stored.polarity, size_px)
    target = prepare_target(masks, size_px)
    judged = quality(np.isin(target, lung_channels(classes_of(structures))))
    if reason := why_no_lungs(judged):
        return f"{', '.join(map(str, files))}: {NO_LUNGS} {reason}."
    return _Prepared(radiograph.astype(np.float16), target, judged.flag, in_alpha)
