"""The base class of every error that is meant for a user, and the sentence an error ends in."""

import errno
import math
import os
from collections.abc import Iterator
from pathlib import Path

ROOM = "Make room there, and give the same command again; what is finished is kept."
WAYS_OUT = {
    errno.ENOSPC: ROOM,
    errno.EDQUOT: ROOM,
    errno.EROFS: "Choose a place that can be written.",
    errno.EACCES: "Change its permissions, or choose another place.",
    errno.EPERM: "Change its permissions, or choose another place.",
    errno.ENOENT: "Check the path.",
    errno.ENOTDIR: "Check the path: a file is where a folder is expected.",
    errno.EISDIR: "Check the path: a folder is where a file is expected.",
    errno.EEXIST: "Choose another place; a file may be where a folder is expected.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.EMFILE: "Raise the limit (ulimit -n), or set data.workers to fewer.",
    errno.EADDRINUSE: "Choose another port.",
}
"""What a user can do about an error of the system, by its number."""
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
"""Errors of the system that libraries turn into other exceptions of theirs."""
SHARED_MEMORY = "/dev/shm"
LARGEST_SEED = 2**32 - 1
"""Of scikit-learn's and pandas's draws."""


class FlannelError(ValueError):
    """An error whose message is a sentence for the user: what came, what was expected, what to do.

    Commands print it and end with status 1; any other exception is a fault of the program and keeps
    its traceback.
    """


class OptionError(FlannelError):
    """An option of a value that cannot be used."""


def check_range(least: float, most: float = math.inf, **options: float | None) -> None:
    """Refuses options that do not lie within bounds; None is an option that was not given.

    Args:
        least: The least value.
        most: The greatest.
        options: Values by the names of their options.

    Raises:
        OptionError: If one is smaller, larger or no number.
    """
    expected = f"{least} or more" if most == math.inf else f"{least} to {most}"
    for name, value in options.items():
        if value is not None and not least <= value <= most:
            raise OptionError(f"{name} is {value}; expected {expected}.")


def sentence_of(fault: BaseException) -> str | None:
    """Returns what a user should read of an error; None for a fault of the program.

    An error of the system becomes its place, its reason and a way out, also where a library has
    turned it into an exception of its own, or raises another while it ends.
    """
    if isinstance(fault, FlannelError):
        return str(fault)
    for earlier in with_causes(fault):
        text = " ".join(str(earlier).split())
        if "shared memory" in text or "/torch_" in text or _in_a_lock(earlier):
            return (
                "Shared memory is too small for the loader processes, or cannot be written: "
                f"{SHARED_MEMORY}. Set data.workers to fewer, or to 0, or make it larger (docker "
                "run --shm-size=8g), and give the same command again."
            )
        if isinstance(earlier, OSError) and (earlier is fault or earlier.errno in UNWRITABLE):
            return _about_the_system(earlier)
        for number in UNWRITABLE:
            if os.strerror(number) in text:
                return f"{text.rstrip('.')}. {WAYS_OUT[number]}"
    return None


def with_causes(fault: BaseException) -> Iterator[BaseException]:
    """Yields an error, and those that it followed."""
    earlier: BaseException | None = fault
    while earlier is not None:
        yield earlier
        earlier = earlier.__cause__ or (
            None if earlier.__suppress_context__ else earlier.__context__
        )


def _about_the_system(fault: OSError) -> str:
    reason = fault.strerror or str(fault) or type(fault).__name__
    place = _full_places() if fault.filename is None else os.fsdecode(str(fault.filename))
    way_out = WAYS_OUT.get(fault.errno or 0, "")
    return f"{place}: {reason}. {way_out}".removeprefix(": ").rstrip()


def _in_a_lock(fault: BaseException) -> bool:
    """Returns whether the system refused a lock between processes, which lies in shared memory."""
    last = fault.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    code = "" if last is None else last.tb_frame.f_code.co_filename
    return isinstance(fault, OSError) and code.endswith("multiprocessing/synchronize.py")


def _full_places() -> str:
    """Names the places that have no room, for errors that do not say where."""
    full = []
    for place in (".", os.environ.get("TMPDIR", "/tmp"), SHARED_MEMORY):
        try:
            room = os.statvfs(place)
        except OSError:
            continue
        if not room.f_bavail or (room.f_files and not room.f_favail):
            full.append(str(Path(place).resolve()))
    return ", ".join(full)


class RunError(FlannelError):
    """Raised when a run cannot continue."""
