"""python -m flannel COMMAND: the stages after segmentation. Torch is imported inside a command."""

import sys

from flannel.runs.program import run_command

COHORT = "flannel.commands.cohort"
BASE_MODELS = "flannel.commands.base_models"
ENSEMBLES = "flannel.commands.ensembles"
COMPARISON = "flannel.commands.comparison"
BUNDLES = "flannel.commands.bundles"

# command: (module, function, what it does). A function called `main` parses its own arguments.
COMMANDS = {
    "study": ("flannel.commands.whole_study", "whole_study", "all stages in a row"),
    "manifest": (COHORT, "manifest", "raw sources -> manifest.csv with splits and folds"),
    "store": (COHORT, "store", "radiographs of the manifest -> memory-mapped arrays"),
    "audit": (COHORT, "audit", "audit.html: counts, leaks, shortcuts"),
    "export-hdf5": (COHORT, "export_hdf5", "the radiographs of a study in one HDF5 file"),
    "unpack-hdf5": (COHORT, "unpack_hdf5", "an HDF5 file -> a folder for make data"),
    "learner": ("flannel.learners.learner", "main", "fit | validate | test one base learner"),
    "base-models": (BASE_MODELS, "base_models", "the base learners of a fold, one run per GPU"),
    "ensemble": ("flannel.ensemble.ensemble", "main", "fit | validate | test one ensemble"),
    "baseline": (
        "flannel.ensemble.baselines",
        "main",
        "best learner, mean, vote or regression of one fold",
    ),
    "ensembles": (ENSEMBLES, "ensembles", "FLANNEL and baselines for every arm and fold"),
    "shortcuts": (COMPARISON, "shortcuts", "shortcut baselines: forests that see no lung pixels"),
    "compare": (COMPARISON, "compare", "tables, figures and report.html"),
    "predict": ("flannel.commands.prediction", "main", "radiographs -> diagnoses and pictures"),
    "app": ("flannel.commands.app", "app", "a page on this machine to try a study"),
    "saliency": (
        "flannel.commands.saliency",
        "saliency",
        "Grad-CAM of the base learners, with two checks",
    ),
    "dashboard": (COMPARISON, "dashboard", "the W&B workspace of a study"),
    "patches": (
        COMPARISON,
        "patches",
        "how many patches are needed, from finished runs",
    ),
    "bundle": (BUNDLES, "bundle", "the networks of a fold in one folder, to share"),
    "export-onnx": (BUNDLES, "export_onnx", "the networks as ONNX, for other programs"),
    "evaluate": ("flannel.commands.evaluation", "evaluate", "tables and report on another cohort"),
    "related": ("flannel.commands.related", "related", "a study of another paper, with its report"),
    "demo": ("flannel.commands.demo", "demo", "the whole study on phantom radiographs"),
    "phantoms": (COHORT, "phantoms", "phantom radiographs in the layouts of real sets"),
}


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and gives its exit status."""
    return run_command("flannel", COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())
