"""How the segmenter's runs are placed, and what they leave on disk."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import torch
from jsonargparse import Namespace

from flannel.cli import RunPlace, StudyCLI, run_stage
from flannel.data.files import sha256_of, whole_file
from flannel.data.sources import find_pairs
from flannel.runs import Run, digest_of, write_json
from segmentation.data import LungDataModule, pairs_folder
from segmentation.task import LungSegmenter, jaccard


def main(arguments: list[str]) -> int:
    """Runs `lungs fit | validate | test`."""
    return run_stage(
        lambda: StudyCLI(
            LungSegmenter,
            LungDataModule,
            place=place_of,
            selection="val/jaccard",
            conclude=write_measures,
            args=arguments,
        )
    )


def place_of(arguments: Namespace, study: Path) -> RunPlace:
    """Finds a segmentation run's folder, and hashes the pairs that its result hangs on."""
    pairs = find_pairs(pairs_folder(study, arguments.data.folder))
    files = [path for pair in pairs for path in (pair.image, *pair.masks)]
    with ThreadPoolExecutor() as threads:
        hashes = list(threads.map(sha256_of, files))
    named = [[path.name, digest] for path, digest in zip(files, hashes, strict=True)]
    return RunPlace(
        folder=f"segmentation/{arguments.name}",
        labels={"stage": "segmentation", "learner": arguments.name},
        inputs={"pairs": digest_of(named)},
    )


def write_measures(cli: StudyCLI, run: Run) -> None:
    """Measures every validation and test pair with the selected weights.

    Leaves `jaccard.csv` with a row per radiograph and `metrics.json` with the means. Under
    `split: paper` the test pairs are the validation pairs, and the figures say so by being equal.
    """
    data, model = cli.datamodule, cli.model
    if not isinstance(data, LungDataModule) or not isinstance(model, LungSegmenter):
        raise TypeError("a segmentation run trains a LungSegmenter on a LungDataModule")
    if not cli.trainer.is_global_zero:
        return
    device = cli.trainer.strategy.root_device
    model.to(device).eval()
    rows: list[dict[str, str | float]] = []
    for split in ("val", "test"):
        values: list[float] = []
        with torch.no_grad(), cli.trainer.precision_plugin.forward_context():
            for batch in data.whole_loader(split):
                predicted = model(batch.radiographs.to(device)).argmax(dim=1) == 1
                values += jaccard(predicted.cpu(), batch.target == 1).tolist()
        stems = data.datasets[split].stems
        rows += [
            {"stem": stem, "split": split, "jaccard": value}
            for stem, value in zip(stems, values, strict=True)
        ]
    table = pd.DataFrame(rows)
    with whole_file(run.folder / "jaccard.csv") as beside:
        table.to_csv(beside, index=False, float_format="%.6g")
    means = table.groupby("split")["jaccard"].agg(["mean", "min", "count"])
    measures: dict[str, float | int | str] = {
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "size_px": data.size_px,
    }
    for split in ("val", "test"):
        measures[f"{split}/jaccard"] = float(means.loc[split, "mean"])
        measures[f"{split}/jaccard_worst"] = float(means.loc[split, "min"])
        measures[f"{split}/radiographs"] = int(means.loc[split, "count"])
    write_json(measures, run.folder / "metrics.json")
