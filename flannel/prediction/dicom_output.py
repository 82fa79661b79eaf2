"""A prediction as DICOM objects beside its source: its picture, and its lung mask.

Both are new instances in new series of the source's study. Patient and study are those of the
source (PS3.3 C.7.1.1, C.7.2.1), and the source is named by its UIDs; nothing is sent anywhere.
"""

import warnings
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from flannel import __version__
from flannel.data.dicom_file import read_dataset
from flannel.data.dicom_levels import spelt_out, value_of
from flannel.data.formats import first_bytes, is_dicom
from flannel.data.mask import read_mask
from flannel.errors import FlannelError
from flannel.files import whole_file
from flannel.prediction.output import picture_name
from flannel.prediction.results import RadiographResult
from segmentation.checkpoint import Segmenter

OBJECTS, MASKS = "dicom", "masks"
MANUFACTURER = "Patched FLANNEL"
LABEL = "RESEARCH ONLY, no diagnosis"
SERIES_OF_PICTURES, SERIES_OF_MASKS = 9001, 9002
PATIENT_AND_STUDY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate",
    "StudyTime", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
"""Attributes of both objects that may be empty but not missing (Type 2)."""
NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
HEADER_FAULTS = (AttributeError, KeyError, NotImplementedError, TypeError, ValueError)
LUNG = ("39607008", "SCT", "Lung")
ANATOMY = ("123037004", "SCT", "Anatomical Structure")
NETWORK = ("123110", "DCM", "Artificial Intelligence")


class DicomOutputError(FlannelError):
    """DICOM objects that cannot be written."""


def check_available() -> None:
    """Raises a DicomOutputError where the extra that writes DICOM objects is not installed."""
    if find_spec("highdicom") is None:
        raise DicomOutputError(
            "--dicom true needs highdicom, which is not installed: pip install "
            "'patched-flannel[dicom]', or pip install -e '.[dicom]' here."
        )


def write_objects(
    results: Sequence[RadiographResult], segmenter: Segmenter | None, folder: Path
) -> Iterator[str]:
    """Writes a Secondary Capture of each picture, and a Segmentation of each lung mask.

    Args:
        results: The radiographs that were predicted.
        segmenter: Whose masks lie in the folder; None where there are none.
        folder: Of the prediction, with its pictures, which bear the notice that all is research
            only, and masks. Gets `dicom/<image_id>.picture.dcm` and `dicom/<image_id>.lungs.dcm`.

    Yields:
        A sentence for what could not be written.
    """
    others = 0
    for result in results:
        if not is_dicom(first_bytes(Path(result.path))):
            others += 1
            continue
        try:
            with warnings.catch_warnings():  # of values that deviate a little from the standard
                warnings.simplefilter("ignore", UserWarning)
                _write(result, segmenter, folder)
        except HEADER_FAULTS as fault:
            yield f"{result.path} has a header that DICOM objects cannot be made from: {fault}."
    if others:
        yield f"{others} radiographs are no DICOM files: no DICOM objects are written for them."


def _write(result: RadiographResult, segmenter: Segmenter | None, folder: Path) -> None:
    stem = folder / OBJECTS / result.image_id
    source = read_dataset(Path(result.path), pixels=False)
    missing = [name for name in NEEDED if value_of(source, name) is None]
    if missing:
        raise ValueError(f"it has no {', '.join(map(spelt_out, missing))} to refer to")
    _complete(source)
    _save(_capture(source, folder / picture_name(result.image_id)), stem, "picture")
    mask = folder / MASKS / f"{result.image_id}.png"
    if segmenter is not None and mask.is_file() and (lungs := read_mask(mask)).any():
        _save(_segmentation(source, lungs, segmenter), stem, "lungs")


def _complete(source: Dataset) -> None:
    """Adds what may be empty but not missing."""
    for name in PATIENT_AND_STUDY:
        if name not in source:
            setattr(source, name, None)


def _capture(source: Dataset, picture: Path) -> Dataset:
    """Returns a picture as a Secondary Capture (PS3.3 A.8.1) that names its source."""
    import highdicom

    with Image.open(picture) as drawn:
        pixels = np.asarray(drawn.convert("RGB"))
    capture = highdicom.sc.SCImage.from_ref_dataset(
        source,
        pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        series_instance_uid=highdicom.UID(),
        series_number=SERIES_OF_PICTURES,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        patient_orientation=("L", "F"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    capture.ConversionType = "WSD"
    capture["PatientOrientation"].value = None  # of a page with several pictures
    capture.SeriesDescription = f"{MANUFACTURER}: {LABEL}"
    # The radiograph that it shows may have a name burnt in.
    capture.BurnedInAnnotation = "YES"
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    capture.SourceImageSequence = [reference]
    return capture


def _segmentation(
    source: Dataset, lungs: Bool[np.ndarray, "height width"], segmenter: Segmenter
) -> Dataset:
    """Returns a lung mask as a Segmentation (PS3.3 A.51) of its source."""
    import highdicom
    from highdicom.sr import CodedConcept

    name = type(segmenter.network).__name__
    segment = highdicom.seg.SegmentDescription(
        1,
        "Lungs",
        CodedConcept(*ANATOMY),
        CodedConcept(*LUNG),
        "AUTOMATIC",
        highdicom.AlgorithmIdentificationSequence(name, CodedConcept(*NETWORK), segmenter.sha256),
    )
    segmentation = highdicom.seg.Segmentation(
        [source],
        lungs[None].astype(np.uint8),
        "BINARY",
        [segment],
        series_instance_uid=highdicom.UID(),
        series_number=SERIES_OF_MASKS,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=name,
        software_versions=__version__,
        device_serial_number="none",
        content_label="LUNGS",
        content_description=LABEL,
    )
    segmentation.SeriesDescription = f"{MANUFACTURER}: lungs, {LABEL}"
    return segmentation


def _save(instance: Dataset, stem: Path, kind: str) -> None:
    with whole_file(stem.with_name(f"{stem.name}.{kind}.dcm")) as beside:
        instance.save_as(beside)
