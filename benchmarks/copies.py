"""How long the search for copies takes among many hashes, apart from decoding the files.

Each made-up hash is patched together from those of two phantoms, along a random wavy line, so that
all are alike as chests are; every twentieth is the mirror image of another one.
"""

import argparse
import time

import numpy as np

from flannel.data.copies import near_duplicates
from flannel.data.diagnosis import FLANNEL
from flannel.data.duplicates import (
    DETAIL_SIDE,
    HASH_SIDE,
    WAVES,
    details,
    perceptual_hash,
    unpacked,
)
from flannel.data.phantom import draw_phantom
from flannel.data.registration import blurred

PHANTOMS = 300
AT_ONCE = 1000


def made_up(count: int) -> list[bytes]:
    """Returns so many hashes, all alike as those of chests are."""
    generator = np.random.default_rng(0)
    phantoms = (
        draw_phantom(FLANNEL[seed % 4], np.random.default_rng(seed), (160, 192))
        for seed in range(PHANTOMS)
    )
    known = [perceptual_hash(phantom.image) for phantom in phantoms]
    parts = (unpacked(known), details(known) > 0, details(known) < 0)
    hashes: list[bytes] = []
    while len(hashes) < count:
        noise = generator.normal(size=(AT_ONCE, HASH_SIDE, HASH_SIDE)).astype(np.float32)
        wavy = blurred(noise, 6.0) > 0
        place = np.arange(DETAIL_SIDE) * HASH_SIDE // DETAIL_SIDE
        lines = (wavy, wavy[:, place][:, :, place], wavy[:, place][:, :, place])
        first, second = generator.integers(0, PHANTOMS, (2, AT_ONCE))
        mixed = [
            np.where(line, part[first], part[second])
            for line, part in zip(lines, parts, strict=True)
        ]
        for part in mixed:
            part[::20] = part[1::20, :, ::-1]
        mixed.append(generator.integers(0, 2, (AT_ONCE, WAVES, WAVES)).astype(bool))
        hashes += [
            b"".join(np.packbits(part[row]).tobytes() for part in mixed) for row in range(AT_ONCE)
        ]
    return hashes[:count]


def main() -> None:
    """Times the search and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    arguments = parser.parse_args()
    hashes = made_up(arguments.count)
    wall, processor = time.perf_counter(), time.process_time()
    pairs = near_duplicates(hashes)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    place = {row: row + 1 for row in range(0, arguments.count, 20)}
    right = sum(place.get(i) == j for i, j, _ in pairs)
    print(
        f"{arguments.count:,} hashes: {wall:.1f} s, processor time {processor:.1f} s; of "
        f"{len(place):,} mirrored copies {right:,} found, {len(pairs) - right:,} other pairs"
    )


if __name__ == "__main__":
    main()
