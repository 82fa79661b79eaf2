"""Masks of a segmenter against those of people, and how well its flags find the bad ones.

python benchmarks/shipped_segmenter.py --pairs PAIRS.csv [--checkpoint best.ckpt]

PAIRS.csv is a table of radiographs with lung masks (docs/mask_sets.md) whose rows have a split;
rows of `val` and `test` are measured, by source and by the table's column `view`, if it has it. The
flags are measured on the validation pairs as they are, and departed from so far that masks fail:
turned, inverted, half covered, and twice as strongly augmented as in training.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning.pytorch import Trainer
from scipy.stats import spearmanr

from segmentation.checkpoint import Segmenter, load_segmenter
from segmentation.inference import class_probabilities, ready_network
from segmentation.masks.cleaning import THRESHOLD, clean_probability
from segmentation.masks.quality import quality
from segmentation.shipped import WEIGHTS
from segmentation.structures import lung_channels
from segmentation.training.augmentation import Augmentation, augment
from segmentation.training.data import LungDataModule
from segmentation.training.evaluation import measure
from segmentation.training.measures import MEASURES, jaccard, mean_interval
from segmentation.training.task import LungSegmenter

BAD = 0.8
"""Jaccard index below which a mask is bad."""
HARD = Augmentation(
    flip=True, rotation_degrees=45, zoom=0.6, stretch=0.4, shift=0.25, gamma=1.5, contrast=1.0,
    grey_outside=True, shading=0.5, blur_px=4, noise=40, marks=6,
)  # fmt: skip
Pair = tuple[torch.Tensor, torch.Tensor]


def _half_covered(radiograph: torch.Tensor, target: torch.Tensor) -> Pair:
    covered = radiograph.clone()
    covered[..., : radiograph.shape[-1] // 2] = 255.0
    return covered, target


def _departures(seed: int) -> dict[str, Callable[[torch.Tensor, torch.Tensor], Pair]]:
    generator = np.random.default_rng(seed)
    return {
        "as it is": lambda radiograph, target: (radiograph, target),
        "augmented hard": lambda radiograph, target: augment(
            radiograph, target, HARD, "lungs", generator
        ),
        "upside down": lambda radiograph, target: (radiograph.flip(-2), target.flip(-2)),
        "on its side": lambda radiograph, target: (
            radiograph.transpose(-1, -2), target.transpose(-1, -2),
        ),
        "inverted": lambda radiograph, target: (255 - radiograph, target),
        "half covered": _half_covered,
    }  # fmt: skip


def measured(segmenter: Segmenter, data: LungDataModule, views: dict[str, str]) -> pd.DataFrame:
    """Returns a row for each part of the pairs: means, and the Jaccard index's interval."""
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    model = LungSegmenter(segmenter.network)
    table = pd.concat([measure(model, data, split, trainer) for split in ("val", "test")])
    table["view"] = table["stem"].map(views).fillna("")
    parts = [
        (", ".join(key), rows)
        for columns in (["split"], ["split", "origin"], ["split", "origin", "view"])
        for key, rows in table.groupby(columns)
        if all(key)
    ]
    found = []
    for name, rows in parts:
        _, low, high = mean_interval(rows["jaccard"].to_numpy(), rows["group"].tolist())
        means = {measure_name: rows[measure_name].mean() for measure_name in MEASURES}
        found.append(
            {
                "pairs": name, "count": len(rows), "patients": rows["group"].nunique(),
                **means, "low": low, "high": high, "worst": rows["jaccard"].min(),
                "below .8": int((rows["jaccard"] < BAD).sum()),
            }
        )  # fmt: skip
    worst = table.sort_values("jaccard").head(10)
    print(worst[["stem", "split", "origin", "jaccard", "hausdorff95"]].to_string(index=False))
    return pd.DataFrame(found)


def flagged(segmenter: Segmenter, data: LungDataModule) -> pd.DataFrame:
    """Returns a row for each validation pair and departure: Jaccard index, confidence and flag."""
    network = ready_network(segmenter.network, "32-true", torch.device("cpu"))
    rows = []
    dataset = data.datasets["val"]
    for place in dataset.positions:
        radiograph = dataset.prepared.radiographs[place].float()
        target = dataset.prepared.targets[place].long()
        departed = {name: depart(radiograph, target) for name, depart in _departures(place).items()}
        batch = torch.stack([picture for picture, _ in departed.values()])
        probabilities = class_probabilities(network, batch, segmenter.classes)
        lungs = probabilities[:, lung_channels(segmenter.classes)].sum(dim=1).numpy()
        for (name, (_, truth)), probability in zip(departed.items(), lungs, strict=True):
            kept = clean_probability(probability)
            found, inside = probability > THRESHOLD, kept > THRESHOLD
            judged = quality(
                inside,
                mean_confidence=float(probability[inside].mean()) if inside.any() else None,
                removed_share=float((found & ~inside).sum() / max(1, found.sum())),
                low_confidence=segmenter.low_confidence,
            )
            rows.append(
                {
                    "radiograph": name,
                    "jaccard": jaccard(inside, truth.numpy() == 1),
                    "confidence": judged.mean_confidence or 0.0,
                    "flag": judged.flag,
                }
            )
    return pd.DataFrame(rows)


def summed(rows: pd.DataFrame) -> pd.DataFrame:
    """Counts bad and good masks, and those of them that are flagged, by departure."""
    parts = {"all": rows, **dict(iter(rows.groupby("radiograph", sort=False)))}
    found = []
    for name, part in parts.items():
        bad, flag = part["jaccard"] < BAD, part["flag"] != ""
        found.append(
            {
                "radiographs": name, "mean": part["jaccard"].mean(),
                "rank correlation": spearmanr(part["confidence"], part["jaccard"]).statistic,
                "bad": bad.sum(), "flagged": (bad & flag).sum(),
                "good": (~bad).sum(), "flagged by mistake": (~bad & flag).sum(),
            }
        )  # fmt: skip
    return pd.DataFrame(found)


def thresholds(rows: pd.DataFrame) -> pd.DataFrame:
    """Counts what each threshold of confidence alone would flag."""
    bad = rows["jaccard"] < BAD
    return pd.DataFrame(
        {
            "confidence below": limit,
            "share of bad": ((rows["confidence"] < limit) & bad).sum() / max(1, bad.sum()),
            "share of good": ((rows["confidence"] < limit) & ~bad).sum() / max(1, (~bad).sum()),
        }
        for limit in np.arange(0.80, 0.985, 0.01).round(2)
    )


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    segmenter = load_segmenter(arguments.checkpoint)
    data = LungDataModule(
        study=Path(), folder=arguments.pairs, size_px=segmenter.size_px, split="given"
    )
    data.setup("test")
    listed = pd.read_csv(arguments.pairs, dtype=str, keep_default_na=False)
    views = (
        dict(zip(listed["image"].map(lambda name: Path(name).stem), listed["view"], strict=True))
        if "view" in listed
        else {}
    )
    print(measured(segmenter, data, views).to_string(index=False, float_format="%.4f"))
    rows = flagged(segmenter, data)
    print(summed(rows).to_string(index=False, float_format="%.4f"))
    print(thresholds(rows).to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    main()
