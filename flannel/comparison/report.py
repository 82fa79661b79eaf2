"""The report: one self-contained HTML file from the study's files."""

import base64
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from flannel import __version__
from flannel.comparison.figures.style import DOTS_PER_INCH
from flannel.comparison.measurements import Measurements
from flannel.comparison.radiograph_figures.masks import mask_flags
from flannel.comparison.results import printed_runs
from flannel.comparison.summary import summary
from flannel.comparison.tables.layout import Table
from flannel.files import read_json, whole_file
from flannel.study.contents import ENSEMBLE
from flannel.templates import page_environment

PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "scikit-learn", "numpy", "pandas")
SHORT_HASH = 8
FLAGS_LISTED = 20


class Picture(NamedTuple):
    """A figure inside the page: its PNG as a data URL, and how wide it was drawn."""

    data: str
    inches: float


def write_report(
    measurements: Measurements,
    tables: Sequence[Table],
    figures: Mapping[str, Path],
) -> Path:
    """Writes `comparison/report.html`: everything that the comparison made, in one file.

    Args:
        measurements: The rows; what is neither table nor figure is read from the study's files.
        tables: All tables.
        figures: The PNG files to show, by figure name. Of another paper's study its own come
            first, and nothing that it did not set out to do is called missing.

    Returns:
        The report's path.

    Raises:
        RunError: If a metrics file or the audit of the study is no JSON object.
    """
    comparison = measurements.comparison
    study = comparison.study
    path = study / "comparison" / "report.html"
    environment = page_environment("flannel.comparison")
    environment.filters["doubt"] = parted_doubt
    flags = mask_flags(study)
    html = environment.get_template("report.html.j2").render(
        study=study.resolve().name,
        summary=summary(measurements),
        notes=comparison.notes,
        covid=comparison.diagnoses[0],
        ensemble=ENSEMBLE,
        related=comparison.plan,
        printed=[(result.run.arm, result.run.learner) for result in printed_runs(comparison)],
        tables={table.name: table for table in tables},
        pictures={name: _inlined(file) for name, file in figures.items()},
        learners=comparison.learners,
        masks_there=(study / "masks" / "masks.csv").is_file(),
        flags=flags.head(FLAGS_LISTED).to_dict("records"),
        flag_count=len(flags),
        segmentations=_segmentations(study),
        remarks=_remarks(study),
        audit=_link(study / "audit.html", path),
        runs=[
            (
                result.run.name_in(study),
                _link(result.run.folder, path),
                {name: value[:SHORT_HASH] for name, value in result.run.parts.items()},
            )
            for result in comparison.results
        ],
        versions=_versions(),
    )
    with whole_file(path) as beside:
        beside.write_text(html, encoding="utf-8")
    return path


def parted_doubt(cell: str) -> tuple[str, str]:
    """Parts a cell's number from its interval: `0.92 ± 0.01` and `[0.90, 0.95]`, or nothing."""
    number, bracket, interval = cell.partition(" [")
    return number, f"[{interval}" if bracket else ""


def _remarks(study: Path) -> list[tuple[str, str]]:
    """Returns the audit's sentences with their weight: danger, care or good."""
    path = study / "audit.json"
    remarks = read_json(path).get("remarks", []) if path.is_file() else []
    if not isinstance(remarks, list):
        return []
    return [(str(remark["weight"]), str(remark["text"])) for remark in remarks]


def _segmentations(study: Path) -> list[tuple[str, str, str]]:
    """Lists segmenter, metric and value of every segmentation run."""
    return [
        (path.parent.name, name, value)
        for path in sorted(study.glob("segmentation/*/metrics.json"))
        for name, value in _flat(read_json(path))
    ]


def _flat(values: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yields nested names and values as text: {"test": {"jaccard": 0.9}} as test/jaccard."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from ((f"{name}/{inner}", text) for inner, text in _flat(value))
        else:
            yield name, f"{value:.4f}" if isinstance(value, float) else str(value)


def _link(target: Path, page: Path) -> str:
    """Returns the way from the page to a file or folder of the study; empty if it is not there."""
    return Path(os.path.relpath(target, page.parent)).as_posix() if target.exists() else ""


def _inlined(path: Path) -> Picture:
    content = path.read_bytes()
    dots = int.from_bytes(content[16:20], "big")  # where a PNG says its width
    data = f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"
    return Picture(data, round(dots / DOTS_PER_INCH, 2))


def _versions() -> dict[str, str]:
    versions = {"patched-flannel": __version__, "Python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions
