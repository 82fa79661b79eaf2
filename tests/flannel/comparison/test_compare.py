import pandas as pd
import pytest

from flannel.comparison.compare import compare_study
from flannel.data.diagnosis import FLANNEL

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)
TWO_WRONG = (COVID, VIRAL, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, COVID)


@pytest.mark.slow
def test_compare_study_writes_everything_from_files(
    study_files, capsys, monkeypatch, latex_is_sound, drawn_once
):
    logged = {}
    monkeypatch.setattr(
        "flannel.comparison.compare.log_comparison", lambda _, figures, mode: logged.update(figures)
    )
    for arm in ("global", "patched"):
        study_files.run(f"base/{arm}/vgg19_bn/fold0", TWO_WRONG)
        study_files.run(f"ensemble/{arm}/fold0", TRUTH, weights={"vgg19_bn": 0.8})
    study_files.pictures()
    study_files.patches("base/patched/vgg19_bn/fold0")
    compare_study(study_files.folder, wandb="off")
    folder = study_files.folder / "comparison"
    assert len(pd.read_csv(folder / "table.csv")) == 4 * 5
    printed = capsys.readouterr().out
    assert (folder / "table_3.md").read_text() in printed
    document = (folder / "table.md").read_text()
    for path in folder.glob("*_*.md"):
        assert path.with_suffix(".csv").is_file()
        latex_is_sound(path.with_suffix(".tex").read_text())
        assert path.read_text().splitlines()[-1] in document
    assert str(folder / "report.html") in printed
    figures = {path.stem for path in (folder / "figures").iterdir()}
    assert figures == {
        "f1_covid19", "f1_macro", "learner_weights", "confusion_vgg19_bn", "confusion_FLANNEL",
        "curves_covid19", "curves_micro", "curves_ensembles_covid19", "curves_ensembles_micro",
        "reliability", "decision_curves", "cost", "segmentation", "masks", "votes",
    }  # fmt: skip
    assert (folder / "report.html").read_text().count("data:image/png;base64,") == len(figures)
    assert figures - set(logged) == {"segmentation", "masks", "votes"}  # they show radiographs
