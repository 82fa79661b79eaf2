"""How long the search for copies takes among many hashes, apart from decoding the files.

Each made-up hash is a random mixture of 32 of those given, thresholded again, so that all vary
as the hashes of different chests do; every twentieth is the mirror image of another one.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from flannel.data.copies import near_duplicates
from flannel.data.diagnosis import FLANNEL
from flannel.data.duplicates import WAVES, details, perceptual_hash, unpacked
from flannel.data.likeness import FLAT, hashes_of
from flannel.data.phantom import draw_phantom
from flannel.data.walk import gather
from flannel.files import sha256_of

PHANTOMS = 300
MIXED, AT_ONCE = 32, 1000


def known_hashes(folder: Path | None) -> list[bytes]:
    """Returns the different hashes of a folder's radiographs, or of phantoms."""
    if folder is None:
        generators = (np.random.default_rng(seed) for seed in range(PHANTOMS))
        phantoms = (
            draw_phantom(FLANNEL[seed % 4], generator, (160, 192)).image
            for seed, generator in enumerate(generators)
        )
        return [perceptual_hash(phantom) for phantom in phantoms]
    paths = gather(folder, folder / "none")[0].images
    table = pd.DataFrame({"path": paths, "sha256": [sha256_of(path) for path in paths]})
    return [value for value in dict.fromkeys(hashes_of(table)) if value != FLAT]


def made_up(count: int, known: Sequence[bytes]) -> list[bytes]:
    """Returns so many hashes that differ from each other as those known do."""
    generator = np.random.default_rng(0)
    parts = [unpacked(known).astype(np.float32), details(known)]
    means = [part.mean(axis=0) for part in parts]
    flat = [(part - mean).reshape(len(known), -1) for part, mean in zip(parts, means, strict=True)]
    hashes: list[bytes] = []
    while len(hashes) < count:
        weights = generator.normal(size=(AT_ONCE, len(known))).astype(np.float32)
        order = generator.random(weights.shape).argsort(axis=1)
        weights[order >= MIXED] = 0
        weights /= np.linalg.norm(weights, axis=1, keepdims=True)
        structure, detail = (
            mean + (weights @ part).reshape(AT_ONCE, *mean.shape)
            for part, mean in zip(flat, means, strict=True)
        )
        mixed = [structure > 0.5, detail > 0.5, detail < -0.5]
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
    parser.add_argument("--radiographs", type=Path, help="a folder, instead of phantoms")
    arguments = parser.parse_args()
    known = known_hashes(arguments.radiographs)
    hashes = made_up(arguments.count, known)
    wall, processor = time.perf_counter(), time.process_time()
    pairs = near_duplicates(hashes)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    place = {row: row + 1 for row in range(0, arguments.count, 20)}
    right = sum(place.get(i) == j for i, j, _ in pairs)
    print(
        f"{arguments.count:,} hashes like {len(known):,}: {wall:.1f} s, processor time "
        f"{processor:.1f} s; of {len(place):,} mirrored copies {right:,} found, "
        f"{len(pairs) - right:,} other pairs"
    )


if __name__ == "__main__":
    main()
