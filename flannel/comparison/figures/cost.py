"""What a run takes, by stage and arm."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from flannel.comparison.costs import Cost
from flannel.comparison.figures.style import drawn_in_style


def cost_bars(costs: Sequence[Cost]) -> Figure | None:
    """Draws minutes per run by stage and arm: training, then predicting, None without costs.

    In greys: colours are the arms', in every figure.
    """
    if not costs:
        return None
    names = [f"{cost.stage} {cost.arm}".strip() for cost in costs]
    with drawn_in_style():
        figure = Figure(figsize=(6.4, 0.34 * len(costs) + 1.3), layout="constrained")
        axes = figure.subplots()
        places = range(len(costs))
        left = [0.0] * len(costs)
        for label, colour, hatch, minutes in (
            ("training", "#4D4D4D", "", [cost.training / cost.runs for cost in costs]),
            ("predicting", "#A6A6A6", "////", [cost.prediction / cost.runs for cost in costs]),
            (
                "not parted", "#D0D0D0", "....",
                [cost.minutes_per_run if not cost.training else 0.0 for cost in costs],
            ),
        ):  # fmt: skip
            if any(minutes):
                axes.barh(
                    places, minutes, left=left, color=colour, hatch=hatch, edgecolor="white",
                    linewidth=0, label=label,
                )  # fmt: skip
                left = [start + more for start, more in zip(left, minutes, strict=True)]
        for place, cost in enumerate(costs):
            axes.text(
                left[place],
                place,
                f" {_duration(cost.minutes_per_run)}, {cost.runs} run{'s' * (cost.runs > 1)}",
                va="center",
                fontsize=7.5,
            )  # fmt: skip
        axes.set_yticks(places, names)
        axes.invert_yaxis()
        axes.set_xlabel("minutes per run")
        axes.set_xlim(0, 1.2 * max(left) or 1)
        figure.legend(loc="outside upper center", ncols=3)
    return figure


def _duration(minutes: float) -> str:
    """Returns minutes, or seconds where it is less than one, as text."""
    if minutes >= 1:
        return f"{minutes:.1f} min"
    return f"{60 * minutes:.0f} s" if minutes >= 1 / 60 else "< 1 s"
