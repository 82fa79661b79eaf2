"""A program of several commands, and its sentences."""

import importlib
import inspect
import os
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flannel.__main__ import COMMANDS
from flannel.__main__ import main as flannel
from flannel.errors import OptionError, RunError, check_range
from flannel.runs.program import speaks_plainly
from segmentation.__main__ import COMMANDS as LUNGS
from segmentation.__main__ import main as lungs

FULL = Path("/dev/full")


def numbers():
    """Every option of a plain command that takes a number: program, words before it, its name."""
    for program, commands in ((flannel, COMMANDS), (lungs, LUNGS)):
        for command, (module, function, _) in commands.items():
            if command in ("learner", "ensemble", "baseline", "fit", "validate", "test"):
                continue  # LightningCLI's
            name = "predict" if function == "main" else function
            plain = getattr(importlib.import_module(module), name)
            for option, parameter in inspect.signature(plain).parameters.items():
                if {"int", "float"} & set(re.findall(r"\w+", str(parameter.annotation))):
                    yield pytest.param(program, command, option, id=f"{command} --{option}")


def needed(command, tmp_path):
    """What the command cannot do without, none of which is there."""
    nowhere = tmp_path / "nowhere"
    given = {
        "manifest": [f"--data={nowhere}"],
        "related": ["--name=none"],
        "evaluate": [f"--manifest={nowhere}"],
        "predict": [str(nowhere)],
    }
    outputs = ("export-hdf5", "phantoms", "bundle", "export-onnx", "evaluate", "predict")
    study = [] if command == "phantoms" else [f"--study={nowhere}"]
    return [*given.get(command, []), *([f"--out={nowhere}"] if command in outputs else []), *study]


def test_an_error_of_ours_is_a_sentence_and_one_of_others_a_traceback(capsys):
    def ours() -> int:
        raise RunError("the mask is upside down")

    def theirs() -> int:
        raise ValueError("who knows")

    assert speaks_plainly(ours) == 1
    assert capsys.readouterr().err == "error: the mask is upside down\n"
    with pytest.raises(ValueError, match="who knows"):
        speaks_plainly(theirs)


def run(*words, **options):
    """Runs `python -m flannel` as a shell does."""
    command = [sys.executable, "-m", "flannel", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.mark.slow
def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    ended = run("phantoms", f"--out={tmp_path / 'file' / 'phantoms'}", "--images=4", "--masks=0")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"error: {tmp_path / 'file'}")
    assert "File exists" in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_name_can_be_shown_on_any_screen(tmp_path, encoding):
    name = "影像ö"
    ended = run(
        "phantoms", "--out", tmp_path / name, "--images=4", "--masks=0", "--size_px=32",
        env={**os.environ, "PYTHONIOENCODING": encoding}, encoding="latin-1",
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "phantoms: " in ended.stdout


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_the_command_without_a_word():
    reading, writing = os.pipe()
    os.close(reading)
    for words, unbuffered in product((("--help",), ("phantoms", "--help")), ("", "1")):
        command = [sys.executable, "-m", "flannel", *words]
        environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        ended = subprocess.run(
            command, stdout=writing, stderr=subprocess.PIPE, env=environment, check=False
        )
        assert ended.stderr == b""
        assert ended.returncode in (141, 0)  # 0 where argparse itself passes over it
    os.close(writing)


@pytest.mark.slow
@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_full_disk_behind_the_output_is_a_sentence():
    with FULL.open("w") as full:
        command = [sys.executable, "-m", "flannel", "--help"]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith(b"error: No space left on device.")
    assert b"Exception" not in ended.stderr


@pytest.mark.parametrize(("program", "command", "option"), list(numbers()))
def test_a_number_that_cannot_be_is_a_sentence(program, command, option, tmp_path, capsys):
    for value in ("-1", "-1000000000000", "", "nan", "1.5e", "none of them"):
        try:
            status = program([command, *needed(command, tmp_path), f"--{option}={value}"])
        except SystemExit as ended:  # of the parser
            status = ended.code
        assert status in (1, 2), value
        printed = capsys.readouterr().err
        assert option in printed or "does not exist" in printed or "no run" in printed, printed
        assert not (tmp_path / "nowhere").exists()


@given(
    least=st.integers(-5, 5),
    span=st.integers(0, 5),
    value=st.integers(-20, 20) | st.floats() | st.none(),
)
def test_a_range_is_what_lies_between_its_ends(least, span, value):
    inside = (
        value is None
        or value in range(least, least + span + 1)
        or (isinstance(value, float) and least <= value <= least + span)
    )
    if inside:
        check_range(least, least + span, folds=value)
    else:
        with pytest.raises(OptionError, match=f"folds is .*; expected {least} to {least + span}"):
            check_range(least, least + span, folds=value)
