"""Errors that are meant for a user, and the sentences that they end in."""

import ast
import builtins
import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flannel.errors import UNWRITABLE, WAYS_OUT, FlannelError, sentence_of
from flannel.files import whole_file

ROOT = Path(__file__).parents[2]
PACKAGES = ("flannel", "segmentation", "patching")
BUILTIN = {
    name
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, Exception)
}
# What tells mypy of a class, a number of no pixel, a name that a module lacks: no option is meant.
INNER = {"TypeError", "IndexError", "KeyError", "AttributeError"}
# Arrays that the program itself hands from one function to another, which no option reaches.
OF_THE_PROGRAM = {
    "flannel/ensemble/combinations.py",
    "flannel/data/duplicates.py",
    "flannel/data/greyscale.py",
    "flannel/data/pictures.py",
    "flannel/data/store/store.py",
    "flannel/uncertainty.py",
    "segmentation/training/measures.py",
}
# A header's value or damaged pixels, which become part of a sentence on their file.
OF_A_FILE = (
    "flannel/data/dicom_",
    "flannel/data/gdcm_decoder.py",
    "flannel/data/picture_file.py",
    "flannel/prediction/dicom_output.py",
)


def trees():
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def test_every_error_of_ours_inherits_from_the_one_base():
    bases = {
        node.name: {ast.unparse(base) for base in node.bases}
        for _, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    errors = BUILTIN - {"BaseException"}  # of which a signal is one, that nothing should catch
    assert [name for name, above in bases.items() if above & errors] == ["FlannelError"]


def test_what_a_user_can_get_wrong_raises_an_error_of_ours():
    raised = set()
    for name, tree in trees():
        for node in ast.walk(tree):
            call = node.exc if isinstance(node, ast.Raise) else None
            if isinstance(call, ast.Call) and ast.unparse(call.func) in BUILTIN - INNER:
                raised.add(name)
    assert {name for name in raised if not name.startswith(OF_A_FILE)} == OF_THE_PROGRAM


NAMES = st.text(st.characters(exclude_characters="/\x00"), min_size=1, max_size=80)


@given(number=st.sampled_from(sorted(errno.errorcode)), name=NAMES)
def test_an_error_of_the_system_names_place_reason_and_way_out(number, name):
    sentence = sentence_of(OSError(number, os.strerror(number), f"/study/{name}"))
    assert sentence.startswith(f"/study/{name}: {os.strerror(number)}.")
    assert sentence.endswith(WAYS_OUT.get(number, "."))


def test_a_fault_of_the_program_has_no_sentence():
    assert sentence_of(FlannelError("the mask is upside down")) == "the mask is upside down"
    for fault in (ValueError("no"), KeyError("masks"), RuntimeError("mat1 and mat2 shapes")):
        assert sentence_of(fault) is None
    late = KeyError("masks")
    late.__context__ = FileNotFoundError(errno.ENOENT, "No such file or directory", "a")
    assert sentence_of(late) is None  # a fault in handling an error that was no trouble


@pytest.mark.parametrize("number", UNWRITABLE)
def test_what_libraries_make_of_a_full_or_closed_disk_is_still_told(number):
    reason = os.strerror(number)
    error = RuntimeError(f"Error while serializing: I/O error: {reason} (os error {number})")
    assert sentence_of(error).endswith(WAYS_OUT[number])
    after = RuntimeError("unexpected pos 64 vs 0")
    after.__context__ = OSError(number, reason, "/study/last.ckpt")
    assert sentence_of(after).startswith(f"/study/last.ckpt: {reason}.")


@pytest.mark.parametrize(
    "text",
    [
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that "
        "dataloader's workers are out of shared memory.",
        "unable to write to file </torch_7_123_0>: No space left on device (28)",
        "Caught RuntimeError in DataLoader worker process 0.\nRuntimeError: unable to open shared "
        "memory object </torch_7> in read-write mode",
    ],
)
def test_shared_memory_is_named_whatever_error_follows(text):
    follows = RuntimeError("Please call `iter(combined_loader)` first.")
    follows.__context__ = RuntimeError(text)
    for fault in (RuntimeError(text), follows):
        assert "/dev/shm" in sentence_of(fault)
        assert "data.workers" in sentence_of(fault)


def test_a_full_disk_is_told_by_the_file_that_was_to_be_written(tmp_path):
    with pytest.raises(OSError, match="No space") as caught, whole_file(tmp_path / "a.csv"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert sentence_of(caught.value).startswith(f"{tmp_path / 'a.csv'}: No space left on device.")
    assert list(tmp_path.iterdir()) == []
