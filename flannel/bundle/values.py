"""What the values of a bundle may be: each is read as what it has to be, or refused by name.

A bundle may come from anybody, so that numbers are bounded before they decide how much memory or
time is taken, and texts are names: no path and no address reaches the code of a network.
"""

import inspect
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from flannel.errors import FlannelError

Entry = Mapping[str, object]

LARGEST_SIDE_PX = 8192
LARGEST_OPTION = 100_000
LONGEST_LIST = 64
LONGEST_NAME = 128
LONGEST_SENTENCE = 1000
DEEPEST = 4
"""Lists and tables within each other among the options of a network."""


class EntryError(FlannelError):
    """A value that cannot belong to a bundle: what it is, in a few words."""


def table(value: object) -> dict[str, object]:
    """Reads a table.

    Raises:
        EntryError: If it is none.
    """
    if not isinstance(value, dict):
        raise EntryError(f"expected a table, not {_shown(value)}")
    return value


def tables(value: object) -> list[dict[str, object]]:
    """Reads a list of tables.

    Raises:
        EntryError: If it is none.
    """
    if not isinstance(value, list):
        raise EntryError(f"expected a list, not {_shown(value)}")
    return [table(item) for item in _short(value)]


def sentences(value: object) -> tuple[str, ...]:
    """Reads a list of texts for people, who may see them in a terminal.

    Raises:
        EntryError: If it is none, or a text is too long or holds what is not printed.
    """
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise EntryError(f"expected a list of texts, not {_shown(value)}")
    for item in _short(value):
        if len(item) > LONGEST_SENTENCE or not item.isprintable():
            raise EntryError(f"the text {_shown(item)}")
    return tuple(value)


def names(value: object) -> tuple[str, ...]:
    """Reads a list of different names, such as diagnoses or learners.

    Raises:
        EntryError: If it is none or empty, or a name comes twice or is none.
    """
    listed = sentences(value)
    if not listed or len(set(listed)) < len(listed):
        raise EntryError(f"expected different names, not {_shown(value)}")
    for name in listed:
        if not 0 < len(name) <= LONGEST_NAME:
            raise EntryError(f"the name {_shown(name)}")
    return listed


def path_name(value: object) -> str:
    """Reads a name that becomes part of a path where predictions are written.

    Raises:
        EntryError: If it could be anything else.
    """
    if not isinstance(value, str) or not re.fullmatch(r"\w[\w .-]{0,79}", value):
        raise EntryError(f"the name {_shown(value)}")
    return value


def one_of(value: object, choices: tuple[str, ...]) -> Any:  # noqa: ANN401  a literal of these
    """Reads one of several words.

    Raises:
        EntryError: If it is another.
    """
    if value not in choices:
        raise EntryError(f"{_shown(value)}, where one of {', '.join(choices)} is expected")
    return value


def side_px(value: object) -> int:
    """Reads the side of a picture.

    Raises:
        EntryError: If it is no number of pixels, or too large.
    """
    if not isinstance(value, int) or not 1 <= value <= LARGEST_SIDE_PX:
        raise EntryError(f"a side of {_shown(value)} px; at most {LARGEST_SIDE_PX:,} are taken")
    return value


def count(value: object, least: int = 0) -> int:
    """Reads a whole number.

    Raises:
        EntryError: If it is none, or too small or large.
    """
    if not isinstance(value, int) or not least <= value <= LARGEST_OPTION:
        raise EntryError(f"the number {_shown(value)}; expected {least} to {LARGEST_OPTION:,}")
    return value


def positive(value: object) -> float:
    """Reads a number above 0.

    Raises:
        EntryError: If it is none, or infinite.
    """
    if not isinstance(value, int | float) or not 0 < value < math.inf:
        raise EntryError(f"the number {_shown(value)}; expected one above 0")
    return float(value)


def options(value: object, deep: int = DEEPEST) -> Any:  # noqa: ANN401  of whatever type it came
    """Reads what a network is built with: bounded numbers, names, lists and tables of these.

    Raises:
        EntryError: If a number is too large, a text is no plain name, or a list too long.
    """
    match value:
        case None | bool():
            return value
        case int() | float() if math.isfinite(value) and abs(value) <= LARGEST_OPTION:
            return value
        case str() if re.fullmatch(rf"[\w .+-]{{0,{LONGEST_NAME}}}", value):
            return value
        case list() if deep:
            return [options(item, deep - 1) for item in _short(value)]
        case dict() if deep and len(value) <= LONGEST_LIST:
            return {name: options(item, deep - 1) for name, item in value.items()}
    raise EntryError(
        f"the option {_shown(value)}; expected numbers up to {LARGEST_OPTION:,}, plain names, or "
        f"lists of at most {LONGEST_LIST}"
    )


def arguments_of(callable_: Callable[..., object], value: object, *apart: str) -> dict[str, Any]:
    """Reads the arguments of a class, each of the type that its signature says.

    Args:
        callable_: The class.
        value: What came.
        apart: Parameters that are no business of a bundle.

    Raises:
        EntryError: If there is none of that name, or it is of another type.
    """
    given = table(value)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(callable_, skip=set(apart))
    try:
        read = parser.parse_object(given, defaults=False).as_dict()
    except ArgumentError as fault:
        raise EntryError(" ".join(str(fault).split())[:300]) from fault
    parameters = inspect.signature(callable_).parameters
    for name in given:
        if read[name] is None and parameters[name].default is not None:
            raise EntryError(f"{name} is null")
    return {name: read[name] for name in given}


def _short(value: list[Any]) -> list[Any]:
    if len(value) > LONGEST_LIST:
        raise EntryError(f"a list of {len(value):,}; at most {LONGEST_LIST} are taken")
    return value


def _shown(value: object) -> str:
    """Shows a value in an error, as far as a person would read it."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deeply, or a number of too many digits
        return f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:80]}..."
