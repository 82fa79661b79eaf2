"""Which structures are segmented: the lungs, left and right lung, or both and the heart."""

from typing import Literal

from flannel.errors import OptionError

Structures = Literal["lungs", "left_right", "heart_left_right"]
BACKGROUND = "background"
LUNGS = ("lungs", "left lung", "right lung")
"""Classes that belong to the lung mask."""


def classes_of(structures: Structures) -> tuple[str, ...]:
    """Names the classes of a choice, in the order of the network's outputs.

    Paper 004's text speaks of lung contours (`lungs`); the program of Oh, Park and Ye tells
    background, heart, left lung and right lung apart (`heart_left_right`).

    Raises:
        OptionError: If the choice is unknown.
    """
    match structures:
        case "lungs":
            return (BACKGROUND, "lungs")
        case "left_right":
            return (BACKGROUND, "left lung", "right lung")
        case "heart_left_right":
            return (BACKGROUND, "heart", "left lung", "right lung")
        case _:
            raise OptionError(
                f"structures is {structures!r}: expected lungs, left_right or heart_left_right."
            )


def lung_channels(classes: tuple[str, ...]) -> list[int]:
    """Returns the outputs that together are the lungs."""
    return [place for place, name in enumerate(classes) if name in LUNGS]
