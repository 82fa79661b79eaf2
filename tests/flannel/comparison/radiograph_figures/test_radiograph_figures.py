import pytest

from flannel.comparison.radiograph_figures import write_galleries
from flannel.comparison.results import read_comparison
from flannel.data.diagnosis import FLANNEL

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)


@pytest.mark.slow
def test_galleries_show_the_first_test_radiograph_of_each_diagnosis(study_files, store):
    study_files.run("base/patched/vgg19_bn/fold0", TRUTH)
    study_files.patches("base/patched/vgg19_bn/fold0")
    folder = study_files.folder / "figures"
    written = write_galleries(read_comparison(study_files.folder), folder)
    assert set(written) == {"segmentation", "masks", "votes"}
    assert all(path.stat().st_size > 10_000 for path in written.values())
    assert all(path.with_suffix(".pdf").is_file() for path in written.values())


def test_without_a_store_there_are_no_galleries(study_files):
    study_files.run("base/patched/vgg19_bn/fold0", TRUTH)
    comparison = read_comparison(study_files.folder)
    assert write_galleries(comparison, study_files.folder / "figures") == {}
