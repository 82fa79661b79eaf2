"""The figures that are drawn from the study's numbers: bars, matrices, weights and curves."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from flannel.comparison.costs import Cost
from flannel.comparison.figures.calibration import decision_curves, reliability_curves
from flannel.comparison.figures.cost import cost_bars
from flannel.comparison.figures.curves import MICRO, ensemble_curves, learner_curves
from flannel.comparison.figures.scores import confusion_matrices, f1_bars
from flannel.comparison.figures.style import drawn_in_style, save_figure
from flannel.comparison.figures.training import learning_curves, training_curves
from flannel.comparison.figures.weights import learner_weights
from flannel.comparison.measurements import Measurements
from flannel.metrics.classification import MACRO
from flannel.study.repeats import recipe_of

__all__ = ["draw_figures", "drawn_in_style", "save_figure", "write_figures"]


def draw_figures(
    measurements: Measurements, costs: Sequence[Cost], related: bool = False
) -> dict[str, Figure]:
    """Draws every figure that needs numbers only, by name; figures without data are left out.

    Args:
        measurements: The rows to draw.
        costs: What the runs took.
        related: Also draw what papers 000 to 003 print: of each learner loss and accuracy by epoch,
            and its confusion on the validation radiographs.
    """
    comparison = measurements.comparison
    covid = comparison.diagnoses[0]
    drawn = {
        "f1_covid19": f1_bars(measurements, covid),
        "f1_macro": f1_bars(measurements, MACRO),
        "curves_covid19": learner_curves(measurements, covid),
        "curves_micro": learner_curves(measurements, MICRO),
        "curves_ensembles_covid19": ensemble_curves(measurements, covid),
        "curves_ensembles_micro": ensemble_curves(measurements, MICRO),
        "learner_weights": learner_weights(comparison),
        "reliability": reliability_curves(measurements),
        "decision_curves": decision_curves(measurements),
        "training_curves": training_curves(comparison.study),
        "cost": cost_bars(costs),
    } | {
        f"confusion_{learner.replace(' ', '_')}": confusion_matrices(comparison, learner)
        for learner in comparison.learners
    }
    if related:
        trained = {
            result.run.learner for result in comparison.results if result.run.stage == "base"
        }
        for learner in comparison.learners:
            if learner in trained and recipe_of(learner) == learner:
                drawn[f"learning_{learner}"] = learning_curves(comparison.study, learner)
                drawn[f"validation_{learner}"] = confusion_matrices(comparison, learner, True)
    return {name: figure for name, figure in drawn.items() if figure is not None}


def write_figures(
    measurements: Measurements, costs: Sequence[Cost], folder: Path, related: bool = False
) -> dict[str, Path]:
    """Draws and writes every figure that needs numbers only.

    Args:
        measurements: The rows to draw.
        costs: What the runs took.
        folder: Where the PNG and PDF files go.
        related: As for `draw_figures`.

    Returns:
        The PNG files by figure name.
    """
    figures = draw_figures(measurements, costs, related)
    return {name: save_figure(figure, folder, name) for name, figure in figures.items()}
