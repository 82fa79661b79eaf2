"""The stages that are plain functions: what `python -m flannel COMMAND` runs beside training.

Each reads the files that the stage before it left in the study folder, and says at the end where
its own results are.
"""

import contextlib
import importlib
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from flannel.runs import (
    QueuedRun,
    RunError,
    WandbMode,
    gpu_slots,
    speaks_plainly,
    wandb_mode,
    work_through,
)

ARMS = ("global", "patched")
Protocol = Literal["patient", "paper", "nested", "given", "leave-source-out"]
Mapping = Literal["flannel", "wide", "covid_qu_ex", "darkcovidnet", "covid_normal"]
Resize = Literal["stretch", "letterbox"]


def manifest(
    data: Path,
    study: Path = Path("runs/study"),
    protocol: Protocol = "patient",
    mapping: Mapping = "flannel",
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
        protocol: "patient" keeps patients and duplicates together, "paper" shuffles images as the
            original, "nested" rotates the test set too, "given" takes the source's own split,
            "leave-source-out" tests on each source in turn (docs/protocols.md).
        mapping: "flannel" labels as the original, "wide" takes all viral and bacterial findings;
            the others are those of studies with three or two classes (docs/data_sets.md).
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
    from flannel import __version__
    from flannel.data.cohort import import_run, one_image_per_key, read_lists
    from flannel.data.files import whole_file
    from flannel.data.folds import assign_folds
    from flannel.data.likeness import joined_near_duplicates
    from flannel.data.manifest import build_manifest
    from flannel.data.provenance import Choices, save_with_provenance
    from flannel.data.subset import balanced_subset
    from flannel.data.table_2 import table_2_markdown

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
    if near_duplicates and original is None:
        groups = table["group"].nunique()
        table["group"] = joined_near_duplicates(table, study / "hashes.csv")
        print(f"{groups - table['group'].nunique()} groups were joined for near duplicates")
    if selection == "one-per-key":
        table = one_image_per_key(table)
        print(f"{len(table)} radiographs with one Kaggle image per key")
    if per_class is not None:
        table = balanced_subset(table, per_class, seed)
        print(f"{len(table)} radiographs with at most {per_class} of each diagnosis")
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
        mapping=mapping,
        selection=selection if per_class is None else f"{selection}, {per_class} per class",
        near_duplicates=near_duplicates and original is None,
        run="" if original is None else run,
        version=__version__,
    )
    save_with_provenance(table, study / "manifest.csv", choices)
    with whole_file(study / "manifest.txt") as beside:
        beside.write_text(f"{report}\n", encoding="utf-8")
    print(f"manifest: {study / 'manifest.csv'}")


def store(
    study: Path = Path("runs/study"),
    size_px: int = 1024,
    resize: Resize = "stretch",
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
    """Writes `audit.html` and `audit.json`: counts, leaks, duplicates, what a cheat could use.

    Lung masks are used as far as the store has them: run it again after `make segment`.

    Args:
        study: The study folder, with manifest and store.
        seed: Of the forests that look for shortcuts.
    """
    from flannel.data.audit_page import write_audit

    page, remarks = write_audit(study, seed)
    for remark in remarks:
        print(f"{remark.weight}: {remark.text}")
    print(f"audit: {page} (it shows radiographs: do not publish it)")


def export_hdf5(
    out: Path, study: Path = Path("runs/study"), size_px: int = 224, mapping: Mapping = "flannel"
) -> None:
    """Writes the radiographs of a study into one HDF5 file, with patients, groups and splits.

    Args:
        out: The file, such as radiographs.h5.
        study: The study folder, with its manifest.
        size_px: Side of the images, which are stretched to a square.
        mapping: The mapping that the manifest was made with; it gives the order of the classes.
    """
    from flannel.data.findings import MAPPINGS
    from flannel.data.hdf5 import export_hdf5 as export
    from flannel.data.manifest import load_manifest

    manifest = load_manifest(study / "manifest.csv")
    left_out = export(manifest, out, size_px, MAPPINGS[mapping].label_set)
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


def base_models(
    study: Path = Path("runs/study"),
    fold: str = "0",
    arm: str = ",".join(ARMS),
    learner: str = "all",
    devices: int = 1,
    append: Path | None = None,
    experiments: Path = Path("experiments"),
    redo: bool = False,
    wandb: WandbMode | None = None,
) -> None:
    """Trains the base learners of a fold, one run per GPU at a time, or one on the CPU.

    Finished runs are skipped, killed ones continue, failed ones are named at the end.

    Args:
        study: The study folder, with manifest and store.
        fold: A fold, several with commas, or "all".
        arm: "global", "masked", "patched", or several with commas.
        learner: "all", or learners with commas.
        devices: GPUs per run; more than one trains by DDP with the recipe's batch kept.
        append: A folder whose YAML files are appended to the recipes, such as experiments/demo.
        experiments: The folder of the recipes.
        redo: Replace finished runs.
        wandb: Overrides WANDB_MODE.
    """
    folds = _folds(study) if fold == "all" else _numbers(fold)
    runs = []
    for number in folds:
        for one_arm in arm.split(","):
            for name in _learners(experiments, one_arm, learner):
                configs = base_configs(experiments, append, one_arm, name)
                options = [f"--study={study}", f"--data.fold={number}", f"--redo={redo}"]
                options += [f"--wandb={wandb}"] if wandb else []
                options += [f"--trainer.devices={devices}"] if devices > 1 else []
                runs.append(
                    QueuedRun(
                        f"{one_arm}/{name}/fold{number}",
                        ("learner", "fit", *_flags(configs), *options),
                        study / "base" / one_arm / name / f"fold{number}" / "log.txt",
                    )
                )
    importlib.import_module("flannel.learner")  # once here, not once in every run
    work_through(runs, _train, gpu_slots(devices))
    print(f"base learners: {study / 'base'}")


def ensembles(
    study: Path = Path("runs/study"),
    fold: str = "all",
    arm: str = "all",
    append: Path | None = None,
    experiments: Path = Path("experiments"),
    learners: str = "all",
    redo: bool = False,
    wandb: WandbMode | None = None,
) -> None:
    """Trains FLANNEL for every arm and fold that has its base predictions.

    Args:
        study: The study folder, with base predictions.
        fold: A fold, several with commas, or "all".
        arm: An arm of `experiments/ensemble`, several with commas, or "all".
        append: A folder whose `ensemble.yaml` is appended to the recipe.
        experiments: The folder of the recipes.
        learners: "all" of the recipe, or base learners with commas, for a partial study.
        redo: Replace finished ensembles.
        wandb: Overrides WANDB_MODE.

    Raises:
        RunError: If an arm that was asked for lacks predictions, or no arm has any.
    """
    from flannel.ensemble import EnsembleError, main

    folder = experiments / "ensemble"
    arms = _recipes(folder) if arm == "all" else arm.split(",")
    numbers = _folds(study) if fold == "all" else _numbers(fold)
    lacking: dict[str, list[str]] = {}
    for one_arm in arms:
        recipe = [folder / "_common.yaml", folder / f"{one_arm}.yaml"]
        if append is not None and (append / "ensemble.yaml").is_file():
            recipe.append(append / "ensemble.yaml")
        names = [n for n in _listed_learners(recipe[1]) if _wanted(n, learners)]
        for number in numbers:
            arguments = ["fit", *_flags(recipe), f"--study={study}", f"--data.fold={number}"]
            arguments += [f"--redo={redo}", f"--data.learners=[{','.join(names)}]"]
            arguments += [f"--wandb={wandb}"] if wandb else []
            place = study / "ensemble" / one_arm / f"fold{number}"
            news = io.StringIO()
            try:
                with contextlib.redirect_stdout(news):
                    main(arguments)
            except EnsembleError:
                if arm != "all":
                    raise
                lacking.setdefault(one_arm, []).append(str(number))
                continue
            *earlier, last = news.getvalue().splitlines()
            print(f"{one_arm}/fold{number}: {last}", flush=True)
            if earlier:  # it was trained now, not skipped
                (place / "log.txt").write_text(news.getvalue(), encoding="utf-8")
    if sum(map(len, lacking.values())) == len(arms) * len(numbers):
        raise RunError(
            f"No arm and fold of {study} has all its base predictions. Run `make base-models`."
        )
    for one_arm, folds in lacking.items():
        print(f"{one_arm}: no ensemble for fold {', '.join(folds)}, which lacks base predictions")
    print(f"ensembles: {study / 'ensemble'}")


def compare(
    study: Path = Path("runs/study"),
    learners: str = "all",
    wandb: WandbMode | None = None,
) -> None:
    """Writes tables, figures and `report.html` from the study's files, without a model.

    Args:
        study: The study folder, with predictions.
        learners: "all", or base learners with commas.
        wandb: Overrides WANDB_MODE.
    """
    from flannel.compare import compare_study

    chosen = None if learners == "all" else tuple(learners.split(","))
    compare_study(study, chosen, wandb or wandb_mode())


def phantoms(
    out: Path, images: int = 120, masks: int = 40, seed: int = 1, size_px: int = 512
) -> None:
    """Writes made-up radiographs in the layouts of the real sources, and a set of lung masks.

    Args:
        out: Folder to write to; it must not exist yet, or hold an earlier complete set.
        images: Radiographs, spread over the four diagnoses.
        masks: Pairs of radiograph and lung mask.
        seed: The same seed gives the same files.
        size_px: About the side of a phantom.
    """
    from flannel.data.sources import write_phantom_sources

    done = out / "phantoms.txt"
    settings = f"images {images}, masks {masks}, seed {seed}, size_px {size_px}\n"
    if out.exists():
        if not done.is_file() or done.read_text(encoding="utf-8") != settings:
            raise RunError(f"{out} exists and holds something else. Choose another folder.")
        print(f"phantoms are there: {out}")
        return
    beside = out.with_name(f".{out.name}")
    if beside.exists():
        shutil.rmtree(beside)
    write_phantom_sources(beside, images=images, masks=masks, seed=seed, size=size_px)
    (beside / "phantoms.txt").write_text(settings, encoding="utf-8")
    beside.rename(out)
    print(f"phantoms: {out}")


def _train(words: list[str]) -> int:
    """Runs `flannel learner ...` in a process of the queue."""
    from flannel.learner import main

    return speaks_plainly(lambda: main(words[1:]))


def base_configs(experiments: Path, append: Path | None, arm: str, learner: str) -> list[Path]:
    """Names the YAML files of a base run, in the order in which they are merged.

    The masked arm is the global recipe with `base/masked/_common.yaml` behind it. From `append`
    come base.yaml, base_ARM.yaml, base_LEARNER.yaml, as far as they exist.

    Raises:
        RunError: If the arm or the learner has no recipe.
    """
    recipe_arm = "global" if arm == "masked" else arm
    folder = experiments / "base" / recipe_arm
    configs = [folder / "_common.yaml", folder / f"{learner}.yaml"]
    if arm == "masked":
        configs.append(experiments / "base" / "masked" / "_common.yaml")
    for config in configs:
        if not config.is_file():
            raise RunError(
                f"There is no recipe {config}. Arms: global, masked, patched; learners: "
                f"{', '.join(_recipes(folder)) or 'none found'}. Run this from the project's root, "
                "or say --experiments."
            )
    if append is not None:
        if not append.is_dir():
            raise RunError(f"append is {append}, which is no folder.")
        extra = [append / f"{stem}.yaml" for stem in ("base", f"base_{arm}", f"base_{learner}")]
        configs += [config for config in extra if config.is_file()]
    return configs


def _learners(experiments: Path, arm: str, learner: str) -> Sequence[str]:
    folder = experiments / "base" / ("global" if arm == "masked" else arm)
    return (_recipes(folder) or [learner]) if learner == "all" else learner.split(",")


def _recipes(folder: Path) -> list[str]:
    """Names the YAML files of a folder, without the common one."""
    return sorted(path.stem for path in folder.glob("*.yaml") if not path.stem.startswith("_"))


def _listed_learners(recipe: Path) -> list[str]:
    import yaml

    if not recipe.is_file():
        known = ", ".join(_recipes(recipe.parent)) or "none found"
        raise RunError(f"There is no ensemble recipe {recipe}. Arms: {known}.")
    return list(yaml.safe_load(recipe.read_text(encoding="utf-8"))["data"]["learners"])


def _wanted(name: str, learners: str) -> bool:
    return learners == "all" or name.partition("/")[2] in learners.split(",")


def _folds(study: Path) -> list[int]:
    from flannel.data.manifest import load_manifest

    return sorted(load_manifest(study / "manifest.csv")["fold"].dropna().astype(int).unique())


def _numbers(fold: str) -> list[int]:
    try:
        return [int(number) for number in fold.split(",")]
    except ValueError:
        raise RunError(f"fold is {fold!r}; expected a number such as 0, or all.") from None


def _flags(configs: Sequence[Path]) -> list[str]:
    return [f"--config={config}" for config in configs]
