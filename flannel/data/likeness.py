"""Near duplicates among the files of a manifest join `group`s; each picture is hashed once."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from flannel.data.copies import near_duplicates
from flannel.data.duplicates import (
    HASH_BYTES,
    has_structure,
    joined_groups,
    perceptual_hash,
)
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
    decoded joins nothing: the store tells of it.

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


def remembered_hashes(cache: Path) -> dict[str, bytes]:
    """Returns the perceptual hashes that a study remembers, by the SHA-256 of the files."""
    return {sha256: bytes.fromhex(value) for sha256, value in recall(cache, RULES)}


def hashes_of(table: pd.DataFrame, cache: Path | None = None) -> Sequence[bytes]:
    """Returns the perceptual hash of each file, `FLAT` where it cannot be decoded."""
    known = {} if cache is None else remembered_hashes(cache)
    paths = dict(zip(table["sha256"], table["path"], strict=True))
    fresh = [sha256 for sha256 in paths if sha256 not in known]

    def look(row: int) -> None:
        stored = read_levels(Path(paths[fresh[row]]))
        levels = to_eight_bits(stored.levels, stored.bits, stored.polarity)
        known[fresh[row]] = perceptual_hash(levels)

    in_threads(look, range(len(fresh)), None, "Looking for near duplicates")
    if cache is not None and fresh:
        remember(((s, h.hex()) for s, h in sorted(known.items())), cache, RULES)
    return [known.get(sha256, FLAT) for sha256 in table["sha256"]]
