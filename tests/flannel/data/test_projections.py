"""Which way the rays went, in words, codes and orientations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flannel.data.projections import (
    AP,
    FRONTAL,
    LATERAL,
    OBLIQUE,
    PA,
    UNKNOWN,
    projection_of_code,
    projection_of_orientation,
    projection_of_words,
)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("PA", PA), ("ap supine", AP), ("AP semi erect", AP), ("AP_horizontal", AP),
        ("AP/PA", FRONTAL),
        ("AP or PA", FRONTAL), ("postero-anterior", PA), ("Antero Posterior", AP), ("AP LLD", AP),
        ("lat (not PA)", LATERAL), ("PA and lateral", LATERAL), ("not PA", UNKNOWN),
        ("non-AP", UNKNOWN),
        ("LL", LATERAL), ("RLD", LATERAL), ("XTABLE LATERAL", LATERAL), ("latéro-latéral", LATERAL),
        ("Perfil", LATERAL), ("LAO", OBLIQUE), ("antero-posterior oblique", OBLIQUE),
        ("", UNKNOWN), ("L", UNKNOWN), ("CHEST", UNKNOWN), ("LAPAROSCOPY", UNKNOWN),
        ("Axial", UNKNOWN),
    ],
)  # fmt: skip
def test_words_are_read_as_words(words, expected):
    assert projection_of_words(words) == expected


def test_codes_go_before_what_they_mean():
    assert projection_of_code("399067008", "") == LATERAL
    assert projection_of_code("R-10214", "no words of ours") == PA
    assert projection_of_code("1", "left lateral projection") == LATERAL
    assert projection_of_code("", "") == UNKNOWN


@given(st.sampled_from(["A", "P", "L", "R"]), st.sampled_from("HF"))
def test_an_orientation_is_lateral_where_the_picture_lies_front_to_back(across, upright):
    for minor in ("", "F", "L"):
        both = (across + minor, upright)
        expected = LATERAL if across in "AP" else FRONTAL
        assert projection_of_orientation(both) == expected
        assert projection_of_orientation(both[::-1]) == expected


@pytest.mark.parametrize("orientation", [(), ("A",), ("A", "L"), ("", ""), ("L", "P", "F")])
def test_other_orientations_say_nothing(orientation):
    assert projection_of_orientation(orientation) == UNKNOWN
