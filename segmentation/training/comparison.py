"""Segmenters of one study beside each other, on the test radiographs that all of them share."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from flannel.files import read_json, whole_file
from flannel.runs.run import FINGERPRINT, is_unfinished
from segmentation.checkpoint import MaskError, load_segmenter
from segmentation.inference import Precision, ready_network
from segmentation.training.measures import MEASURES, interval_words, mean_interval

EVERYWHERE = "all"
TIMED_BATCH = 4
"""Radiographs that a network is timed on at once."""


def compare_segmenters(
    study: Path,
    against: str | None = None,
    rounds: int = 5,
    precision: Precision = "32-true",
) -> pd.DataFrame:
    """Compares the finished segmentation runs of a study.

    Args:
        study: The study's folder.
        against: The run that the others' Jaccard index is compared with, radiograph by
            radiograph; the first by name when None.
        rounds: Timed batches of each network, the networks taking turns; 0 measures no speed.
        precision: Of the timed networks, in the form in which they predict.

    Returns:
        A row for each run and origin of test pairs (and `all` where there are several): means of
        `MEASURES`, the Jaccard index's 95 % interval, its mean difference to `against` with the
        interval, parameters, and images per second on this machine. Intervals are over
        groups of patients.

    Raises:
        MaskError: If there is no finished run, `against` is none of them, or no test radiograph
            is common to all.
    """
    runs = _finished_runs(study)
    if against is None:
        against = runs[0].name
    if against not in [run.name for run in runs]:
        raise MaskError(
            f"against is {against!r}; expected one of {', '.join(run.name for run in runs)}."
        )
    tables = {run.name: _test_rows(run) for run in runs}
    shared = _shared(tables)
    origins = sorted(set(tables[against].loc[shared, "origin"]))
    places = [EVERYWHERE, *origins] if len(origins) > 1 else [EVERYWHERE]
    speeds = _images_per_second(runs, rounds, precision) if rounds else {}
    rows = []
    for place in places:
        for run in runs:
            table, base = tables[run.name].loc[shared], tables[against].loc[shared]
            if place != EVERYWHERE:
                inside = base["origin"] == place
                table, base = table[inside], base[inside]
            rows.append(
                {
                    "run": run.name,
                    "tested_on": place,
                    **_row(table, base if run.name != against else None),
                    "parameters": read_json(run / "metrics.json")["parameters"],
                    "images_per_second": speeds.get(run.name),
                }
            )
    return pd.DataFrame(rows)


def save_comparison(table: pd.DataFrame, folder: Path) -> str:
    """Writes `comparison.csv` and `comparison.md`, and gives the latter's text."""
    with whole_file(folder / "comparison.csv") as beside:
        table.to_csv(beside, index=False, float_format="%.6g")
    shown = pd.DataFrame(
        {
            "run": table["run"],
            "tested on": [
                f"{place} ({count})"
                for place, count in zip(table["tested_on"], table["radiographs"], strict=True)
            ],
            "Jaccard, 256 px": _interval(table, "jaccard"),
            "own size": [f"{value:.4f}" for value in table["jaccard_native"]],
            "Dice": [f"{value:.4f}" for value in table["dice"]],
            "95 % Hausdorff / diagonal": [f"{value:.4f}" for value in table["hausdorff95"]],
            "difference of Jaccard": _interval(table, "difference"),
            "parameters": [f"{value:,}" for value in table["parameters"]],
            "images/s": ["" if pd.isna(v) else f"{v:.1f}" for v in table["images_per_second"]],
        }
    )
    lines = [
        "| " + " | ".join(shown.columns) + " |",
        "|---" * len(shown.columns) + "|",
        *("| " + " | ".join(row) + " |" for row in shown.itertuples(index=False)),
    ]
    text = "\n".join(lines) + "\n"
    with whole_file(folder / "comparison.md") as beside:
        beside.write_text(text, encoding="utf-8")
    return text


def _interval(table: pd.DataFrame, name: str) -> list[str]:
    return [
        "" if pd.isna(row[name]) else interval_words(row, name) for row in table.to_dict("records")
    ]


def _finished_runs(study: Path) -> list[Path]:
    folders = sorted(path.parent for path in (study / "segmentation").glob(f"*/{FINGERPRINT}"))
    finished = [run for run in folders if not is_unfinished(run)]
    if not finished:
        raise MaskError(
            f"{study / 'segmentation'} holds no finished run: train one "
            "(make segment MASKS=folder)."
        )
    return finished


def _test_rows(run: Path) -> pd.DataFrame:
    path = run / "measures.csv"
    if not path.is_file():
        raise MaskError(f"{path} is missing: make the run again with --redo true.")
    text = {"stem": str, "origin": str, "group": str, "split": str}
    table = pd.read_csv(path, dtype=text, keep_default_na=False)
    return table[table["split"] == "test"].set_index("stem")


def _shared(tables: dict[str, pd.DataFrame]) -> list[str]:
    """Lists the test radiographs of all runs, and says how many others there are."""
    shared = set.intersection(*(set(table.index) for table in tables.values()))
    if not shared:
        raise MaskError(
            f"The runs {', '.join(tables)} share no test radiograph: train them on the same pairs, "
            "with the same data.split and data.seed."
        )
    for name, table in tables.items():
        if len(table) > len(shared):
            print(f"{name}: {len(table) - len(shared)} test radiographs that not all runs share")
    return sorted(shared)


def _row(table: pd.DataFrame, base: pd.DataFrame | None) -> dict[str, float | int | None]:
    groups = table["group"].tolist()
    row: dict[str, float | int | None] = {"radiographs": len(table)}
    row |= {name: float(table[name].mean()) for name in MEASURES}
    _, row["jaccard_low"], row["jaccard_high"] = mean_interval(table["jaccard"].to_numpy(), groups)
    difference: Sequence[float | None] = (None, None, None)
    if base is not None:
        apart = (table["jaccard"] - base["jaccard"]).to_numpy()
        difference = mean_interval(apart, groups, within_one=False)
    names = ("difference", "difference_low", "difference_high")
    return row | dict(zip(names, difference, strict=True))


def _images_per_second(runs: Sequence[Path], rounds: int, precision: Precision) -> dict[str, float]:
    """Times the networks in turns on a batch of noise each; gives the median rates."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    seconds: dict[str, list[float]] = {run.name: [] for run in runs}
    networks, batches = {}, {}
    for run in runs:
        segmenter = load_segmenter(run / "best.ckpt")
        networks[run.name] = ready_network(segmenter.network, precision, device)
        size = (TIMED_BATCH, 1, segmenter.size_px, segmenter.size_px)
        batches[run.name] = 255 * torch.rand(size, device=device)
    for turn in range(rounds + 1):  # the first warms up
        for name, network in networks.items():
            started = time.monotonic()
            network(batches[name]).sum().item()
            if turn:
                seconds[name].append(time.monotonic() - started)
    return {name: TIMED_BATCH / float(np.median(spent)) for name, spent in seconds.items()}
