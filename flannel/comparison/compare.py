"""The comparison: from a study's files to its tables, figures, report and dashboard run."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from flannel.comparison.costs import costs
from flannel.comparison.figures import write_figures
from flannel.comparison.measurements import measure_comparison
from flannel.comparison.radiograph_figures import write_galleries
from flannel.comparison.related import read_related
from flannel.comparison.report import write_report
from flannel.comparison.results import Comparison, read_comparison
from flannel.comparison.summary import summary
from flannel.comparison.tables import all_tables
from flannel.comparison.tables.f1 import scores_table
from flannel.comparison.tables.layout import Table, write_table
from flannel.comparison.tables.related import made_up_note, related_tables
from flannel.comparison.wandb_run import log_comparison
from flannel.data.outputs import mark_as_output
from flannel.files import whole_file

PATCH_STUDY = "patches_k"
"""The figure that `make patch-study` leaves among ours."""


def compare_study(
    study: Path,
    learners: Sequence[str] | None = None,
    wandb: Literal["offline", "online", "off"] = "offline",
) -> None:
    """Compares learners, ensembles and arms from the study's files alone, without a model.

    Writes to `comparison/`: `table.csv` (every fold), `table.md` (all tables in one document), each
    table as Markdown, CSV and LaTeX, `figures/` as PNG and PDF, and `report.html`. Prints the
    summary, Table 3 (of another paper's study its own tables), and where everything is. Figures
    that show radiographs stay on this machine: they are in the report and never in W&B.

    Args:
        study: The study's folder.
        learners: Base learners to compare; all that are finished by default.
        wandb: Whether a `compare` run is logged to W&B, and if so offline or online.

    Raises:
        StudyError: If there is nothing to compare, or runs do not belong into one table.
    """
    related = read_related(study)
    plan = None if related is None else related.plan
    comparison = read_comparison(study, learners, plan)
    if related is not None and related.made_up:
        comparison = replace(comparison, notes=(made_up_note(comparison), *comparison.notes))
    measurements = measure_comparison(comparison)
    spent = costs(study)
    folder = study / "comparison"
    with whole_file(folder / "table.csv") as beside:
        scores_table(comparison).to_csv(beside, index=False, float_format="%.6f")
    mark_as_output(folder)
    printed = [] if related is None else related_tables(comparison, related)
    tables = [*printed, *all_tables(measurements, spent)]
    for table in tables:
        write_table(table, folder)
    sentences = summary(measurements)
    with whole_file(folder / "table.md") as beside:
        beside.write_text(_document(comparison, sentences, tables), encoding="utf-8")
    figures = write_figures(measurements, spent, folder / "figures", related is not None)
    pictures = write_galleries(comparison, folder / "figures", related is not None)
    kept = folder / "figures" / f"{PATCH_STUDY}.png"
    earlier = {PATCH_STUDY: kept} if kept.is_file() else {}
    report = write_report(measurements, tables, figures | pictures | earlier)
    log_comparison(measurements, figures, wandb)
    print(*sentences, *comparison.notes, sep="\n")
    shown = printed[:3] or [table for table in tables if table.name == "table_3"]
    print("", *(table.markdown() for table in shown), sep="\n")
    for path in (folder / "table.csv", folder / "table.md", folder / "figures", report):
        print(path)


def _document(comparison: Comparison, sentences: Sequence[str], tables: Sequence[Table]) -> str:
    """Joins summary, notes and tables in one Markdown document."""
    parts = [
        f"# {comparison.study.resolve().name}",
        *sentences,
        *(f"> {note}" for note in comparison.notes),
        *(table.markdown(level=2) for table in tables),
    ]
    return "\n\n".join(parts)
