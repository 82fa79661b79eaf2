"""Findings as the sources write them, and the diagnosis that each stands for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

Split = Literal["", "test", "development"]


class SourceError(ValueError):
    """A folder that is not the data set it should be, in a sentence."""


@dataclass(frozen=True)
class SourceRow:
    """One radiograph as its source lists it; text that the source does not give is "".

    Attributes:
        source: Short name of the data set, such as `ccx`.
        path: The image file; it may be missing.
        patient_id: The strict identity.
        group: The cautious identity, unique over all sources.
        finding: The finding in the source's own words.
        view: The projection, such as `PA` or `AP Supine`.
        split: Where the source itself puts the image, if it has a test set.
        unfit: Why the row is no chest radiograph ("modality CT"), or "".
    """

    source: str
    path: Path
    patient_id: str
    group: str
    finding: str
    view: str
    age: str = ""
    sex: str = ""
    licence: str = ""
    split: Split = ""
    unfit: str = ""


@dataclass(frozen=True)
class LabelMapping:
    """A reading of findings, compared as whole strings.

    Attributes:
        diagnoses: Finding to diagnosis.
        left_out: Finding to the reason why it has none; any finding in neither is "not mapped".
    """

    diagnoses: Mapping[str, str]
    left_out: Mapping[str, str]


COVID = "COVID-19"
VIRAL = "Viral pneumonia"
BACTERIAL = "Bacterial pneumonia"
NORMAL = "Normal"

KCX_FINDINGS = {"NORMAL": NORMAL, "PNEUMONIA/virus": VIRAL, "PNEUMONIA/bacteria": BACTERIAL}

# The strings of the March 2020 metadata (FLANNEL's code) and of the final one (the team's code).
FLANNEL_FINDINGS = {
    "COVID-19": COVID,
    "SARS": VIRAL,
    "Pneumocystis": BACTERIAL,  # a fungus, but the original code says bacterial
    "Streptococcus": BACTERIAL,
    "No Finding": NORMAL,
    "Pneumonia/Viral/COVID-19": COVID,
    "Pneumonia/Viral/SARS": VIRAL,
    "Pneumonia/Fungal/Pneumocystis": BACTERIAL,
    "Pneumonia/Bacterial/Streptococcus": BACTERIAL,
}

_VIRUSES = ("SARS", "MERS-CoV", "Influenza", "Influenza/H1N1", "Varicella", "Herpes")
_BACTERIA = (
    "Streptococcus", "Klebsiella", "Legionella", "Mycoplasma", "Chlamydophila", "E.Coli",
    "Nocardia", "Staphylococcus/MRSA",
)  # fmt: skip
_FUNGI = ("Pneumocystis", "Aspergillosis")

WIDE_FINDINGS = {
    "COVID-19": COVID,
    "COVID-19, ARDS": COVID,
    "Pneumonia/Viral/COVID-19": COVID,
    "Pneumonia/Viral": VIRAL,
    **dict.fromkeys(_VIRUSES, VIRAL),
    **{f"Pneumonia/Viral/{name}": VIRAL for name in _VIRUSES},
    "Pneumonia/Bacterial": BACTERIAL,
    "Mycoplasma Bacterial Pneumonia": BACTERIAL,
    **dict.fromkeys(_BACTERIA, BACTERIAL),
    **{f"Pneumonia/Bacterial/{name}": BACTERIAL for name in _BACTERIA},
    "No Finding": NORMAL,
}

_UNCERTAIN = {
    "": "no finding is written",
    "todo": "finding not yet written",
    "Unknown": "finding unknown",
    "Pneumonia": "pneumonia of unnamed cause",
    "ARDS": "ARDS of unnamed cause",
}

MAPPINGS: Mapping[str, LabelMapping] = MappingProxyType(
    {
        "flannel": LabelMapping({**FLANNEL_FINDINGS, **KCX_FINDINGS}, _UNCERTAIN),
        "wide": LabelMapping(
            {**WIDE_FINDINGS, **KCX_FINDINGS},
            {
                **_UNCERTAIN,
                **dict.fromkeys(_FUNGI, "fungal"),
                **{f"Pneumonia/Fungal/{name}": "fungal" for name in _FUNGI},
            },
        ),
    }
)
"""`flannel` is the papers' own list of strings, nothing else; `wide` takes every
viral and every bacterial pneumonia and COVID-19 with ARDS, and leaves fungi out."""
