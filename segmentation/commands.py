"""The commands of `lungs` that are plain functions."""

from pathlib import Path
from typing import Literal


def predict(
    study: Path | None = None,
    images: Path | None = None,
    checkpoint: Path | None = None,
    out: Path | None = None,
    batch_size: int = 4,
    clean: bool = True,
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true",
    redo: bool = False,
) -> None:
    """Predicts a lung mask for every radiograph of a study, or of a folder.

    Args:
        study: The study's folder; its manifest names the radiographs, unless `images` does.
        images: A folder of radiographs, instead of those of the manifest.
        checkpoint: A best.ckpt with its config.yaml beside it; the study's only one by default.
        out: Folder of the masks; the study's masks/ or, for a folder of radiographs, ./masks by
            default.
        batch_size: Radiographs the network sees at once.
        clean: Keep the two largest parts of each mask and fill their holes.
        precision: Arithmetic; bf16-mixed is quicker on recent CPUs and GPUs, 16-mixed on a V100.
        redo: Make every mask anew, in place of imported references too.
    """
    from segmentation.checkpoint import find_checkpoint, load_segmenter
    from segmentation.masks import MaskError
    from segmentation.predict import predict_masks, radiographs_of_folder, radiographs_of_study

    if images is not None:
        radiographs, folder = radiographs_of_folder(images), out or Path("masks")
    elif study is not None:
        radiographs, folder = radiographs_of_study(study), out or study / "masks"
    else:
        raise MaskError("Name the study, or a folder of images, whose masks are wanted.")
    if checkpoint is None:
        if study is None:
            raise MaskError("Name a checkpoint, or the study that has trained one.")
        checkpoint = find_checkpoint(study)
    segmenter = load_segmenter(checkpoint)
    print(predict_masks(radiographs, segmenter, folder, batch_size, clean, precision, redo))
    if study is not None and folder == study / "masks":
        _fill_store(study)


def import_references(study: Path, folder: Path) -> None:
    """Takes reference masks, drawn by people, into a study in place of predicted ones.

    Args:
        study: The study's folder.
        folder: Masks named like the radiographs, also in sub-folders, at the radiographs' size.
    """
    from segmentation.references import import_masks

    print(import_masks(study, folder))
    _fill_store(study)


def _fill_store(study: Path) -> None:
    """Brings the masks into the study's store, where there is one."""
    from flannel.data.manifest import load_manifest
    from flannel.data.store import fill_lung_masks

    if (study / "store").is_dir():
        manifest = load_manifest(study / "manifest.csv")
        print(fill_lung_masks(study / "store", study / "masks", manifest))
