"""A part of a command in a process of its own."""

import multiprocessing
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection

from flannel.errors import sentence_of
from flannel.queue import GRACE_SECONDS
from flannel.runs import RunError
from flannel.signals import Stopped, heeding_signals

BEAT_SECONDS = 0.5


def apart(work: Callable[[], object], beat: Callable[[], object] = lambda: None) -> None:
    """Does a piece of work in a child process, and waits for it.

    A process that has computed with several threads, or on a GPU, must not be forked any more: its
    children would wait for threads that they do not have. So a command that forks runs later
    (`flannel.queue`) computes nothing itself before.

    Args:
        work: What is to be done; what it changes in memory is lost, what it writes stays.
        beat: Called every half second until it is done.

    Raises:
        RunError: With the sentence of the child's error, or with the name of one that has none.
        Stopped: If a signal stopped this process; the child is ended too.
    """
    if sys.platform != "linux":  # where runs are not forked either
        work()
        return
    context = multiprocessing.get_context("fork")
    told, telling = context.Pipe(duplex=False)
    sys.stdout.flush()
    process = context.Process(target=_tell, args=(work, telling))
    process.start()
    telling.close()
    try:
        while not told.poll(BEAT_SECONDS):
            beat()
        sentence = told.recv()
    except EOFError:
        sentence = f"A part of the command was killed (exit code {_exit_code(process)})."
    except (Stopped, KeyboardInterrupt):
        process.terminate()
        process.join(GRACE_SECONDS)
        process.kill()
        raise
    finally:
        process.join()
    if sentence:
        raise RunError(sentence)


def _tell(work: Callable[[], object], telling: Connection) -> None:
    sentence = ""
    try:
        with heeding_signals():
            work()
    except Stopped as stop:
        sys.exit(stop.status)
    except Exception as fault:
        plain = sentence_of(fault)
        if plain is None:
            traceback.print_exc()
        sentence = plain or f"{type(fault).__name__}: {fault}"
    sys.stdout.flush()
    telling.send(sentence)


def _exit_code(process: multiprocessing.process.BaseProcess) -> int | None:
    process.join()
    return process.exitcode
