"""Names from data, as names of files."""

import re
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flannel.data.names import LONGEST_BYTES, file_name, image_id, is_file_name, shown

SHA256 = "0123456789abcdef" * 4


@pytest.mark.parametrize("name", ["ccx", "RSNA 2018", "Universität", "a.b-c_d", "x" * 200, "@home"])
def test_harmless_names_stay_as_they_are(name):
    assert file_name(name) == name
    assert is_file_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            ".",
            "..",
            "../../escaped/s",
            "/absolute",
            "C:\\x",
            "a\0b",
            "a\nb",
            "con",
            "LPT1.txt",
        ),
        *("LPT1.txt", ".x", "x" * 201, "\ud800", "a\u202eb", " a", "a.", "~\u2028"),
    ],
)
def test_other_names_are_changed(name):
    assert not is_file_name(name)
    assert is_file_name(file_name(name))


@given(st.text(), st.text())
@example("a/b", "a_b")
@example("x" * 300, "x" * 301)
@example("\u00e9" * 150, "\u00e9" * 151)
def test_a_name_is_one_part_of_a_path_and_different_texts_stay_apart(text, other):
    name = file_name(text)
    assert 0 < len(name.encode()) <= LONGEST_BYTES
    assert PurePosixPath(name).parts == PureWindowsPath(name).parts == (name,)
    assert name not in (".", "..")
    assert not re.search(r"[\x00-\x1f\x7f]", name)
    assert not PureWindowsPath(name).is_reserved()
    assert (file_name(other) == name) == (other == text)


@given(st.text(), st.text(), st.integers(0, 2**32 - 1))
def test_an_image_id_is_one_file_name_with_room_for_more(source, stem, number):
    sha256 = f"{number:08x}" + "0" * 56
    name = image_id(source, stem, sha256)
    assert is_file_name(name)
    assert name.endswith(f"-{number:08x}")


def test_ordinary_image_ids_are_source_stem_and_hash():
    assert image_id("kcx", "person1_virus_6", SHA256) == "kcx-person1_virus_6-01234567"
    assert image_id("ccx", "M\u00fcller (1)", SHA256) == "ccx-M_ller_1_-01234567"
    long = {image_id("table", "x" * n, SHA256) for n in (130, 131, 132)}
    assert len(long) == 3
    assert f"table-{'x' * 130}-01234567" in long


def test_a_path_is_shown_in_one_line():
    assert shown(PurePosixPath("a/b c.png")) == "a/b c.png"
    assert shown(PurePosixPath("a\nb")) == r"'a\nb'" or "\\n" in shown(PurePosixPath("a\nb"))
