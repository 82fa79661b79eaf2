import pytest

from flannel.dashboard import confusion_counts, f1_intervals, log_comparison
from flannel.data.diagnosis import FLANNEL
from flannel.figures.scores import f1_bars
from flannel.figures.style import save_figure

COVID, VIRAL, BACTERIAL, NORMAL = FLANNEL
TRUTH = (COVID, COVID, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, NORMAL)
TWO_WRONG = (COVID, VIRAL, VIRAL, VIRAL, BACTERIAL, BACTERIAL, NORMAL, COVID)


def test_rows_hold_fold_scores_and_the_interval_of_their_mean(study_files):
    for fold, predicted in enumerate((TWO_WRONG, TRUTH)):
        study_files.run(f"base/global/vgg19_bn/fold{fold}", predicted * 5, truth=TRUTH * 5)
    table = f1_intervals(study_files.measured())
    assert list(table) == [
        "arm", "learner", "fold", "class", "precision", "recall", "f1", "f1_mean", "f1_low",
        "f1_high",
    ]  # fmt: skip
    covid = table[table["class"] == COVID]
    assert covid["f1"].tolist() == [0.5, 1]
    assert covid["f1_mean"].tolist() == [0.75, 0.75]
    assert (covid["f1_low"] < 0.75).all()


def test_confusion_is_counted_per_fold(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TWO_WRONG)
    table = confusion_counts(study_files.measured())
    assert len(table) == 16
    assert table["radiographs"].sum() == 8
    found = table[(table["true"] == COVID) & (table["predicted"] == VIRAL)]
    assert found["radiographs"].item() == 1


def test_wandb_off_writes_nothing(study_files):
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    log_comparison(study_files.measured(), {}, "off")
    assert not (study_files.folder / "wandb").exists()


@pytest.mark.slow
def test_wandb_offline_stays_in_the_study(study_files, monkeypatch):
    monkeypatch.setenv("WANDB_DATA_DIR", "")  # the call sets it; this puts it back afterwards
    study_files.run("base/global/vgg19_bn/fold0", TRUTH)
    measurements = study_files.measured()
    bars = save_figure(f1_bars(measurements, COVID), study_files.folder, "bars")
    log_comparison(measurements, {"f1_covid19": bars}, "offline")
    assert list((study_files.folder / "wandb").glob("offline-run-*/*.wandb"))
