"""python -m segmentation COMMAND, or `lungs`: training, prediction and import of lung masks."""

import importlib
import sys

from flannel.runs import speaks_plainly

# command: (module, function, what it does). A function called `main` parses its own arguments.
COMMANDS = {
    "fit": ("segmentation.training", "main", "train a segmenter on image + lung-mask pairs"),
    "validate": ("segmentation.training", "main", "measure a checkpoint on the validation pairs"),
    "test": ("segmentation.training", "main", "measure a checkpoint on the test pairs"),
    "predict": ("segmentation.commands", "predict", "a mask for every radiograph of a study"),
    "import": ("segmentation.commands", "import_references", "take masks drawn by people instead"),
}


def usage() -> str:
    """Lists the commands."""
    lines = [f"  {name:<10} {text}" for name, (_, _, text) in COMMANDS.items()]
    return "usage: lungs COMMAND [--help] ...\n\n" + "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and gives its exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0
    if words[0] not in COMMANDS:
        print(f"error: there is no command {words[0]!r}.\n{usage()}", file=sys.stderr)
        return 2
    module, function, _ = COMMANDS[words[0]]
    return speaks_plainly(lambda: _run(module, function, words))


def _run(module: str, function: str, words: list[str]) -> int:
    command = getattr(importlib.import_module(module), function)
    if function == "main":
        return int(command(words))
    from jsonargparse import auto_cli

    auto_cli(
        command, args=words[1:], prog=f"lungs {words[0]}", allow_abbrev=False, as_positional=False
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
