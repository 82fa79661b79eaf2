"""Near duplicates among the files of a manifest join `group`s; each picture is hashed once."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from flannel.data.duplicates import HASH_BITS, joined_groups, near_duplicates, perceptual_hash
from flannel.data.greyscale import to_eight_bits
from flannel.data.parallel import in_threads
from flannel.data.radiograph import read_levels
from flannel.data.remembered import recall, remember

RULES = "hashes 1"
LEAST_BITS = HASH_BITS // 4
"""A picture with contrast has about half of the bits; a flat one is like every other flat one."""


def joined_near_duplicates(table: pd.DataFrame, cache: Path | None = None) -> list[str]:
    """Gives the groups of a manifest with those joined that share a near duplicate.

    Every picture is decoded, which takes as long as making the store. A file that cannot be
    decoded joins nothing: the store tells of it.

    Args:
        table: A manifest, by path, sha256 and group.
        cache: Remembers the hashes by the files' content.
    """
    hashes = _hashes(table, cache)
    known = [value.bit_count() >= LEAST_BITS for value in hashes]
    # Equal hashes join like equal files, so that only different ones are compared.
    fingerprints = [
        str(value) if of_use else sha256
        for value, of_use, sha256 in zip(hashes, known, table["sha256"], strict=True)
    ]
    first = {value: row for row, value in enumerate(hashes) if known[row]}
    rows = list(first.values())
    pairs = [(rows[i], rows[j], bits) for i, j, bits in near_duplicates(list(first))]
    return joined_groups(table["group"].tolist(), fingerprints, pairs)


def _hashes(table: pd.DataFrame, cache: Path | None) -> Sequence[int]:
    """Gives the perceptual hash of each file, 0 where it cannot be decoded."""
    known = {} if cache is None else {s: int(h, 16) for s, h in recall(cache, RULES)}
    paths = dict(zip(table["sha256"], table["path"], strict=True))
    fresh = [sha256 for sha256 in paths if sha256 not in known]

    def look(row: int) -> None:
        stored = read_levels(Path(paths[fresh[row]]))
        levels = to_eight_bits(stored.levels, stored.bits, stored.polarity)
        known[fresh[row]] = perceptual_hash(levels)

    in_threads(look, range(len(fresh)), None, "Looking for near duplicates")
    if cache is not None and fresh:
        remember(((s, f"{h:x}") for s, h in sorted(known.items())), cache, RULES)
    return [known.get(sha256, 0) for sha256 in table["sha256"]]
