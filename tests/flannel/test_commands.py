"""A program of several commands, and its sentences."""

import pytest

from flannel.commands import speaks_plainly
from flannel.runs import RunError


def test_an_error_of_ours_is_a_sentence_and_one_of_others_a_traceback(capsys):
    def ours() -> int:
        raise RunError("the mask is upside down")

    def theirs() -> int:
        raise ValueError("who knows")

    assert speaks_plainly(ours) == 1
    assert capsys.readouterr().err == "error: the mask is upside down\n"
    with pytest.raises(ValueError, match="who knows"):
        speaks_plainly(theirs)
