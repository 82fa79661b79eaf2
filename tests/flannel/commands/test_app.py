import sys

import pytest

from flannel.commands.app import app
from flannel.errors import RunError


def test_without_the_extra_a_sentence_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "python_multipart", None)
    with pytest.raises(RunError, match=r"needs python_multipart: install the extra `app`"):
        app(study=tmp_path)
