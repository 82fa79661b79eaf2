"""Where the radiographs and lung masks of a related study come from, or what stands for them."""

from pathlib import Path

from flannel.commands.recipes import config_flags
from flannel.comparison.related import RelatedStudy
from flannel.data.hdf5 import export_hdf5, unpack_hdf5
from flannel.data.manifest import build_manifest
from flannel.data.sources import mask_pairs
from flannel.data.sources.twins import write_twins
from flannel.errors import RunError
from flannel.files import digest_of, sha256_of, write_folder_once

HDF5_SUFFIXES = (".h5", ".hdf5")


def phantom_data(plan: RelatedStudy, study: Path) -> Path:
    """Writes the study's phantom twin, once."""
    twin, out = plan.phantoms, study / "phantoms"
    write_folder_once(
        out,
        f"{twin.images}, size_px {twin.size_px}, seed {plan.seed}",
        lambda folder: write_twins(folder, twin.images, plan.seed, twin.size_px),
    )
    return out


def through_hdf5(plan: RelatedStudy, data: Path, study: Path) -> Path:
    """Puts the radiographs into one shuffled HDF5 file, and out of it again (paper 003, Section 3).

    Returns:
        A folder of the radiographs as the file holds them.
    """
    if data.suffix.lower() in HDF5_SUFFIXES:
        content = sha256_of(data)
        place = study / "hdf5" / digest_of(content)
        write_folder_once(place, content, lambda folder: _said(unpack_hdf5(data, folder), data))
        return place
    table, report = build_manifest(data, mapping=plan.mapping, cache=study / "hdf5" / "files.csv")
    print(report)
    content = digest_of([plan.hdf5_px, plan.seed, plan.mapping, sorted(table["image_id"])])
    place, file = study / "hdf5" / content, study / "hdf5" / f"{content}.h5"

    def write(folder: Path) -> None:
        size_px = plan.hdf5_px or 0
        left_out = export_hdf5(table, file, tuple(report.colours), size_px, plan.seed)
        print(*[f"left out: {sentence}" for sentence in left_out], sep="\n", end="")
        _said(unpack_hdf5(file, folder), file)

    write_folder_once(place, content, write)
    return place


def _said(count: int, file: Path) -> None:
    print(f"{count} radiographs in {file}", flush=True)


def lung_masks(
    plan: RelatedStudy,
    data: Path,
    study: Path,
    masks: Path | None,
    checkpoint: Path | None,
    append: Path | None,
    made_up: bool,
    experiments: Path,
) -> None:
    """Gets the lung masks of the study's radiographs from where the plan says.

    Raises:
        RunError: If the plan has none, or a segmenter has nothing to learn from.
    """
    from segmentation.commands import import_references, predict
    from segmentation.training.runs import main as train_segmenter

    if plan.masks == "none":
        raise RunError(
            "The study has arms that need lung masks, and its study.yaml says masks: none. Say "
            "set or segmenter there."
        )
    if plan.masks == "set":
        import_references(study, data)
        return
    if masks is None and checkpoint is None:
        if not made_up:
            raise RunError(
                "The study's arms need lung masks. Say what a segmenter learns them from "
                "(--masks folder, MASKS=), or name a trained one (--segmenter file, CKPT=)."
            )
        masks = _phantom_masks(plan, study)
    if masks is not None:
        segmenter = plan.phantoms.segmenter if made_up else plan.segmenter
        recipe = experiments / "segmentation" / f"{segmenter}.yaml"
        extra = [] if append is None else [append / "segmentation.yaml"]
        configs = [recipe, *(config for config in extra if config.is_file())]
        places = (f"--data.folder={masks}", f"--study={study}")
        train_segmenter(["fit", *config_flags(configs), *places])
        checkpoint = study / "segmentation" / segmenter / "best.ckpt"
    predict([], study, checkpoint)


def _phantom_masks(plan: RelatedStudy, study: Path) -> Path:
    """Writes made-up pairs of radiograph and lung mask, once."""
    twin, out = plan.phantoms, study / "phantom_masks"
    write_folder_once(
        out,
        f"masks {twin.masks}, size_px {twin.size_px}, seed {plan.seed}",
        lambda folder: mask_pairs.write_phantoms(folder, twin.masks, plan.seed, twin.size_px),
    )
    return out
