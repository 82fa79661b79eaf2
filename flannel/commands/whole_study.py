"""All stages of a study in a row, by one command."""

from functools import partial
from pathlib import Path

from flannel.commands.base_models import ARMS, base_models
from flannel.commands.cohort import audit, manifest, store
from flannel.commands.comparison import compare, shortcuts
from flannel.commands.ensembles import FORMS, ensembles
from flannel.commands.recipes import RECIPES, check_appended, config_flags
from flannel.data.choices import Protocol, Squaring
from flannel.errors import RunError
from flannel.runs.queue import apart
from flannel.runs.run import WandbMode


def whole_study(
    data: Path,
    study: Path = Path("runs/study"),
    masks: Path | None = None,
    segmenter: Path | None = None,
    lungs: str = "fc_densenet103",
    fold: str = "0",
    arm: str = ",".join(ARMS),
    learner: str = "all",
    form: str = FORMS,
    protocol: Protocol = "patient",
    mapping: str = "flannel",
    seed: int = 1,
    size_px: int = 1024,
    resize: Squaring = "stretch",
    devices: int = 1,
    append: Path | None = None,
    experiments: Path = RECIPES,
    redo: bool = False,
    wandb: WandbMode | None = None,
) -> None:
    """Runs a study from raw radiographs to the report: cohort, masks, learners, ensembles, tables.

    Finished stages and runs are skipped, and interrupted ones continue.

    Args:
        data: Folder of the data sets.
        study: The study folder.
        masks: Pairs of radiograph and lung mask from which a segmenter learns; when None the one
            that comes with the package is used.
        segmenter: A best.ckpt of a trained segmenter instead, with its config.yaml beside it.
        lungs: The segmenter's recipe, in `experiments/segmentation`.
        fold: A fold, several with commas, or "all".
        arm: Arms of the base learners, with commas; each one that has all predictions gets
            ensembles.
        learner: "all" five, or learners with commas, of any folder of `experiments/base`.
        form: Forms of the ensemble and baselines, with commas, or "all".
        protocol: How radiographs are split.
        mapping: Which finding is which diagnosis, or "folders" for classes of your own.
        seed: Of the folds.
        size_px: Side of the store's radiographs.
        resize: How radiographs become square.
        devices: GPUs per run.
        append: A folder whose YAML files are appended to the recipes.
        experiments: The folder of the recipes; by default those that come with the package.
        redo: Replace finished runs.
        wandb: Overrides WANDB_MODE.

    Raises:
        RunError: If there is no such recipe, or a run failed.
    """
    recipe = experiments / "segmentation" / f"{lungs}.yaml"
    if masks is not None and not recipe.is_file():
        raise RunError(f"There is no recipe {recipe}. Give another name with --lungs.")
    check_appended(append, experiments)
    manifest(data, study, protocol, mapping, seed=seed)
    store(study, size_px, resize)
    extra = [] if append is None else [append / "segmentation.yaml"]
    recipes = [recipe, *(config for config in extra if config.is_file())]
    apart(partial(_masks, study, masks, segmenter, lungs, recipes, redo))
    apart(partial(audit, study))
    base_models(
        study, fold, arm, learner, devices=devices, append=append, experiments=experiments,
        redo=redo, wandb=wandb,
    )  # fmt: skip
    ensembles(
        study, fold, form=form, append=append, experiments=experiments, learner=learner, redo=redo,
        wandb=wandb,
    )  # fmt: skip
    shortcuts(study)
    compare(study, learner, wandb=wandb)


def _masks(
    study: Path,
    masks: Path | None,
    segmenter: Path | None,
    lungs: str,
    recipes: list[Path],
    redo: bool,
) -> None:
    """Trains the segmenter where there are pairs to learn from, and writes all masks."""
    from segmentation.commands import predict
    from segmentation.training.runs import main as train_segmenter

    if masks is not None:
        words = (f"--data.folder={masks}", f"--study={study}", f"--redo={redo}")
        status = train_segmenter(["fit", *config_flags(recipes), *words])
        if status:
            raise RunError(f"The lung segmenter {lungs} could not be trained; see above.")
        segmenter = segmenter or study / "segmentation" / lungs / "best.ckpt"
    predict([], study, segmenter)
