import pytest

from flannel.data.store import Store


@pytest.fixture
def store(study_files):
    study_files.pictures()
    return Store(study_files.folder / "store")
