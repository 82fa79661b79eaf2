"""CCX: the ieee8023 covid-chestxray-dataset (Cohen et al. 2020), `metadata.csv` + `images/`."""

import csv
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from flannel.data.findings import SourceError, SourceRow
from flannel.data.phantom import varied_size, write_phantom
from flannel.files import whole_file

NAME = "ccx"
NEEDED = ("patientid", "finding", "view", "modality", "filename")
COLUMNS = (
    "patientid", "offset", "sex", "age", "finding", "RT_PCR_positive", "survival", "intubated",
    "intubation_present", "went_icu", "in_icu", "needed_supplemental_O2", "extubated",
    "temperature", "pO2_saturation", "leukocyte_count", "neutrophil_count", "lymphocyte_count",
    "view", "modality", "date", "location", "folder", "filename", "doi", "url", "license",
    "clinical_notes", "other_notes", "",
)  # fmt: skip
"""The columns of the final metadata.csv, in order; the last has no name."""

PHANTOM_FINDINGS = {
    "COVID-19": "Pneumonia/Viral/COVID-19",
    "Viral pneumonia": "Pneumonia/Viral/SARS",
    "Bacterial pneumonia": "Pneumonia/Bacterial/Streptococcus",
    "Normal": "No Finding",
}


def is_here(folder: Path) -> bool:
    """Returns whether the folder is laid out as this data set."""
    return (folder / "metadata.csv").is_file() and (folder / "images").is_dir()


def rows(folder: Path) -> list[SourceRow]:
    """Lists the images of `metadata.csv`, in its order.

    Columns are addressed by name, whatever their case, because their order changed over the
    years; the trailing columns without a name are passed over. Every row counts on its own:
    unlike FLANNEL's code, which hands a finding on to all images of the same patient and day.

    Args:
        folder: Holds `metadata.csv` and `images/`.

    Raises:
        SourceError: If `metadata.csv` cannot be read as text or lacks a needed column.
    """
    return [_row(folder, record) for record in _records(folder)]


def _records(folder: Path) -> list[dict[str, str]]:
    """Reads `metadata.csv`, with names of columns in lower case without spaces and underscores."""
    path = folder / "metadata.csv"
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = [re.sub(r"[\s_]", "", name.lower()) for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            records = [
                {name: (record[name] or "").strip() for name in columns} for record in reader
            ]
    except (UnicodeDecodeError, csv.Error) as fault:
        raise SourceError(f"{path} is not a CSV table in UTF-8: {fault}.") from fault
    missing = [column for column in NEEDED if column not in columns]
    if missing:
        has = ", ".join(filter(None, columns)) or "none"
        raise SourceError(
            f"{path} lacks the column {', '.join(missing)}; it has {has}. "
            "Download the metadata.csv that belongs to these images."
        )
    return records


def _row(folder: Path, record: Mapping[str, str]) -> SourceRow:
    patient = record["patientid"]
    filename = record["filename"]
    modality = record["modality"]
    return SourceRow(
        source=NAME,
        path=folder / "images" / filename,
        # A row without a patient stands for itself.
        patient_id=patient or f"unnamed-{filename}",
        group=f"{NAME}-{patient or f'unnamed-{filename}'}",
        finding=record["finding"],
        view=record["view"],
        age=record.get("age", ""),
        sex=record.get("sex", ""),
        licence=record.get("license", ""),
        unfit="" if "ray" in modality.lower() else f"modality {modality or 'not written'}",
    )


def write_phantoms(folder: Path, counts: Mapping[str, int], seed: int, size: int = 512) -> None:
    """Writes a made-up data set in this layout.

    Every fourth image is a later one of the patient before, views and suffixes vary, and three
    rows are there to be left out: a CT, a lateral view and another finding.

    Args:
        folder: Gets `metadata.csv` and `images/`.
        counts: Images to draw, by diagnosis.
        seed: Seed of all randomness.
        size: Nominal side of the images in pixels.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    lines: list[dict[str, str]] = []
    wanted = [diagnosis for diagnosis, count in counts.items() for _ in range(count)]
    patient, before = 0, ""
    for number, diagnosis in enumerate(wanted):
        generator = np.random.default_rng([seed, 1, number])
        follow_up = diagnosis == before and number % 4 == 3
        patient, before = patient + (not follow_up), diagnosis
        name = f"phantom-{number:05d}{('.png', '.jpg', '.jpeg')[number % 3]}"
        size_px = varied_size(generator, size)
        write_phantom(folder / "images" / name, diagnosis, generator, size_px, quality=95)
        view = ("PA", "AP", "AP Supine")[int(generator.integers(3))]
        lines.append(_line(patient, PHANTOM_FINDINGS[diagnosis], view, "X-ray", name))
    covid = PHANTOM_FINDINGS["COVID-19"]
    lines.append(_line(patient, covid, "Axial", "CT", "phantom-ct.png"))
    lines.append(_line(patient, covid, "L", "X-ray", "phantom-lateral.png"))
    lines.append(_line(patient, "Pneumonia/Lipoid", "PA", "X-ray", "phantom-lipoid.png"))
    with (
        whole_file(folder / "metadata.csv") as beside,
        beside.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.DictWriter(stream, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(lines)


def _line(patient: int, finding: str, view: str, modality: str, filename: str) -> dict[str, str]:
    return {
        "patientid": str(patient),
        "finding": finding,
        "view": view,
        "modality": modality,
        "folder": "images",
        "filename": filename,
        "license": "made up",
    }
