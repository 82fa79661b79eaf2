"""What the header of a DICOM file says of its radiograph; every command asks here.

An attribute that is empty counts as absent (PS3.5 7.4.5).
"""

import re
import unicodedata
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pydicom

from flannel.data.dicom_file import read_dataset
from flannel.data.file_checks import DECODING_FAULTS
from flannel.data.formats import first_bytes, is_dicom
from flannel.data.projections import (
    AP,
    LATERAL,
    OBLIQUE,
    PA,
    UNKNOWN,
    projection_of_code,
    projection_of_orientation,
    projection_of_words,
)

MODALITIES = ("CR", "DX", "DR", "RF", "RG", "")
"""DICOM's names for what makes radiographs; an unknown modality is passed over."""
CHEST = ("CHEST", "THORAX", "LUNG", "TORAX", "TORACE", "PULMO", "POITRINE", "BRUST", "CORPULMONALE")
"""Parts of words for the chest, in some languages."""
OTHER_PARTS = frozenset((
    "ABDOMEN", "ANKLE", "ARM", "BLADDER", "BRAIN", "BREAST", "BUTTOCK", "CALCANEUS", "CALF",
    "CAROTID", "CLAVICLE", "COCCYX", "COLON", "CSPINE", "ELBOW", "EXTREMITY", "EYE", "FACE",
    "FEMUR", "FINGER", "FOOT", "FOREARM", "GALLBLADDER", "HAND", "HEAD", "HIP", "HUMERUS", "JAW",
    "KIDNEY", "KNEE", "LEG", "LIVER", "LSPINE", "MANDIBLE", "MAXILLA", "NECK", "ORBIT", "PATELLA",
    "PELVIS", "RADIUS", "RIB", "RIBS", "SACRUM", "SCAPULA", "SHOULDER", "SINUS", "SKULL", "SPINE",
    "SSPINE", "STOMACH", "THIGH", "THUMB", "TIBIA", "TOE", "TOOTH", "TSPINE", "ULNA", "WRIST",
))  # fmt: skip
"""Defined terms for other parts (PS3.16 Annex L). A word that is in neither list, such as one of
another language, is no evidence."""
NO_PATIENT = re.compile(
    r"\W*|0+|x+|(anon|unknown|de-?id|removed|none|null|no ?name|n/?a$).*", re.IGNORECASE
)
"""Patient IDs that stand for none: what takes their place in files without names."""


@dataclass(frozen=True)
class Header:
    """What a header says.

    Attributes:
        modality: In capitals, or "".
        body_part: In capitals, or "".
        projections: What each attribute about the view says (`flannel.data.projections`).
        patient: The Patient ID with its issuer, or "". It never leaves the process: it is not
            printed, logged or written.
    """

    modality: str = ""
    body_part: str = ""
    projections: frozenset[str] = frozenset()
    patient: str = field(default="", repr=False)

    @property
    def view(self) -> str:
        """The projection, where it is surely `AP` or `PA`, or ""."""
        named = self.projections & {AP, PA}
        return next(iter(named)) if len(named) == 1 and not self.reasons_against else ""

    @property
    def reasons_against(self) -> tuple[str, ...]:
        """What speaks against a front view of a chest, in few words each."""
        return tuple(self._against())

    @property
    def has_unknown_part(self) -> bool:
        """Whether the body part is a word that says neither chest nor another part."""
        return bool(self.body_part) and not self._is_chest() and not self._is_other_part()

    def _against(self) -> Iterator[str]:
        if self.modality not in MODALITIES:
            yield f"modality {self.modality}, not a radiograph"
        if self._is_other_part() and not self._is_chest():
            yield f"body part {self.body_part}, not the chest"
        if LATERAL in self.projections:
            yield "a lateral view by its header"
        elif OBLIQUE in self.projections:
            yield "an oblique view by its header"

    def _is_chest(self) -> bool:
        return any(word in self.body_part for word in CHEST)

    def _is_other_part(self) -> bool:
        words = re.findall(r"[A-Z]+", self.body_part)
        return not OTHER_PARTS.isdisjoint([*words, "".join(words)])


def is_dicom_file(path: Path) -> bool:
    """Returns whether a file can be read and is DICOM."""
    try:
        return is_dicom(first_bytes(path))
    except OSError:
        return False


def header_of(path: Path) -> Header | None:
    """Reads what a DICOM file says of itself; None for other files and damaged headers."""
    if not is_dicom_file(path):
        return None
    try:
        with warnings.catch_warnings():  # of values that break the rules of their kind
            warnings.simplefilter("ignore", UserWarning)
            return _header(read_dataset(path, pixels=False))
    except DECODING_FAULTS:
        return None


def _header(dataset: pydicom.Dataset) -> Header:
    orientation = dataset.get("PatientOrientation") or ()
    codes = dataset.get("ViewCodeSequence") or ()
    projections = {
        projection_of_words(_text(dataset, "ViewPosition")),
        projection_of_orientation([str(direction) for direction in orientation]),
        *(projection_of_code(_text(c, "CodeValue"), _text(c, "CodeMeaning")) for c in codes),
    }
    patient = _text(dataset, "PatientID")
    known = not NO_PATIENT.fullmatch(patient)
    return Header(
        modality=_text(dataset, "Modality").upper(),
        body_part=_plain(_text(dataset, "BodyPartExamined")),
        projections=frozenset(projections - {UNKNOWN}),
        patient=f"{patient}\n{_text(dataset, 'IssuerOfPatientID')}" if known else "",
    )


def _text(dataset: pydicom.Dataset, name: str) -> str:
    return str(dataset.get(name) or "").strip()


def _plain(word: str) -> str:
    """Returns a word in capitals without accents, as one line of bounded length."""
    plain = unicodedata.normalize("NFKD", word).encode("ascii", "ignore").decode().upper()
    return " ".join(re.findall(r"[\w./-]+", plain))[:40]
