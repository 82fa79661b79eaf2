"""A study of another paper: its `study.yaml`, and the numbers that were published.

No study is known here by name: `experiments/related/<study>/` holds `study.yaml`, `published.csv`
and the recipes, and `flannel related` puts the first two into the study's folder, so that the
document can be made again from there.
"""

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd
import yaml
from jsonargparse import ArgumentParser

from flannel.data.choices import Protocol
from flannel.data.findings import mapping_named
from flannel.errors import RunError
from flannel.files import read_json, whole_file, write_json
from flannel.study.contents import ENSEMBLE
from flannel.study.repeats import FIRST_SEED, repeat_name

FOLDER = "related"
"""Where a study keeps its plan and the published numbers."""

COLUMNS = ("arm", "learner", "split", "class", "measure", "value", "source")

Reported = Literal["val", "test"]

SPLITS: dict[Reported, str] = {"val": "validation", "test": "test"}


class RelatedError(RunError):
    """Raised when a study of another paper cannot be read."""


@dataclass(frozen=True)
class Twin:
    """The made-up data set in place of the real one.

    Attributes:
        images: Radiographs by source (`flannel.data.sources.twins`).
        size_px: About the side of a radiograph.
        store_px: Side of the stored radiographs.
        masks: Pairs of radiograph and lung mask that a segmenter learns from.
        segmenter: Its recipe, which may be a smaller one than the study's.
    """

    images: dict[str, int]
    size_px: int = 256
    store_px: int = 128
    masks: int = 20
    segmenter: str = "unet_resnet18"


@dataclass(frozen=True)
class RelatedStudy:
    """What a study of another paper consists of.

    Attributes:
        title: What it is called.
        papers: Which papers, with the tables that are made again.
        mapping: Which findings are which diagnosis; see `flannel.data.findings`.
        runs: The arms of each learner, in the order in which they run. A learner whose recipe is
            not beside `study.yaml` is one of `experiments/base`.
        reported: The split on which the papers report their numbers; both are shown.
        phantoms: What replaces the data where none are given.
        protocol: The split protocol.
        seed: Of protocol and runs.
        per_class: At most so many radiographs of each diagnosis; None takes all.
        store_px: Side of the stored radiographs.
        resize: How they are made square.
        masks: Lung masks of the "set" itself, by the "segmenter", or "none".
        segmenter: Whose recipe in `experiments/segmentation` learns from masks.
        hdf5_px: Side of the images of an HDF5 file that the radiographs go through first, shuffled,
            as paper 003 keeps its data; None leaves the files as they are.
        repeats: How often each run is trained, with seeds that follow each other.
        ensembles: Arms whose ensembles are made, of the recipe of that name among
            `experiments/ensemble`.
        recipes: The study whose recipes these are; empty for its own.
        left_open: What the papers leave open and was chosen here, a sentence each.
    """

    title: str
    papers: str
    mapping: str
    runs: dict[str, list[str]]
    reported: Reported
    phantoms: Twin
    protocol: Protocol = "patient"
    seed: int = 1
    per_class: int | None = None
    store_px: int = 1024
    resize: Literal["stretch", "letterbox"] = "stretch"
    masks: Literal["none", "set", "segmenter"] = "none"
    segmenter: str = "fc_densenet103"
    hdf5_px: int | None = None
    repeats: int = 1
    ensembles: list[str] = field(default_factory=list)
    recipes: str = ""
    left_open: list[str] = field(default_factory=list)

    @property
    def planned(self) -> set[tuple[str, str]]:
        """Arm and learner of every run that the study sets out to make, ensembles among them."""
        trained = {
            (arm, repeat_name(learner, FIRST_SEED + repeat))
            for learner, arms in self.runs.items()
            for arm in arms
            for repeat in range(self.repeats)
        }
        return trained | {(arm, ENSEMBLE) for arm in self.ensembles}


@dataclass(frozen=True)
class Related:
    """A study that belongs to a paper: its plan, and what was published.

    Attributes:
        plan: The content of `study.yaml`.
        published: `COLUMNS`; empty where nothing was published.
        made_up: Whether its radiographs are phantoms.
    """

    plan: RelatedStudy
    published: pd.DataFrame
    made_up: bool

    def number(
        self, measure: str, name: str, arm: str = "", learner: str = "", split: str = ""
    ) -> float:
        """Returns a published number, NaN where there is none.

        Args:
            measure: Such as "f1", "accuracy", "minutes", "radiographs" or "as Normal" (how many
                radiographs of the class were predicted to be Normal).
            name: A diagnosis, "macro", "weighted" or "overall".
            arm: The study arm, empty for numbers of the cohort.
            learner: The learner, likewise.
            split: train, val or test, empty for numbers of no split.
        """
        wanted = {"arm": arm, "learner": learner, "split": split, "class": name, "measure": measure}
        rows = self.published
        for column, value in wanted.items():
            rows = rows[rows[column] == value]
        return float(rows["value"].iloc[0]) if len(rows) else float("nan")


def load_related_study(path: Path) -> RelatedStudy:
    """Reads a `study.yaml`.

    Raises:
        RelatedError: If it is missing, no YAML, or lacks or misspells an entry.
    """
    if not path.is_file():
        known = sorted(place.parent.name for place in path.parents[1].glob("*/study.yaml"))
        raise RelatedError(
            f"There is no study {path}. Studies there: {', '.join(known) or 'none'}. Name "
            "another folder of recipes with --experiments."
        )
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(RelatedStudy, "study")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        plan: RelatedStudy = parser.instantiate(parser.parse_object({"study": content})).study
        mapping_named(plan.mapping)
    except (ValueError, TypeError, KeyError, yaml.YAMLError, argparse.ArgumentError) as fault:
        raise RelatedError(f"{path} is no plan of a study: {fault}") from fault
    return plan


def load_published(path: Path) -> pd.DataFrame:
    """Reads a `published.csv`; a study without one has an empty table.

    Raises:
        RelatedError: If it lacks a column, or a value is no number.
    """
    if not path.is_file():
        return pd.DataFrame({column: pd.Series(dtype=object) for column in COLUMNS})
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise RelatedError(f"{path} lacks the column {', '.join(missing)}; it has {list(table)}.")
    try:
        return table.assign(value=pd.to_numeric(table["value"]))
    except ValueError as fault:
        raise RelatedError(f"{path} holds a value that is no number: {fault}.") from fault


def keep_plan(folder: Path, study: Path, made_up: bool) -> None:
    """Puts plan and published numbers into the study's folder, and whether its data are phantoms.

    Args:
        folder: Holds `study.yaml`, and `published.csv` where something was published.
        study: The study's folder.
        made_up: Whether its radiographs are phantoms.

    Raises:
        RelatedError: If the study was begun with the other kind of radiographs.
    """
    kept = study / FOLDER
    known = read_json(kept / "data.json") if (kept / "data.json").is_file() else {}
    if known.get("made_up", made_up) != made_up:
        raise RelatedError(
            f"{study} was begun with {'real radiographs' if made_up else 'phantoms'}, and its runs "
            f"cannot go on with {'phantoms' if made_up else 'real radiographs'}. Choose another "
            "study folder."
        )
    for name in ("study.yaml", "published.csv"):
        if (folder / name).is_file():
            with whole_file(kept / name) as beside:
                beside.write_bytes((folder / name).read_bytes())
    write_json({"made_up": made_up}, kept / "data.json")


def read_related(study: Path) -> Related | None:
    """Reads what `keep_plan` left; None for a study of no other paper.

    Raises:
        RelatedError: As `load_related_study` and `load_published`.
        RunError: If `data.json` is no JSON object.
    """
    kept = study / FOLDER
    if not (kept / "data.json").is_file():
        return None
    return Related(
        plan=load_related_study(kept / "study.yaml"),
        published=load_published(kept / "published.csv"),
        made_up=read_json(kept / "data.json").get("made_up") is True,
    )
