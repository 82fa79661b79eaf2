"""The paper's figures, drawn from the study's numbers: bars, matrices, weights and curves."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from flannel.data.files import whole_file
from flannel.metrics import MACRO
from flannel.study import ARMS, ENSEMBLE, Comparison
from flannel.tables import F1Row, f1_rows

ARM_COLOURS = {"global": "#0072B2", "masked": "#999999", "patched": "#E69F00", "fused": "#009E73"}
"""One colour per arm, from the palette of Okabe and Ito, which the colour-blind can tell apart."""

ARM_HATCHES = {"global": "", "masked": "....", "patched": "////", "fused": "xxxx"}
LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINE_STYLES = ("-", "--", "-.", ":")


def drawn_in_style() -> AbstractContextManager[None]:
    """Gives the context in which every figure is drawn and saved: fonts, frames, legends."""
    return mpl.rc_context(
        {
            "font.size": 9.0,
            "axes.titlesize": 10.0,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "pdf.fonttype": 42,  # letters stay letters: journals refuse Type 3 fonts
        }
    )


def save_figure(figure: Figure, folder: Path, name: str) -> Path:
    """Writes a figure as `<name>.png` (200 dots an inch) and `<name>.pdf`.

    Returns:
        The path of the PNG.
    """
    png = folder / f"{name}.png"
    with drawn_in_style():
        with whole_file(png) as beside:
            figure.savefig(beside, dpi=200)
        with whole_file(folder / f"{name}.pdf") as beside:
            # Without the date, the same numbers give the same bytes.
            figure.savefig(beside, metadata={"CreationDate": None})
    return png


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


def f1_bars(rows: Sequence[F1Row], name: str) -> Figure:
    """Draws F1 of each learner and the ensemble, the arms side by side (paper 004's final report).

    Args:
        rows: The F1 table. Error bars show the sample deviation where there is more than one fold.
        name: The diagnosis, or "macro".
    """
    learners = list(dict.fromkeys(row.learner for row in rows))
    learners.sort(key=lambda learner: learner == ENSEMBLE)
    with drawn_in_style():
        figure = Figure(figsize=(max(4.5, 1.15 * len(learners) + 1), 3.4), layout="constrained")
        axes = figure.subplots()
        for place, learner in enumerate(learners):
            beside = [row for row in rows if row.learner == learner]
            width = min(0.8 / len(beside), 0.3)
            for number, row in enumerate(beside):
                x = place + (number - (len(beside) - 1) / 2) * width
                _bar(axes, row, name, x, width)
        axes.set_xticks(range(len(learners)), learners, rotation=20 if len(learners) > 3 else 0)
        axes.set_xlim(-0.6, len(learners) - 0.4)
        tops = np.nan_to_num([[row.means[name], row.deviations[name]] for row in rows]).sum(axis=1)
        axes.set_ylim(0, max(1, tops.max() + 0.02))
        axes.set_yticks(np.linspace(0, 1, 6))
        axes.set_ylabel(f"F1, {name}" if name != MACRO else "macro F1")
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
        axes.set_axisbelow(True)
        handles, labels = axes.get_legend_handles_labels()
        by_arm = dict(zip(labels, handles, strict=True))
        figure.legend(by_arm.values(), by_arm.keys(), loc="outside upper center", ncols=4)
    return figure


def _bar(axes: Axes, row: F1Row, name: str, x: float, width: float) -> None:
    """Draws one arm's bar with its value at the foot, and its deviation where there is one."""
    mean, deviation = row.means[name], row.deviations[name]
    if np.isnan(mean):
        axes.text(x, 0.02, "undefined", rotation=90, ha="center", va="bottom", fontsize=7)
        return
    axes.bar(
        x,
        mean,
        width * 0.94,
        color=ARM_COLOURS.get(row.arm, "#56B4E9"),
        hatch=ARM_HATCHES.get(row.arm, ""),
        edgecolor="white",
        linewidth=0,
        label=row.arm,
    )
    if not np.isnan(deviation):
        axes.errorbar(x, mean, deviation, color="black", capsize=2, linewidth=0.9)
    axes.text(
        x,
        0.02,
        f"{mean:.2f}",
        rotation=90,
        ha="center",
        va="bottom",
        fontsize=7,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.8},
    )


def confusion_matrices(comparison: Comparison, learner: str) -> Figure | None:
    """Draws a learner's confusion matrix in every arm: rows true, columns predicted.

    The folds share one test set, so their counts are averaged and never added up.

    Args:
        comparison: The results.
        learner: A base learner, or the ensemble.
    """
    arms = [arm for arm in comparison.arms if comparison.of(arm, learner)]
    if not arms:
        return None
    columns = min(len(arms), 2)
    lines = -(-len(arms) // columns)
    with drawn_in_style():
        figure = Figure(figsize=(4.3 * columns, 3.9 * lines), layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for panel, arm in zip(panels, arms, strict=False):
            results = comparison.of(arm, learner)
            folds = [result.run.fold for result in results]
            counts = np.mean([result.scores.confusion for result in results], axis=0)
            which = f"fold {folds[0]}" if len(folds) == 1 else f"mean of {len(folds)} folds"
            panel.set_title(f"{learner}, {arm} ({which})")
            _matrix(panel, counts, comparison.diagnoses, whole=len(folds) == 1)
        for panel in panels[len(arms) :]:
            panel.set_axis_off()
    return figure


def _matrix(
    axes: Axes, counts: Float[np.ndarray, "classes classes"], names: Sequence[str], whole: bool
) -> None:
    """Draws one matrix: colour and percentage are shares of the row, numbers are radiographs."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-9)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        axes.text(
            column,
            row,
            f"{count:.0f}\n{share:.0%}" if whole else f"{count:.1f}\n{share:.0%}",
            ha="center",
            va="center",
            color="white" if share > 0.55 else "black",
        )
    _name_ticks(axes, [_broken(name) for name in names], [_broken(name) for name in names])
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")


def learner_weights(comparison: Comparison) -> Figure | None:
    """Draws whom the ensemble trusts for what: mean learner weight by true diagnosis, per arm.

    The weights are FLANNEL's tanh outputs in (-1, 1), averaged over test radiographs and folds.
    """
    tables = {}
    for arm in comparison.arms:
        results = comparison.of(arm, ENSEMBLE)
        weighted = [
            result.predictions.filter(regex="^w_").groupby(result.predictions["diagnosis"]).mean()
            for result in results
        ]
        weighted = [table for table in weighted if table.columns.size]
        if weighted:
            mean = pd.concat(weighted).groupby(level=0).mean()
            tables[arm] = mean.reindex(comparison.diagnoses).T
    if not tables:
        return None
    columns = min(2, len(tables))
    lines = -(-len(tables) // columns)
    most = max(len(table) for table in tables.values())
    with drawn_in_style():
        figure = Figure(
            figsize=(4.6 * columns + 0.8, (0.3 * most + 1.3) * lines), layout="constrained"
        )
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for panel, (arm, table) in zip(panels, tables.items(), strict=False):
            picture = _weights(panel, table)
            panel.set_title(arm)
        for panel in panels[len(tables) :]:
            panel.set_axis_off()
        figure.colorbar(picture, ax=panels, label="learner weight", shrink=0.9)
    return figure


def _weights(axes: Axes, table: pd.DataFrame) -> AxesImage:
    """Draws one arm's weights: a row per learner, a column per true diagnosis."""
    values = table.to_numpy(float)
    picture = axes.imshow(values, cmap="PuOr", vmin=-1, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if abs(value) > 0.6 else "black"
        # Adding 0.0 turns a rounded -0.0 into 0.0.
        text = "–" if np.isnan(value) else f"{round(value, 2) + 0.0:.2f}"
        axes.text(column, row, text, ha="center", va="center", color=colour)
    learners = [str(name).removeprefix("w_") for name in table.index]
    _name_ticks(axes, [_broken(name) for name in table.columns], learners)
    axes.set_xlabel("true diagnosis")
    return picture


def training_curves(study: Path) -> Figure | None:
    """Draws training loss and validation macro F1 by epoch, one line per base learner and fold."""
    curves = _curves(study)
    if not curves:
        return None
    arms = sorted(curves, key=lambda arm: (ARMS.index(arm) if arm in ARMS else len(ARMS), arm))
    learners = sorted({learner for arm in arms for learner, _ in curves[arm]})
    with drawn_in_style():
        figure = Figure(figsize=(3.6 * len(arms) + 1.2, 5.0), layout="constrained")
        panels = figure.subplots(2, len(arms), squeeze=False, sharex="col", sharey="row")
        for column, arm in enumerate(arms):
            for learner, table in curves[arm]:
                number = learners.index(learner)
                for row, name in enumerate(("train/loss", "val/macro_f1")):
                    if name in table and table[name].notna().any():
                        panels[row, column].plot(
                            table[name].dropna(),
                            color=LINE_COLOURS[number % len(LINE_COLOURS)],
                            linestyle=LINE_STYLES[number % len(LINE_STYLES)],
                            marker=".",
                            linewidth=1.2,
                            label=learner,
                        )
            panels[0, column].set_title(arm)
            panels[1, column].set_xlabel("epoch")
            panels[1, column].xaxis.get_major_locator().set_params(integer=True)
        panels[0, 0].set_ylabel("training loss")
        panels[1, 0].set_ylabel("validation macro F1")
        panels[1, 0].set_ylim(0, 1)
        _legend_once(figure, [axes for line in panels for axes in line])
    return figure


def _curves(study: Path) -> Mapping[str, list[tuple[str, pd.DataFrame]]]:
    """Reads the base runs' curves: a row per epoch, by arm, as (learner, table) pairs."""
    curves: dict[str, list[tuple[str, pd.DataFrame]]] = {}
    for path in sorted(study.glob("base/*/*/fold*/curves.csv")):
        arm, learner = path.parts[-4], path.parts[-3]
        curves.setdefault(arm, []).append((learner, pd.read_csv(path, index_col="epoch")))
    return curves


def _legend_once(figure: Figure, panels: Sequence[Axes]) -> None:
    """Puts one legend over the figure, however many panels and folds show the same name."""
    named = {}
    for panel in panels:
        handles, labels = panel.get_legend_handles_labels()
        named.update(dict(zip(labels, handles, strict=True)))
    figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=3)


def _name_ticks(axes: Axes, columns: Sequence[str], rows: Sequence[str]) -> None:
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _broken(name: str) -> str:
    return name.replace(" ", "\n")
