"""How the base learners learnt, epoch by epoch."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from flannel.figures.style import LINE_COLOURS, LINE_STYLES, drawn_in_style, legend_once
from flannel.study import ARMS


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
        legend_once(figure, [axes for line in panels for axes in line])
    return figure


def _curves(study: Path) -> Mapping[str, list[tuple[str, pd.DataFrame]]]:
    """Reads the base runs' curves: a row per epoch, by arm, as (learner, table) pairs."""
    curves: dict[str, list[tuple[str, pd.DataFrame]]] = {}
    for path in sorted(study.glob("base/*/*/fold*/curves.csv")):
        arm, learner = path.parts[-4], path.parts[-3]
        curves.setdefault(arm, []).append((learner, pd.read_csv(path, index_col="epoch")))
    return curves
