"""Near duplicates among the files of a manifest join `group`s; each picture is hashed once."""

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from flannel.data.copies import near_duplicates
from flannel.data.duplicates import HASH_BYTES, has_structure, perceptual_hash
from flannel.data.greyscale import to_eight_bits
from flannel.data.parallel import in_threads
from flannel.data.radiograph import read_levels
from flannel.data.remembered import recall, remember

RULES = "hashes 2"
FLAT = bytes(HASH_BYTES)
"""The hash of a picture in which there is nothing: near to none."""


def joined_near_duplicates(table: pd.DataFrame, cache: Path | None = None) -> list[str]:
    """Returns the groups of a manifest with those joined that share a near duplicate.

    Every picture is decoded, which takes as long as making the store. A file that cannot be
    decoded joins nothing: the store reports it.

    Args:
        table: A manifest, by path, sha256 and group.
        cache: Remembers the hashes by the files' content.
    """
    hashes = hashes_of(table, cache)
    # Equal hashes join like equal files, so that only different ones are compared.
    fingerprints = [
        value.hex() if has_structure(value) else sha256
        for value, sha256 in zip(hashes, table["sha256"], strict=True)
    ]
    rows = list({value: row for row, value in enumerate(hashes)}.values())
    pairs = [
        (rows[i], rows[j], likeness)
        for i, j, likeness in near_duplicates([hashes[row] for row in rows])
    ]
    return joined_groups(table["group"].tolist(), fingerprints, pairs)


def hashes_of(table: pd.DataFrame, cache: Path | None = None) -> Sequence[bytes]:
    """Returns the perceptual hash of each file, `FLAT` where it cannot be decoded.

    Args:
        table: A manifest, by path and sha256.
        cache: Remembers the hashes by the files' content, where its folder can be written.
    """
    known = (
        {}
        if cache is None
        else {sha256: bytes.fromhex(value) for sha256, value in recall(cache, RULES)}
    )
    paths = dict(zip(table["sha256"], table["path"], strict=True))
    fresh = [sha256 for sha256 in paths if sha256 not in known]

    def look(row: int) -> None:
        stored = read_levels(Path(paths[fresh[row]]))
        levels = to_eight_bits(stored.levels, stored.bits, stored.polarity)
        known[fresh[row]] = perceptual_hash(levels)

    before = len(known)
    in_threads(look, range(len(fresh)), None, "Looking for near duplicates")
    if cache is not None and len(known) > before and os.access(cache.parent, os.W_OK):
        remember(((s, h.hex()) for s, h in sorted(known.items())), cache, RULES)
    return [known.get(sha256, FLAT) for sha256 in table["sha256"]]


def joined_groups(
    groups: Sequence[str],
    fingerprints: Sequence[str],
    near: Sequence[tuple[int, int, float]] = (),
) -> list[str]:
    """Joins the patient groups that share an identical file or a near duplicate.

    Args:
        groups: The patient group of each image.
        fingerprints: The SHA-256 of each image's file.
        near: Pairs of positions with their likeness, as `near_duplicates` returns them.

    Returns:
        One name for each image: the first, in alphabetical order, of all groups that are linked
        through identical files or near duplicates.
    """
    parent = {group: group for group in groups}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    def join(name: str, other: str) -> None:
        first, second = sorted((root(name), root(other)))
        parent[second] = first

    owner: dict[str, str] = {}
    for group, fingerprint in zip(groups, fingerprints, strict=True):
        join(owner.setdefault(fingerprint, group), group)
    for i, j, _ in near:
        join(groups[i], groups[j])
    return [root(group) for group in groups]
