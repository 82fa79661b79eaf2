"""The report: one self-contained HTML file from the study's files, and the same for W&B."""

import base64
import json
import platform
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from flannel import __version__
from flannel.comparison import Comparison
from flannel.data.diagnosis import FLANNEL
from flannel.data.files import whole_file
from flannel.data.manifest import load_manifest
from flannel.galleries.masks import mask_flags
from flannel.metrics import MACRO
from flannel.study import ENSEMBLE, StudyError
from flannel.tables import PUBLISHED, F1Row, f1_rows, published_rows, scores_table

PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "scikit-learn", "numpy", "pandas")
SHORT_HASH = 8
FLAGS_LISTED = 20


@dataclass(frozen=True)
class Cost:
    """What the runs of one stage and arm took together."""

    stage: str
    arm: str
    runs: int
    minutes: float
    devices: str


def write_report(comparison: Comparison, figures: Mapping[str, Path]) -> Path:
    """Writes `comparison/report.html`: tables, figures, cohort, masks, cost and runs in one file.

    Args:
        comparison: The results; everything else is read from its study's files.
        figures: The PNG files to show, by figure name.

    Returns:
        The report's path.

    Raises:
        StudyError: If a cost or metrics file of the study is no JSON object.
    """
    study = comparison.study
    rows = f1_rows(comparison)
    environment = Environment(
        loader=PackageLoader("flannel"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["thousands"] = lambda number: f"{number:,}"
    flags = mask_flags(study)
    html = environment.get_template("report.html.j2").render(
        study=study.resolve().name,
        summary=summary(comparison, rows),
        notes=comparison.notes,
        diagnoses=comparison.diagnoses,
        published_diagnoses=FLANNEL,
        published_label=PUBLISHED,
        rows=rows,
        published=published_rows(),
        several=len(comparison.folds) > 1,
        pictures={name: _inlined(path) for name, path in figures.items()},
        confusions=[
            learner for learner in comparison.learners if f"confusion_{learner}" in figures
        ],
        ensemble=ENSEMBLE,
        cohort=_cohort(study),
        splits=("development", "test"),
        masks_there=(study / "masks" / "masks.csv").is_file(),
        flags=flags.head(FLAGS_LISTED).to_dict("records"),
        flag_count=len(flags),
        segmentations=_segmentations(study),
        costs=costs(study),
        runs=[
            (
                result.run.name_in(study),
                {name: value[:SHORT_HASH] for name, value in result.run.parts.items()},
            )
            for result in comparison.results
        ],
        versions=_versions(),
    )
    path = study / "comparison" / "report.html"
    with whole_file(path) as beside:
        beside.write_text(html, encoding="utf-8")
    return path


def summary(comparison: Comparison, rows: list[F1Row]) -> str:
    """Says in a few sentences what the numbers are, and nothing that they do not show."""
    table = comparison.results[0].predictions
    counts = Counter(table["diagnosis"])
    cohort = ", ".join(f"{counts[name]} {name}" for name in comparison.diagnoses)
    folds = comparison.folds
    if len(folds) == 1:
        spread = f"One fold ({folds[0]}) was run, so no deviation is given."
    elif len(comparison.test_sizes) == 1:
        spread = (
            f"{len(folds)} folds were run on one test set; ± is the sample deviation over folds, "
            "which tells how much training varies, not how much other radiographs would change."
        )
    else:
        sizes = ", ".join(str(size) for size in comparison.test_sizes)
        spread = (
            f"It is that of fold {folds[0]}; each fold has a test set of its own ({sizes} "
            "radiographs), so that ±, the sample deviation over folds, tells how much training and "
            "test radiographs together vary."
        )
    sentences = [f"The test set holds {len(table)} radiographs ({cohort}). {spread}"]
    ensembles = {row.arm: row for row in rows if row.learner == ENSEMBLE}
    covid = comparison.diagnoses[0]
    for arm, row in ensembles.items():
        cells = dict(zip(row.means, row.cells, strict=True))
        sentences.append(
            f"{ENSEMBLE} in the arm {arm}: macro F1 {cells[MACRO]}, {covid} F1 {cells[covid]}."
        )
    if not ensembles:
        sentences.append("No ensemble is finished yet: make ensemble trains it.")
    if {"global", "patched"} <= ensembles.keys():
        apart = ensembles["patched"].means[MACRO] - ensembles["global"].means[MACRO]
        sentences.append(
            f"Patched minus global is {apart:+.3f} in macro F1. No interval belongs to this "
            "difference yet, so it says nothing about other radiographs."
        )
    return " ".join(sentences)


def costs(study: Path) -> list[Cost]:
    """Adds up `cost.json` of all runs by stage and arm, in the order of the pipeline."""
    spent: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for stage, pattern in (
        ("segmentation", "segmentation/*/cost.json"),
        ("base", "base/*/*/fold*/cost.json"),
        ("ensemble", "ensemble/*/fold*/cost.json"),
    ):
        for path in sorted(study.glob(pattern)):
            content = _json_object(path)
            seconds = content.get("seconds")
            if not isinstance(seconds, int | float):
                raise StudyError(f"{path} holds no number of seconds, but {seconds!r}.")
            arm = "" if stage == "segmentation" else path.relative_to(study).parts[1]
            entry = (float(seconds), str(content.get("device", "")))
            spent.setdefault((stage, arm), []).append(entry)
    return [
        Cost(
            stage=stage,
            arm=arm,
            runs=len(entries),
            minutes=sum(seconds for seconds, _ in entries) / 60,
            devices=", ".join(sorted({device for _, device in entries})),
        )
        for (stage, arm), entries in spent.items()
    ]


def log_comparison(
    comparison: Comparison,
    figures: Mapping[str, Path],
    mode: Literal["offline", "online", "off"],
) -> None:
    """Logs the scores and figures as a `compare` run of W&B, in the study's `wandb` folder.

    Args:
        comparison: The results.
        figures: PNG files by name. Those that show radiographs are the caller's to leave out.
        mode: `off` does nothing; `offline` writes files that `wandb sync` can send later.
    """
    if mode == "off":
        return
    import wandb

    from flannel.wandb_runs import wandb_room

    study = comparison.study
    run = wandb.init(
        project="patched-flannel",
        name="compare",
        group=study.resolve().name,
        job_type="compare",
        dir=study,
        mode=mode,
        config={"stage": "compare", "arms": comparison.arms, "learners": comparison.learners},
        settings=wandb_room(study),
    )
    run.log({"f1": wandb.Table(dataframe=scores_table(comparison))})
    run.log({f"figures/{name}": wandb.Image(str(path)) for name, path in figures.items()})
    for row in f1_rows(comparison):
        run.summary[f"{row.arm}/{row.learner}/macro_f1"] = row.means[MACRO]
    run.finish()


def _cohort(study: Path) -> list[dict[str, object]]:
    """Counts the manifest's radiographs by source, diagnosis and split."""
    path = study / "manifest.csv"
    if not path.is_file():
        return []
    manifest = load_manifest(path)
    counts = pd.crosstab([manifest["source"], manifest["diagnosis"]], manifest["split"])
    return [
        {"source": source, "diagnosis": diagnosis, "counts": row.to_dict()}
        for (source, diagnosis), row in counts.iterrows()
    ]


def _segmentations(study: Path) -> list[tuple[str, str, str]]:
    """Lists segmenter, metric and value of every segmentation run."""
    return [
        (path.parent.name, name, value)
        for path in sorted(study.glob("segmentation/*/metrics.json"))
        for name, value in _flat(_json_object(path))
    ]


def _flat(values: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yields nested names and values as text: {"test": {"jaccard": 0.9}} as test/jaccard."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from ((f"{name}/{inner}", text) for inner, text in _flat(value))
        else:
            yield name, f"{value:.4f}" if isinstance(value, float) else str(value)


def _json_object(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as fault:
        raise StudyError(
            f"{path} is no JSON: {fault}. Make the run again with --redo true."
        ) from fault
    if not isinstance(content, dict):
        raise StudyError(f"{path} holds no JSON object. Make the run again with --redo true.")
    return content


def _inlined(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def _versions() -> dict[str, str]:
    found = {"patched-flannel": __version__, "Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
