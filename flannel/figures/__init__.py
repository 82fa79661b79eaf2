"""The figures that are drawn from the study's numbers: bars, matrices, weights and curves."""

from pathlib import Path

from flannel.comparison import Comparison
from flannel.figures.scores import confusion_matrices, f1_bars
from flannel.figures.style import drawn_in_style, save_figure
from flannel.figures.training import training_curves
from flannel.figures.weights import learner_weights
from flannel.metrics import MACRO
from flannel.tables import f1_rows

__all__ = ["drawn_in_style", "save_figure", "write_figures"]


def write_figures(comparison: Comparison, folder: Path) -> dict[str, Path]:
    """Draws and writes every figure that needs numbers only.

    Args:
        comparison: The results to draw.
        folder: Where the PNG and PDF files go.

    Returns:
        The PNG files by figure name; figures without data are left out.
    """
    rows = f1_rows(comparison)
    drawn = {
        "f1_covid19": f1_bars(rows, comparison.diagnoses[0]),
        "f1_macro": f1_bars(rows, MACRO),
        "learner_weights": learner_weights(comparison),
        "training_curves": training_curves(comparison.study),
    } | {
        f"confusion_{learner}": confusion_matrices(comparison, learner)
        for learner in comparison.learners
    }
    return {
        name: save_figure(figure, folder, name)
        for name, figure in drawn.items()
        if figure is not None
    }
