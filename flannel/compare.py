"""The comparison: from a study's files to its tables, figures, report and dashboard run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from flannel.comparison import read_comparison
from flannel.data.files import whole_file
from flannel.figures import write_figures
from flannel.galleries import write_galleries
from flannel.report import log_comparison, write_report
from flannel.tables import markdown, scores_table


def compare_study(
    study: Path,
    learners: Sequence[str] | None = None,
    wandb: Literal["offline", "online", "off"] = "offline",
) -> None:
    """Compares learners, ensembles and arms from the study's files alone, without a model.

    Writes `comparison/table.csv` (every fold), `table.md` (the paper's Table 3), `figures/` as PNG
    and PDF and `report.html`, and prints the table and where they are. Figures that show
    radiographs stay on this machine: they are in the report and never in W&B.

    Args:
        study: The study's folder.
        learners: Base learners to compare; all that are finished by default.
        wandb: Whether a `compare` run is logged to W&B, and if so offline or online.

    Raises:
        StudyError: If there is nothing to compare, or runs do not belong into one table.
    """
    comparison = read_comparison(study, learners)
    folder = study / "comparison"
    with whole_file(folder / "table.csv") as beside:
        scores_table(comparison).to_csv(beside, index=False, float_format="%.6f")
    table = markdown(comparison)
    with whole_file(folder / "table.md") as beside:
        beside.write_text(table, encoding="utf-8")
    figures = write_figures(comparison, folder / "figures")
    pictures = write_galleries(comparison, folder / "figures")
    report = write_report(comparison, figures | pictures)
    log_comparison(comparison, figures, wandb)
    print(table)
    for path in (folder / "table.csv", folder / "table.md", folder / "figures", report):
        print(path)
