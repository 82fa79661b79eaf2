"""python -m flannel COMMAND: the stages after segmentation. Torch is imported inside a command."""

import importlib
import sys

from flannel.runs import speaks_plainly

# command: (module, function, what it does). A function called `main` parses its own arguments.
COMMANDS = {
    "manifest": ("flannel.stages", "manifest", "raw sources -> manifest.csv with splits and folds"),
    "store": ("flannel.stages", "store", "radiographs of the manifest -> memory-mapped arrays"),
    "learner": ("flannel.learner", "main", "fit | validate | test one base learner"),
    "base-models": ("flannel.stages", "base_models", "the base learners of a fold, over all GPUs"),
    "ensemble": ("flannel.ensemble", "main", "fit | validate | test one ensemble"),
    "ensembles": ("flannel.stages", "ensembles", "FLANNEL for every arm and fold that can have it"),
    "compare": ("flannel.stages", "compare", "tables, figures and report.html"),
    "phantoms": ("flannel.stages", "phantoms", "made-up radiographs in the layout of real ones"),
}


def usage() -> str:
    """Lists the commands."""
    lines = [f"  {name:<12} {text}" for name, (_, _, text) in COMMANDS.items()]
    return "usage: flannel COMMAND [--help] ...\n\n" + "\n".join(lines)


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
    return speaks_plainly(lambda: _run(module, function, words[0], words[1:]))


def _run(module: str, function: str, name: str, words: list[str]) -> int:
    command = getattr(importlib.import_module(module), function)
    if function == "main":
        return int(command(words))
    from jsonargparse import auto_cli

    auto_cli(command, args=words, prog=f"flannel {name}", allow_abbrev=False, as_positional=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
