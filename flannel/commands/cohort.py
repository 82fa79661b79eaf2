"""From raw sources to a cohort: manifest, store, audit, exchange with other programs, phantoms."""

from pathlib import Path
from typing import Literal

from flannel.data.choices import Protocol, Squaring
from flannel.errors import LARGEST_SEED, RunError, check_range
from flannel.files import write_folder_once

LARGEST_PX = 8192
"""Side of the largest radiographs that are stored or drawn, in pixels."""


def manifest(
    data: Path,
    study: Path = Path("runs/study"),
    protocol: Protocol = "patient",
    mapping: str = "flannel",
    folds: int = 5,
    seed: int = 1,
    strict: bool = False,
    near_duplicates: bool = True,
    allow_absent: bool = False,
    selection: Literal["all", "one-per-key"] = "all",
    per_class: int | None = None,
    lists: Path | None = None,
    run: Literal["original", "patched"] = "original",
) -> None:
    """Finds the radiographs of known sources and writes `manifest.csv`, with splits and folds.

    What was chosen is written to `manifest.json`, what was left out to `manifest.txt`, and
    `files.csv` remembers the files, so that the next call reads only what changed.

    Args:
        data: Folder that holds the downloaded data sets.
        study: The study folder.
        protocol: "patient" keeps patients and duplicates together; "paper" shuffles images as the
            original; "nested" rotates the test set too; "given" takes the source's own split, and
            so does "patient" where a table has the column fold.
            "leave-source-out" tests on each source in turn; "external" on all there is, without
            folds, for `flannel evaluate` (docs/protocols.md).
        mapping: "flannel" labels as the original, "wide" takes all viral and bacterial findings;
            covid_qu_ex, darkcovidnet and covid_normal are those of studies with three or two
            classes. "folders" takes the names of class folders, or the column of a table, for the
            diagnoses; a CSV table with the columns finding and diagnosis translates them
            (docs/data_sets.md).
        folds: Number of validation folds.
        seed: Of the protocol's shuffling.
        strict: Refuse the cohort when a file is unreadable, instead of listing it.
        near_duplicates: Also keep radiographs together that are the same picture in two files;
            every file is decoded for it, once.
        allow_absent: With leave-source-out, test also on diagnoses that no other source has.
        selection: "one-per-key" keeps one Kaggle image per key, as the FLANNEL paper of 2020.
        per_class: Keep at most so many radiographs of each diagnosis, drawn with the seed, as
            paper 002 does.
        lists: With protocol given: the original lists of paper 004, whose folds are imported.
        run: With lists: whose folds, those of the whole radiographs or of the patches.

    Raises:
        RunError: If lists are given with another protocol than "given", or with a selection.
    """
    check_range(0, seed=seed)
    check_range(1, per_class=per_class)
    check_range(2, folds=folds)
    from flannel import __version__
    from flannel.data.folds import assign_folds, gives_folds
    from flannel.data.likeness import joined_near_duplicates
    from flannel.data.manifest import build_manifest
    from flannel.data.original_cohorts import (
        balanced_subset,
        import_run,
        one_image_per_key,
        read_lists,
        table_2_markdown,
    )
    from flannel.data.provenance import (
        Choices,
        flow_of,
        save_with_provenance,
        with_earlier_splits,
    )
    from flannel.files import whole_file

    if lists is not None and (protocol != "given" or selection != "all" or per_class):
        raise RunError(
            f"lists are {lists}, protocol {protocol}, selection {selection} and per_class "
            f"{per_class}; lists bring their own folds and rows: say --protocol given and leave "
            "selection and per_class out."
        )
    original = None if lists is None else read_lists(lists)
    cache = study / "files.csv"
    table, report = build_manifest(data, mapping=mapping, strict=strict, cache=cache)
    print(report)
    copies = 0
    if near_duplicates and original is None:
        groups = table["group"].nunique()
        table["group"] = joined_near_duplicates(table, study / "hashes.csv")
        copies = groups - table["group"].nunique()
        print(f"{copies} groups were joined for near duplicates")
    labelled = len(table)
    if selection == "one-per-key":
        table = one_image_per_key(table)
        print(f"{len(table)} radiographs with one Kaggle image per key")
    if per_class is not None:
        table = balanced_subset(table, per_class, seed)
        print(f"{len(table)} radiographs with at most {per_class} of each diagnosis")
    if original is None and gives_folds(table):
        used = protocol in ("patient", "given")
        protocol = "given" if used else protocol
        print(f"The table's own folds are {'taken' if used else 'not used'}: protocol {protocol}.")
    if original is None:
        table = assign_folds(table, protocol, seed=seed, folds=folds, allow_absent=allow_absent)
    else:
        table, fitted = import_run(table, original, run)
        print(fitted)
        with whole_file(study / "table_2.md") as beside:
            beside.write_text(table_2_markdown(table), encoding="utf-8")
        print(f"table 2: {study / 'table_2.md'}")
    choices = Choices(
        protocol=protocol,
        seed=seed,
        mapping=Path(mapping).name,
        selection=selection if per_class is None else f"{selection}, {per_class} per class",
        near_duplicates=near_duplicates and original is None,
        run="" if original is None else run,
        version=__version__,
    )
    table, remark = with_earlier_splits(table, study / "manifest.csv", choices)
    if remark:
        print(remark)
    # Imported lists may hold a radiograph twice, under two labels.
    flow = flow_of(report, max(0, labelled - len(table)), copies)
    save_with_provenance(table, study / "manifest.csv", choices, flow, report.colours)
    with whole_file(study / "manifest.txt") as beside:
        beside.write_text(f"{report.text()}\n", encoding="utf-8")
    print(f"manifest: {study / 'manifest.csv'}")


def store(
    study: Path = Path("runs/study"),
    size_px: int = 1024,
    resize: Squaring = "stretch",
    renew: bool = False,
    strict: bool = False,
) -> None:
    """Decodes every radiograph of the manifest once, into memory-mapped arrays.

    A killed command goes on where it was. Changed and added radiographs are decoded, the others
    taken over. One store serves both preparations, plain and equalised with gamma.

    Args:
        study: The study folder, with `manifest.csv`.
        size_px: Side of the stored radiographs; 1024 in paper 004.
        resize: "stretch" ignores the aspect, as the paper; "letterbox" keeps it, with zeros beside
            the radiograph, which are never lung.
        renew: Replace a store of another size or resize, or with radiographs that the manifest
            lacks, which is refused otherwise.
        strict: Refuse when a radiograph cannot be read, instead of listing it.
    """
    check_range(1, LARGEST_PX, size_px=size_px)
    from flannel.data.manifest import load_manifest
    from flannel.data.store import build_store

    table = load_manifest(study / "manifest.csv")
    print(
        build_store(
            table, study / "store", size_px=size_px, resize=resize, renew=renew, strict=strict
        )
    )
    print(f"store: {study / 'store'}")


def audit(study: Path = Path("runs/study"), seed: int = 1) -> None:
    """Writes `audit.html` and `audit.json`: counts, leaks, duplicates, shortcuts.

    Lung masks are used as far as the store has them: run it again after `make segment`.

    Args:
        study: The study folder, with manifest and store.
        seed: Of the forests that look for shortcuts.
    """
    check_range(0, LARGEST_SEED, seed=seed)
    from flannel.data.audit.page import write_audit

    page, remarks = write_audit(study, seed)
    for remark in remarks:
        print(f"{remark.weight}: {remark.text}")
    print(f"audit: {page} (it shows radiographs: do not publish it)")


def export_hdf5(
    out: Path,
    study: Path = Path("runs/study"),
    size_px: int = 224,
    shuffle_seed: int | None = None,
) -> None:
    """Writes the radiographs of a study into one HDF5 file, with patients, groups and splits.

    Args:
        out: The file, such as radiographs.h5.
        study: The study folder, with its manifest.
        size_px: Side of the images, which are stretched to a square.
        shuffle_seed: Shuffle images and labels together, as paper 003 does.
    """
    check_range(0, LARGEST_SEED, shuffle_seed=shuffle_seed)
    from flannel.data.hdf5 import export_hdf5 as export
    from flannel.data.manifest import load_manifest
    from flannel.data.provenance import label_set_of

    manifest = load_manifest(study / "manifest.csv")
    left_out = export(manifest, out, label_set_of(study), size_px, shuffle_seed)
    for sentence in left_out:
        print(f"left out: {sentence}")
    print(f"HDF5 file: {out}")


def unpack_hdf5(file: Path, out: Path) -> None:
    """Writes the images of an HDF5 file as PNG, with a `radiographs.csv`: a source like any other.

    Args:
        file: With `images` and `labels`, as paper 003 keeps its data, or as `export-hdf5` writes.
        out: A new folder, to be given to make data.
    """
    from flannel.data.hdf5 import unpack_hdf5 as unpack

    print(f"{unpack(file, out)} radiographs in {out}")


def phantoms(
    out: Path, images: int = 120, masks: int = 40, seed: int = 1, size_px: int = 512
) -> None:
    """Writes phantom radiographs in the layouts of the real sources, and a set of lung masks.

    Args:
        out: Folder to write to; it must not exist yet, or hold an earlier complete set.
        images: Radiographs, spread over the four diagnoses.
        masks: Pairs of radiograph and lung mask.
        seed: The same seed gives the same files.
        size_px: About the side of a phantom.
    """
    check_range(1, images=images)
    check_range(0, masks=masks, seed=seed)
    check_range(8, LARGEST_PX, size_px=size_px)
    from flannel.data.sources import write_phantom_sources

    settings = f"images {images}, masks {masks}, seed {seed}, size_px {size_px}"
    made = write_folder_once(
        out,
        settings,
        lambda folder: write_phantom_sources(
            folder, images=images, masks=masks, seed=seed, size=size_px
        ),
    )
    print(f"phantoms: {out}" if made else f"phantoms are there: {out}")
