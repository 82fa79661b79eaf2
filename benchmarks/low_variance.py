"""How few patches do with centres that keep apart: coverage, spread and error of the vote by K.

python benchmarks/low_variance.py --masks ../shared/data/training/seg_open_00.tar --match masks/

On each lung mask stands a field of votes: what a patch says, as a function of its centre, on a
lattice of centres. Its mean over the lungs is the truth that K patches estimate. Without a run the
field is made up: each diagnosis has noise of its own in every place, one diagnosis a little more,
and a patch says whichever has the most in its window, so that votes are as alike as their windows
overlap. With --run and --study it is what a trained base learner says of real patches.
"""

import argparse
import importlib
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import torch
import yaml
from measuring import machine
from PIL import Image
from scipy.ndimage import uniform_filter
from torch import Tensor

from flannel.data.diagnosis import FLANNEL
from patching.coverage import area_weights, covered
from patching.sampling import Strategy, crop_patches, sample_centres
from patching.vote import vote

WINDOW_SHARE = 224 / 1024
"""Side of a patch, of the radiograph's."""

KS = (30, 40, 45, 100)
STRATEGIES = [name for name in get_args(Strategy) if name != "independent"]
"""All whose centres lie in the lungs, where it is known what patches say."""
REFERENCE = ("uniform", "equal", 100)
LEAN = 0.7
"""How much more one diagnosis has in a made-up field, in deviations of the noise in a window."""


@dataclass(frozen=True)
class Case:
    """A lung mask and what patches say on a lattice of centres: logits (cells, cells, classes)."""

    mask: Tensor
    logits: Tensor
    window_px: int

    def logits_at(self, centres: Tensor) -> Tensor:
        """Returns the logits of patches (k, classes), each as the lattice's nearest."""
        step = len(self.mask) // len(self.logits)
        return self.logits[centres[:, 0] // step, centres[:, 1] // step]

    def truth(self) -> Tensor:
        """Returns the mean vote over all lung pixels, (classes)."""
        return vote(self.logits_at(self.mask.nonzero())[None])[0]


def read_masks(place: Path | None, match: str, count: int) -> Iterator[np.ndarray]:
    """Yields lung masks, evenly taken from a folder or a tar of pictures; phantoms' without one."""
    if place is None:
        from flannel.data.phantom import draw_phantom, varied_size

        for number in range(count):
            generator = np.random.default_rng([1, number])
            drawn = draw_phantom(
                FLANNEL[number % len(FLANNEL)], generator, varied_size(generator, 512)
            )
            yield drawn.left_lung | drawn.right_lung
    elif place.is_dir():
        files = sorted(str(path) for path in place.rglob("*.png") if match in path.as_posix())
        for path in evenly(files, count):
            yield np.array(Image.open(path).convert("L")) > 127
    else:
        with tarfile.open(place) as tar:
            files = [name for name in sorted(tar.getnames()) if match in name and ".png" in name]
            for name in evenly(files, count):
                member = tar.extractfile(name)
                assert member is not None
                yield np.array(Image.open(BytesIO(member.read())).convert("L")) > 127


def evenly(names: list[str], count: int) -> list[str]:
    """Takes so many names, as far apart as can be."""
    places = np.linspace(0, len(names) - 1, min(count, len(names))).astype(int)
    return [names[place] for place in places]


def made_up_cases(masks: Iterator[np.ndarray], side_px: int, step_px: int) -> Iterator[Case]:
    """Yields each mask, stretched to a square, with a made-up field of votes."""
    window_px, cells = round(WINDOW_SHARE * side_px), side_px // step_px
    for number, mask in enumerate(masks):
        generator = np.random.default_rng([2, number])
        square = Image.fromarray(mask).resize((side_px, side_px), Image.Resampling.NEAREST)
        noise = generator.standard_normal((len(FLANNEL), cells, cells))
        evidence = uniform_filter(noise, (0, window_px // step_px, window_px // step_px))
        evidence /= evidence.std(axis=(1, 2), keepdims=True)
        evidence[number % len(FLANNEL)] += LEAN
        logits = torch.from_numpy(evidence).permute(1, 2, 0).contiguous()
        yield Case(torch.from_numpy(np.array(square)), logits, window_px)


def trained_cases(run: Path, study: Path, count: int, step_px: int) -> Iterator[Case]:
    """Yields test radiographs of a study with what a run's learner says of their patches."""
    # Imported here, because made-up fields need no Lightning.
    from torchvision.transforms.v2 import functional as pictures

    from flannel.data.greyscale import Box
    from flannel.data.store import Store
    from flannel.learners.datamodule import RadiographDataModule
    from flannel.learners.views import PatchView, normalise
    from flannel.study.predictions import load_predictions

    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    data = RadiographDataModule(**{**config["data"], "study": study})
    view, store, network = (
        data.view_options.view,
        Store(study / "store"),
        trained_network(run, config),
    )
    if not isinstance(view, PatchView):
        raise SystemExit(f"{run} is no run of the patched arm.")
    table = load_predictions(run / "predictions.csv", FLANNEL)
    window_px, side_px = view.windows_px[0], store.size_px
    for image_id in evenly(list(table["image_id"][table["split"] == "test"]), count):
        mask = torch.from_numpy(store.lung_mask(image_id))
        cells = mask.view(side_px // step_px, step_px, side_px // step_px, step_px)
        inside = cells.any(dim=3).any(dim=1).nonzero()
        whole = Box(0, 0, side_px, side_px)
        levels = store.part(image_id, whole, view.masked, view.greyscale == "equalised")
        centres = inside * step_px + step_px // 2
        patches = crop_patches(torch.from_numpy(levels)[None], centres, window_px, view.border)
        if view.size_px != window_px:
            patches = pictures.resize(patches, [view.size_px, view.size_px], antialias=True)
        logits = torch.zeros(*cells.shape[::2], len(FLANNEL))
        with torch.inference_mode():
            parts = [
                network(normalise(few, data.view_options.normalisation))
                for few in patches.split(32)
            ]
        logits[inside[:, 0], inside[:, 1]] = torch.cat(parts).float()
        yield Case(mask, logits, window_px)


def trained_network(run: Path, config: dict[str, dict[str, dict[str, object]]]) -> torch.nn.Module:
    """Builds a run's network as its recipe says, with the weights that the run kept."""
    recipe = config["model"]["network"]
    module, _, name = str(recipe["class_path"]).rpartition(".")
    options = dict(recipe.get("init_args") or {})  # type: ignore[call-overload]
    if "weights" in options:
        options["weights"] = "random"  # they are replaced, so none need be fetched
    network = getattr(importlib.import_module(module), name)(**options)
    state = torch.load(run / "best.ckpt", map_location="cpu", weights_only=True)["state_dict"]
    network.load_state_dict(
        {key.removeprefix("network."): value for key, value in state.items() if "network." in key}
    )
    return network.eval()


def measure(case: Case, repeats: int, seed: int) -> Iterator[dict[str, object]]:
    """Yields what K patches of every strategy see and say, draw by draw, in mean squares."""
    truth = case.truth()
    for strategy in STRATEGIES:
        for k in KS:
            generator = torch.Generator().manual_seed(seed)
            voted: dict[str, list[Tensor]] = {"equal": [], "area": []}
            seen = []
            for _ in range(repeats):
                centres = sample_centres(case.mask, k, generator, strategy)
                logits = case.logits_at(centres)[None]
                voted["equal"].append(vote(logits)[0])
                voted["area"].append(
                    vote(logits, weights=area_weights(case.mask, centres)[None])[0]
                )
                if len(seen) < 5:
                    seen.append(covered(case.mask, centres, case.window_px))
            for weights, votes in voted.items():
                drawn = torch.stack(votes)
                yield {
                    "strategy": strategy,
                    "weights": weights,
                    "k": k,
                    "coverage": np.mean(seen),
                    "spread": float(drawn.var(dim=0).mean()),
                    "error": float(((drawn - truth) ** 2).mean()),
                }


def summary(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Averages over masks: coverage, and spread and error as root mean squares."""
    table = pd.DataFrame(rows).groupby(["strategy", "weights", "k"], sort=False).mean()
    table[["spread", "error"]] **= 0.5
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description="Coverage, spread and error of the vote by K.")
    parser.add_argument("--masks", type=Path, help="folder or tar of lung masks; phantoms without")
    parser.add_argument("--match", default="", help="what a mask's path contains")
    parser.add_argument("--run", type=Path, help="a trained run of the patched arm")
    parser.add_argument("--study", type=Path, help="the study of the run, with its store")
    parser.add_argument("--count", type=int, default=40, help="masks, or radiographs of the run")
    parser.add_argument("--repeats", type=int, default=20, help="draws")
    parser.add_argument("--side_px", type=int, default=1024, help="of made-up fields")
    parser.add_argument("--step_px", type=int, default=8, help="between centres of the lattice")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.run is not None:
        if arguments.study is None or arguments.masks is not None:
            parser.error("--run wants --study, and takes the masks from its store")
        cases = trained_cases(arguments.run, arguments.study, arguments.count, arguments.step_px)
    else:
        masks = read_masks(arguments.masks, arguments.match, arguments.count)
        cases = made_up_cases(masks, arguments.side_px, arguments.step_px)
    print(machine())
    rows: list[dict[str, object]] = []
    for number, case in enumerate(cases):
        rows += measure(case, arguments.repeats, arguments.seed + number)
        print(f"{number + 1} masks", file=sys.stderr)
    table = summary(rows)
    print("| centres | votes | K | coverage | spread | error |")
    print("|---|---|---|---|---|---|")
    for (strategy, weights, k), row in table.iterrows():
        print(
            f"| {strategy} | {weights} | {k} | {row['coverage']:.2%} | {row['spread']:.4f} | "
            f"{row['error']:.4f} |"
        )
    aim = table.loc[REFERENCE]
    reached = table[(table["spread"] <= aim["spread"]) & (table["error"] <= aim["error"])]
    for (strategy, weights), rows_of in reached.groupby(["strategy", "weights"], sort=False):
        fewest = rows_of.index.get_level_values("k").min()
        print(f"uniform, equal, 100 is reached with {strategy}, {weights}, {fewest}")


if __name__ == "__main__":
    main()
