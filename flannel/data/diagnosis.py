"""Label sets as ordered tuples: the only place where a diagnosis has an index."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from flannel.errors import FlannelError

FLANNEL = ("COVID-19", "Viral pneumonia", "Bacterial pneumonia", "Normal")
"""The four classes of FLANNEL and of paper 004 (Section 2), in the order of the original code."""

COVID_QU_EX = ("COVID-19", "Non-COVID", "Normal")
"""The three classes of papers 000 and 001; `Non-COVID` is viral or bacterial pneumonia."""

DARKCOVIDNET = ("COVID-19", "Pneumonia", "No findings")
"""The three classes of paper 002; `Pneumonia` is one of any cause but COVID-19."""

COVID_NORMAL = ("COVID-19", "Normal")
"""The two classes of paper 003."""

MappingName = Literal["flannel", "wide", "covid_qu_ex", "darkcovidnet", "covid_normal"]
"""The mappings of `flannel.data.findings`, by name."""

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


class LabelError(FlannelError):
    """A diagnosis that the label set does not have."""


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
