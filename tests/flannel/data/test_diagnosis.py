import pytest
from hypothesis import given
from hypothesis import strategies as st

from flannel.data.diagnosis import LABEL_SETS, PALETTE, LabelError, coloured, index_of

NAMES = st.lists(
    st.text("abcé胸 -_()+1", min_size=1, max_size=8).filter(
        lambda name: name[0] not in " -()+" and name[-1] not in " -("
    ),
    min_size=1,
    max_size=30,
    unique_by=str.lower,
)


def test_the_projects_own_sets_keep_their_colours():
    for label_set in LABEL_SETS.values():
        colours = coloured(label_set)
        assert tuple(colours) == label_set
        assert colours["COVID-19"] == "#D55E00"
    assert len({coloured(one)["COVID-19"] for one in LABEL_SETS.values()}) == 1


@given(NAMES)
def test_every_diagnosis_has_a_colour_of_its_own(names):
    colours = coloured(names)
    assert list(colours) == names
    assert len(set(colours.values())) == len(names)
    if len(names) <= len(PALETTE):
        assert tuple(colours.values()) == PALETTE[: len(names)]


def test_wishes_come_first():
    colours = coloured(["one", "COVID-19", "two"], {"two": "#D55E00"})
    assert colours == {"one": "#009E73", "COVID-19": "#0072B2", "two": "#D55E00"}


@pytest.mark.parametrize(
    "name", ["", " a", "a/b", "a,b", "a.b", "=1", "-a", "a\n", "macro", "Overall", "x" * 61, "<b>"]
)
def test_odd_names_are_a_sentence(name):
    with pytest.raises(LabelError, match="cannot be the name of a diagnosis; expected letters"):
        coloured([name])


def test_a_place_is_that_in_the_label_set():
    assert index_of("b", ("a", "b")) == 1
    with pytest.raises(LabelError, match=r"'c' is not in the label set \(a, b\)"):
        index_of("c", ("a", "b"))
