"""How the segmenter's runs are placed, and what they leave on disk."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from jsonargparse import Namespace
from lightning.pytorch import Callback
from lightning.pytorch.cli import LightningArgumentParser

from flannel.data.sources import find_pairs
from flannel.files import digest_of, sha256_of, whole_file, write_json
from flannel.runs.checkpoints import read_hashed
from flannel.runs.cli import RunPlace, StudyCLI, run_stage
from flannel.runs.run import Run
from segmentation.training.data import LungDataModule, pairs_folder
from segmentation.training.evaluation import measure, summary
from segmentation.training.measures import interval_words
from segmentation.training.model_card import write_model_card
from segmentation.training.overlays import ValidationOverlays
from segmentation.training.task import LungSegmenter


class LungsCLI(StudyCLI):
    """StudyCLI that gives the model the structures of the data, and draws overlays."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the study's arguments, and the link from the data's structures to the model."""
        super().add_arguments_to_parser(parser)
        parser.link_arguments("data.structures", "model.structures")

    def stage_callbacks(self) -> list[Callback]:
        """Returns the picture of validation radiographs."""
        return [ValidationOverlays(self.run.folder, self.selecting, self.logs_images)]


def main(arguments: list[str]) -> int:
    """Runs `lungs fit | validate | test`."""
    return run_stage(
        lambda: LungsCLI(
            LungSegmenter,
            LungDataModule,
            place=place_of,
            selection="val/jaccard",
            conclude=write_measures,
            args=arguments,
        )
    )


def place_of(arguments: Namespace, study: Path) -> RunPlace:
    """Finds a segmentation run's folder, and hashes the pairs and weights that it depends on.

    Raises:
        CheckpointError: If the weights that the training begins from cannot be read.
    """
    pairs = find_pairs(pairs_folder(study, arguments.data.folder))
    files = [path for pair in pairs for path in pair.files]
    with ThreadPoolExecutor() as threads:
        hashes = list(threads.map(sha256_of, files))
    named = [[path.name, digest] for path, digest in zip(files, hashes, strict=True)]
    begin_from = arguments.model.begin_from
    begun = {} if begin_from is None else {"begin_from": read_hashed(begin_from)[1]}
    known = [[pair.stem, pair.origin, pair.patient, pair.split, pair.convention] for pair in pairs]
    return RunPlace(
        folder=f"segmentation/{arguments.name}",
        labels={"stage": "segmentation", "learner": arguments.name},
        inputs={"pairs": digest_of([named, known]), **begun},
    )


def write_measures(cli: StudyCLI, run: Run) -> None:
    """Measures every validation and test pair with the selected weights.

    Leaves `measures.csv` with a row per radiograph, `metrics.json` with the means and a
    `MODEL_CARD.md`. Under `split: paper` the validation pairs are test pairs too.
    """
    data, model = cli.datamodule, cli.model
    if not isinstance(data, LungDataModule) or not isinstance(model, LungSegmenter):
        raise TypeError("a segmentation run trains a LungSegmenter on a LungDataModule")
    if not cli.trainer.is_global_zero:
        return
    tables = {split: measure(model, data, split, cli.trainer) for split in ("val", "test")}
    with whole_file(run.folder / "measures.csv") as beside:
        pd.concat(tables.values()).to_csv(beside, index=False, float_format="%.6g")
    measures: dict[str, float | int | str | None] = {
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "size_px": data.size_px,
        "structures": data.structures,
        "convention": data.convention,
        "train/radiographs": len(data.datasets["train"]),
    }
    for split, table in tables.items():
        measures |= summary(table, split)
    origins = Counter(tables["test"]["origin"])
    if len(origins) > 1:
        for origin, rows in tables["test"].groupby("origin"):
            measures |= summary(rows, f"test/{origin}")
    write_json(measures, run.folder / "metrics.json")
    write_model_card(
        run.folder,
        data,
        model,
        measures,
        cli.trainer.current_epoch,
        precision=str(cli.trainer.precision),
        version=run.parts["code"],
    )
    print(
        f"test Jaccard index {interval_words(measures, 'test/jaccard')}, see {run.folder}",
        flush=True,
    )
