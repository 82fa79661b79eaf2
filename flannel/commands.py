"""A program of several commands: importing only what one needs, and ending in plain sentences."""

import importlib
import sys
from collections.abc import Callable, Mapping

from flannel.errors import FlannelError
from flannel.signals import Stopped, heeding_signals


def speaks_plainly(command: Callable[[], int]) -> int:
    """Runs a command; an error of ours ends in its sentence and status 1, not in a traceback.

    A signal that asks the command to end does so in a sentence too, with the signal's status.
    """
    try:
        with heeding_signals():
            return command()
    except FlannelError as fault:
        print(f"error: {fault}", file=sys.stderr, flush=True)
        return 1
    except Stopped as stop:
        print(stop, file=sys.stderr, flush=True)
        return stop.status


def run_command(
    program: str, commands: Mapping[str, tuple[str, str, str]], arguments: list[str] | None
) -> int:
    """Runs one command of a program, importing only what that command needs.

    Args:
        program: The program's name, for its usage.
        commands: By name: module, function, and what it does. A function called `main` parses
            its own arguments; any other is a plain function whose options are its parameters.
        arguments: The command line; `sys.argv` when None.

    Returns:
        The exit status: 0, 1 for an error of ours, 2 for an unknown command, 128 and the number of
        a signal that ended it.
    """
    words = sys.argv[1:] if arguments is None else arguments
    wide = max(map(len, commands)) + 2
    listed = "\n".join(f"  {name:<{wide}}{text}" for name, (_, _, text) in commands.items())
    usage = f"usage: {program} COMMAND [--help] ...\n\n{listed}"
    if not words or words[0] in ("-h", "--help"):
        print(usage)
        return 0
    if words[0] not in commands:
        print(f"error: there is no command {words[0]!r}.\n{usage}", file=sys.stderr)
        return 2
    module, function, _ = commands[words[0]]
    return speaks_plainly(lambda: _call(module, function, program, words))


def _call(module: str, function: str, program: str, words: list[str]) -> int:
    command = getattr(importlib.import_module(module), function)
    if function == "main":
        # `lungs fit` is LightningCLI's own sub-command, `flannel learner fit` has it one further.
        return int(command(words if words[0] in ("fit", "validate", "test") else words[1:]))
    from jsonargparse import auto_cli

    auto_cli(
        command,
        args=words[1:],
        prog=f"{program} {words[0]}",
        allow_abbrev=False,
        as_positional=False,
    )
    return 0
