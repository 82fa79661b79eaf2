"""What building the store costs beside decoding, and what reading one patch costs.

python benchmarks/store.py --count 48 --side_px 1500

Phantom radiographs, PNG and JPEG in turn, are written to a temporary folder. In each round the base
(the same decoder, then `resize`, over as many threads) and `build_store` work through them, taking
turns. Then 224 px patches are read from the store, each from a radiograph and at a lung pixel drawn
at random.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from measuring import machine
from PIL import Image

from flannel.data.diagnosis import FLANNEL
from flannel.data.greyscale import Box, resize
from flannel.data.mask import write_mask
from flannel.data.phantom import draw_phantom, varied_size
from flannel.data.radiograph import read_levels
from flannel.data.store import Store, build_store, fill_lung_masks
from flannel.files import sha256_of
from flannel.learners.views import PatchView, ViewSampling

DRAWN = 4
"""Different phantoms; more files are copies of them."""
STORE_PX = 1024
PATCH_PX = 224


def write_radiographs(folder: Path, count: int, side_px: int) -> pd.DataFrame:
    """Writes phantoms and their lung masks, and gives their manifest."""
    rows = []
    for number in range(min(count, DRAWN)):
        generator = np.random.default_rng([1, number])
        size = varied_size(generator, side_px)
        phantom = draw_phantom(FLANNEL[number % len(FLANNEL)], generator, size)
        for copy in range(number, count, DRAWN):
            name = f"phantom-{copy:04d}"
            path = folder / f"{name}.{'png' if copy // DRAWN % 2 == 0 else 'jpg'}"
            Image.fromarray(phantom.image).save(path, quality=90)
            write_mask(phantom.left_lung | phantom.right_lung, folder / "masks" / f"{name}.png")
            rows.append((name, str(path), sha256_of(path), size[1], size[0]))
    return pd.DataFrame(rows, columns=["image_id", "path", "sha256", "width", "height"])


def seconds(work: Callable[[], object]) -> float:
    """Measures how long something takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def decode_all(manifest: pd.DataFrame, workers: int) -> None:
    """Decodes and resizes every radiograph, and keeps nothing."""

    def decode(path: str) -> None:
        resize(read_levels(Path(path)).levels, STORE_PX, STORE_PX)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(decode, manifest["path"]))


def compare_building(manifest: pd.DataFrame, folder: Path, workers: int, rounds: int) -> None:
    """Prints how long the base and the store take, round by round."""
    ratios = []
    for _ in range(rounds):
        shutil.rmtree(folder, ignore_errors=True)
        base = seconds(lambda: decode_all(manifest, workers))
        store = seconds(lambda: build_store(manifest, folder, STORE_PX, workers=workers))
        ratios.append(store / base)
        each = [1000 * taken / len(manifest) for taken in (base, store)]
        print(
            f"decode + resize {each[0]:.1f} ms, store {each[1]:.1f} ms an image: {ratios[-1]:.2f} x"
        )
    print(f"store / decode + resize: {statistics.median(ratios):.2f} x (median of {rounds})")


def compare_reading(folder: Path, repeats: int) -> None:
    """Prints how long a patch takes, by the store's own way and through the whole radiograph."""
    store, generator = Store(folder), np.random.default_rng(1)

    def patch(image_id: str) -> None:
        number = generator.integers(store.lung_area(image_id), size=1)
        centre = store.lung_pixels(image_id, number)[0]
        top, left = np.clip(centre - PATCH_PX // 2, 0, STORE_PX - PATCH_PX).tolist()
        store.part(image_id, Box(top, left, PATCH_PX, PATCH_PX), masked=True)

    view = PatchView((PATCH_PX,), PATCH_PX, "uniform", "inside", masked=True)
    draw = ViewSampling(torch.Generator().manual_seed(1), training=True, patches=1)

    chosen = generator.choice(store.image_ids, repeats).tolist()
    alone = [1000 * seconds(lambda name=name: patch(name)) for name in chosen]
    viewed = [1000 * seconds(lambda name=name: view.views(store, name, draw)) for name in chosen]
    for what, taken in (("of the store alone", alone), ("as a learner's view", viewed)):
        print(f"a {PATCH_PX} px patch, {what}: {statistics.median(taken):.3f} ms (median)")


def main() -> None:
    parser = argparse.ArgumentParser(description="How near the store is to its decoder.")
    parser.add_argument("--count", type=int, default=48, help="radiographs")
    parser.add_argument("--side_px", type=int, default=1500, help="their side, give or take 12 %%")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--patches", type=int, default=3000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        manifest = write_radiographs(folder, arguments.count, arguments.side_px)
        megabytes = sum(Path(path).stat().st_size for path in manifest["path"]) / 1e6
        print(machine())
        print(f"{len(manifest)} radiographs of about {arguments.side_px} px, {megabytes:.0f} MB")
        compare_building(manifest, folder / "store", arguments.workers, arguments.rounds)
        fill_lung_masks(folder / "store", folder / "masks", manifest)
        compare_reading(folder / "store", arguments.patches)


if __name__ == "__main__":
    main()
