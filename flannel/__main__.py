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
    "manifest": (COHORT, "manifest", "raw sources -> manifest.csv with splits and folds"),
    "store": (COHORT, "store", "radiographs of the manifest -> memory-mapped arrays"),
    "audit": (COHORT, "audit", "audit.html: counts, leaks, what a cheat could use"),
    "export-hdf5": (COHORT, "export_hdf5", "the radiographs of a study in one HDF5 file"),
    "unpack-hdf5": (COHORT, "unpack_hdf5", "an HDF5 file -> a folder for make data"),
    "learner": ("flannel.learners.learner", "main", "fit | validate | test one base learner"),
    "base-models": (BASE_MODELS, "base_models", "the base learners of a fold, over all GPUs"),
    "ensemble": ("flannel.ensemble.ensemble", "main", "fit | validate | test one ensemble"),
    "baseline": (
        "flannel.ensemble.baselines",
        "main",
        "best learner, mean, vote or regression of one fold",
    ),
    "ensembles": (ENSEMBLES, "ensembles", "FLANNEL and baselines for every arm and fold that can"),
    "cheats": (COMPARISON, "cheats", "forests that see no lung, on the study's own folds"),
    "compare": (COMPARISON, "compare", "tables, figures and report.html"),
    "predict": ("flannel.commands.prediction", "main", "radiographs -> diagnoses and pictures"),
    "app": ("flannel.commands.app", "app", "a page to try a study on, for this machine only"),
    "saliency": (
        "flannel.commands.saliency",
        "saliency",
        "where base learners find their diagnoses, checked",
    ),
    "dashboard": (COMPARISON, "dashboard", "the W&B workspace of a study"),
    "patches": (
        COMPARISON,
        "patches",
        "how many patches it takes, from those that runs kept",
    ),
    "bundle": (BUNDLES, "bundle", "what a fold has trained in one folder, to hand on"),
    "export-onnx": (BUNDLES, "export_onnx", "its networks as ONNX, for other programs"),
    "evaluate": ("flannel.commands.evaluation", "evaluate", "tables and report on another cohort"),
    "related": ("flannel.commands.related", "related", "a study of another paper, to its document"),
    "demo": ("flannel.commands.demo", "demo", "the whole way on made-up radiographs, to a report"),
    "phantoms": (COHORT, "phantoms", "made-up radiographs in the layout of real ones"),
}


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and gives its exit status."""
    return run_command("flannel", COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())
