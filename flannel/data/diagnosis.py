"""Label sets as ordered tuples: the only place where a diagnosis has an index, name and colour."""

import colorsys
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from flannel.errors import FlannelError

FLANNEL = ("COVID-19", "Viral pneumonia", "Bacterial pneumonia", "Normal")
"""The four classes of FLANNEL and of paper 004 (Section 2), in the order of the original code."""

COVID_QU_EX = ("COVID-19", "Non-COVID", "Normal")
"""The three classes of papers 000 and 001; `Non-COVID` is viral or bacterial pneumonia."""

DARKCOVIDNET = ("COVID-19", "Pneumonia", "No findings")
"""The three classes of paper 002; `Pneumonia` is one of any cause but COVID-19."""

COVID_NORMAL = ("COVID-19", "Normal")
"""The two classes of paper 003."""

LABEL_SETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "flannel": FLANNEL,
        "wide": FLANNEL,
        "covid_qu_ex": COVID_QU_EX,
        "darkcovidnet": DARKCOVIDNET,
        "covid_normal": COVID_NORMAL,
    }
)
"""The label set of each mapping of `flannel.data.findings`."""


COLOURS: Mapping[str, str] = MappingProxyType(
    {
        "COVID-19": "#D55E00",
        "Viral pneumonia": "#CC79A7",
        "Bacterial pneumonia": "#56B4E9",
        "Normal": "#009E73",
        "Non-COVID": "#56B4E9",
        "Pneumonia": "#56B4E9",
        "No findings": "#009E73",
    }
)
"""A colour for each diagnosis of the sets above, alike for what means the same."""

PALETTE = ("#D55E00", "#009E73", "#0072B2", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
"""The palette of Okabe and Ito (2008), which colour-blind people can tell apart."""

NAME = re.compile(r"\w([\w +()-]*[\w+)])?")
LONGEST_NAME = 60
TAKEN = frozenset({"macro", "micro", "weighted", "overall"})
"""What tables call their means over diagnoses."""


class LabelError(FlannelError):
    """A diagnosis that the label set does not have, or whose name cannot be used."""


def coloured(
    diagnoses: Sequence[str], chosen: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """Checks the names of a label set, and gives each diagnosis a colour of its own.

    Args:
        diagnoses: The label set, in order.
        chosen: Colours that are wanted, as "#RRGGBB"; "" is none.

    Returns:
        The label set in order, with colours. Without a wish they are those of `COLOURS`, then of
        the palette; from the eighth on they are spread around the colour circle.

    Raises:
        LabelError: If a name has characters that names of columns, files and measures must not
            have, is too long, is taken, or differs from another in the case of letters alone; or
            if a colour is none.
    """
    seen: dict[str, str] = {}
    for name in diagnoses:
        if not NAME.fullmatch(name) or len(name) > LONGEST_NAME or name.lower() in TAKEN:
            raise LabelError(
                f"{name!r} cannot be the name of a diagnosis; expected letters, digits, spaces, "
                f"and - _ + ( ), at most {LONGEST_NAME}, and none of {', '.join(sorted(TAKEN))}. "
                "Rename it, or map it in a CSV table with the columns finding and diagnosis."
            )
        if seen.setdefault(name.lower(), name) != name:
            raise LabelError(
                f"{seen[name.lower()]!r} and {name!r} differ in the case of letters alone. Give "
                "them one name, or map them in a CSV table with the columns finding and diagnosis."
            )
    colours = {name: chosen[name] for name in diagnoses if chosen.get(name)}
    for name, colour in colours.items():
        if not re.fullmatch(r"#[0-9A-Fa-f]{6}", colour):
            raise LabelError(f"The colour of {name} is {colour!r}; expected one such as #D55E00.")
    for name in diagnoses:
        if name not in colours and COLOURS.get(name, "") not in {"", *colours.values()}:
            colours[name] = COLOURS[name]
    for place, name in enumerate(diagnoses):
        if name not in colours:
            free = [colour for colour in PALETTE if colour not in colours.values()]
            colours[name] = free[0] if free else _on_the_circle(place)
    return {name: colours[name] for name in diagnoses}


def _on_the_circle(place: int) -> str:
    """Returns a colour by the golden ratio, so that neighbours differ in hue."""
    red, green, blue = colorsys.hls_to_rgb(place * 0.618034 % 1, 0.35 + 0.2 * (place % 2), 0.6)
    return f"#{round(255 * red):02X}{round(255 * green):02X}{round(255 * blue):02X}"


def index_of(diagnosis: str, diagnoses: Sequence[str]) -> int:
    """Returns the position of a diagnosis in its label set.

    Args:
        diagnosis: A name such as "COVID-19".
        diagnoses: The label set, in order.

    Raises:
        LabelError: If the name is not in the label set.
    """
    try:
        return list(diagnoses).index(diagnosis)
    except ValueError:
        known = ", ".join(diagnoses)
        raise LabelError(
            f"Diagnosis {diagnosis!r} is not in the label set ({known}). "
            "Correct the manifest, or choose the label set that it was made with."
        ) from None
