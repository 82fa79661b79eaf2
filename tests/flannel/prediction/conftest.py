"""The bundle of the trained study."""

import pytest

from flannel.__main__ import main


@pytest.fixture(scope="session")
def bundle(trained_study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "model.flannel"
    assert main(["bundle", f"--study={trained_study}", f"--out={folder}"]) == 0
    return folder
