"""A program of several commands: importing only what one needs, and ending in plain sentences."""

import contextlib
import gc
import importlib
import io
import os
import select
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

from flannel import __version__
from flannel.errors import sentence_of, with_causes
from flannel.runs.run import wandb_mode
from flannel.runs.signals import Stopped, heeding_signals

RENAMED = {"--learners": "--learner", "--checkpoint": "--segmenter"}
"""Options by the names that they had before, and have now."""
RENAMED_COMMANDS = {"cheats": "shortcuts"}
"""The same of commands."""
BROKEN_PIPE = 141
"""The exit status that shells give a program whose reader went away: 128 and SIGPIPE."""


def speaks_plainly(command: Callable[[], int]) -> int:
    """Runs a command; what a user can mend ends in a sentence and status 1, not in a traceback.

    A signal that asks the command to end does so in a sentence too, with the signal's status. Where
    nobody reads the output any more, as behind `| head`, it ends without a word.
    """
    _prepare_screens()
    try:
        with heeding_signals():
            try:
                status = command()
            except SystemExit:  # of a parser that has printed its help
                sys.stdout.flush()
                raise
            sys.stdout.flush()
            return status
    except Stopped as stop:
        _tell(str(stop))
        return stop.status
    except Exception as fault:
        unread = isinstance(fault, BrokenPipeError) and _nobody_reads(sys.stdout)
        _silence_if_lost(sys.stdout)
        if unread:
            return BROKEN_PIPE
        sentence = sentence_of(fault)
        if sentence is None:
            raise
        _let_go(fault)
        _tell(f"error: {sentence}")
        return 1


def _prepare_screens() -> None:
    """Lets the screens show any text, whatever their encoding, and none be missing."""
    for name in ("stdout", "stderr"):
        screen = getattr(sys, name)
        if screen is None:  # closed by who started the program
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(screen, io.TextIOWrapper):
            screen.reconfigure(errors="backslashreplace")


def _let_go(fault: BaseException) -> None:
    """Ends what an error still holds; half-made objects of libraries complain of it in vain."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    for earlier in with_causes(fault):
        traceback.clear_frames(earlier.__traceback__)
    gc.collect()
    sys.unraisablehook = hook


def _tell(sentence: str) -> None:
    with contextlib.suppress(OSError):
        print(sentence, file=sys.stderr, flush=True)


def _nobody_reads(screen: TextIO) -> bool:
    """Returns whether a screen is a pipe that was closed at its other end."""
    poll = select.poll()
    with contextlib.suppress(OSError):  # no file of the system
        poll.register(screen, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _silence_if_lost(screen: TextIO) -> None:
    """Silences a screen that cannot be written, as Python would complain once more at its end."""
    try:
        screen.flush()
    except OSError:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, screen.fileno())
        os.close(silence)


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
        The exit status: 0, 1 for what a user can mend, 2 for an unknown command, 128 and the
        number of a signal that ended it.
    """
    words = sys.argv[1:] if arguments is None else arguments
    return speaks_plainly(lambda: _run(program, commands, words))


def _run(program: str, commands: Mapping[str, tuple[str, str, str]], words: list[str]) -> int:
    wide = max(map(len, commands)) + 2
    listed = "\n".join(f"  {name:<{wide}}{text}" for name, (_, _, text) in commands.items())
    usage = f"usage: {program} COMMAND [--help] ...\n       {program} --version\n\n{listed}"
    if words[:1] == ["--version"]:
        print(f"{program} {__version__}")
        return 0
    if not words or words[0] in ("-h", "--help"):
        print(usage)
        return 0
    if words[0] in RENAMED_COMMANDS:
        words = [_by_its_name_now(words[0], RENAMED_COMMANDS), *words[1:]]
    if words[0] not in commands:
        print(f"error: there is no command {words[0]!r}.\n{usage}", file=sys.stderr)
        return 2
    module, function, _ = commands[words[0]]
    words = [_by_its_name_now(word) for word in words]
    wandb_mode()  # refuses a word that it does not know before anything is done
    return _call(module, function, program, words)


def _by_its_name_now(word: str, renamed: Mapping[str, str] = RENAMED) -> str:
    name, equals, value = word.partition("=")
    if name not in renamed:
        return word
    print(f"{name} is called {renamed[name]} now.", file=sys.stderr)
    return f"{renamed[name]}{equals}{value}"


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
