"""The commands of `lungs` beside training."""

from pathlib import Path
from typing import Literal

from flannel.errors import check_range


def main(arguments: list[str]) -> int:
    """Runs `lungs predict`, whose radiographs are named without an option."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(
        prog="lungs predict",
        description="Predicts a lung mask for every radiograph of a study, or of folders.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "images",
        nargs="*",
        type=Path,
        default=[],
        help="Folders of radiographs, with their sub-folders, and single files.",
    )
    parser.add_function_arguments(predict, skip={"images"})
    values = parser.parse_args(arguments).as_dict()
    predict(**values)
    return 0


def predict(
    images: list[Path],
    study: Path | None = None,
    segmenter: Path | None = None,
    out: Path | None = None,
    batch_size: int = 4,
    clean: bool = True,
    flip: bool = False,
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "32-true",
    devices: int | None = None,
    overlays: bool = False,
    redo: bool = False,
) -> None:
    """Predicts a lung mask for every radiograph of a study, or of folders.

    Args:
        images: Folders of radiographs, and single files, instead of those of the study.
        study: The study's folder; its manifest names the radiographs.
        segmenter: A best.ckpt with its config.yaml beside it; by default the study's only one, or
            the segmenter that comes with the package.
        out: Folder of the masks; the study's masks/ or, for folders of radiographs, ./masks by
            default.
        batch_size: Radiographs per batch.
        clean: Keep the two largest parts of each mask and fill their holes.
        flip: Average with the prediction of the mirrored radiograph; takes twice as long.
        precision: Arithmetic; float32 gives the same masks on every machine but for single pixels,
            auto takes the fastest that this machine computes natively.
        devices: GPUs, or processes that share the CPU; all GPUs by default.
        overlays: Draw each mask on its radiograph, into overlays/ beside the masks.
        redo: Predict every mask again, imported reference masks too.
    """
    from flannel.runs.arithmetic import emulation

    check_range(1, batch_size=batch_size, devices=devices)
    from segmentation import shipped
    from segmentation.checkpoint import MaskError, find_checkpoint, load_segmenter
    from segmentation.masks.devices import all_devices, device_of
    from segmentation.masks.pipeline import MaskOptions
    from segmentation.masks.predict import predict_masks
    from segmentation.masks.radiograph_files import radiographs_of, radiographs_of_study

    faults: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()
    if images:
        folder = out or Path("masks")
        files = radiographs_of(images, folder)
        radiographs, faults, passed_over = list(files.files), files.faults, files.passed_over
    elif study is not None:
        folder = out or study / "masks"
        radiographs = radiographs_of_study(study)
    else:
        raise MaskError("Name a folder of radiographs, or the study, whose masks are wanted.")
    if segmenter is None:
        segmenter = shipped.WEIGHTS if study is None else find_checkpoint(study)
    if shipped.is_shipped(segmenter):
        print(shipped.NOTE, flush=True)
    slow = emulation(precision, device_of(0))
    if slow:
        print(slow, flush=True)
    report = predict_masks(
        radiographs,
        load_segmenter(segmenter),
        folder,
        batch_size,
        MaskOptions(clean, flip, precision),
        redo,
        all_devices() if devices is None else devices,
        overlays,
    )
    report.faults[:0] = faults
    report.passed_over += passed_over
    print(report)
    if study is not None and folder == study / "masks":
        _fill_store(study)


def import_references(study: Path, folder: Path) -> None:
    """Takes reference masks, drawn by people, into a study in place of predicted ones.

    Args:
        study: The study's folder.
        folder: A set of radiographs with masks that the study was made from, or masks named like
            the radiographs, also in sub-folders; at the radiographs' size.
    """
    from segmentation.masks.references import import_masks

    print(import_masks(study, folder))
    _fill_store(study)


def compare(
    study: Path,
    against: str | None = None,
    rounds: int = 5,
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "32-true",
) -> None:
    """Puts the segmenters that a study has trained into one table.

    Args:
        study: The study's folder; the table goes to segmentation/comparison.md and .csv in it.
        against: The run that the others are compared with; the first by name by default.
        rounds: Timed batches of each network, taking turns; 0 measures no speed.
        precision: Arithmetic of the timed networks.
    """
    check_range(0, rounds=rounds)
    from segmentation.training.comparison import compare_segmenters, save_comparison

    folder = study / "segmentation"
    print(save_comparison(compare_segmenters(study, against, rounds, precision=precision), folder))
    print(f"table: {folder / 'comparison.md'}")


def _fill_store(study: Path) -> None:
    """Brings the masks into the study's store, where there is one."""
    from flannel.data.manifest import load_manifest
    from flannel.data.store import fill_lung_masks

    if (study / "store").is_dir():
        manifest = load_manifest(study / "manifest.csv")
        print(fill_lung_masks(study / "store", study / "masks", manifest))
