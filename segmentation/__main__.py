"""python -m segmentation COMMAND, or `lungs`: training, prediction and import of lung masks."""

import sys

from flannel.runs.program import run_command

# command: (module, function, what it does). A function called `main` parses its own arguments.
COMMANDS = {
    "fit": ("segmentation.training.runs", "main", "train a segmenter on image + lung-mask pairs"),
    "validate": (
        "segmentation.training.runs",
        "main",
        "measure a checkpoint on the validation pairs",
    ),
    "test": ("segmentation.training.runs", "main", "measure a checkpoint on the test pairs"),
    "predict": ("segmentation.commands", "main", "a mask for each radiograph of a study or folder"),
    "compare": ("segmentation.commands", "compare", "the segmenters of a study in one table"),
    "import": ("segmentation.commands", "import_references", "take masks drawn by people instead"),
}


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and gives its exit status."""
    return run_command("lungs", COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())
