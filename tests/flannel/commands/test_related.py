"""Every study of another paper runs from its phantom twin, by its one command."""

import shutil

import pandas as pd
import pytest
import yaml

from flannel.__main__ import main
from flannel.commands import related as stage
from flannel.commands.recipes import recipe_names
from flannel.comparison.related import load_published, load_related_study
from flannel.data.provenance import label_set_of
from flannel.study.predictions import load_predictions

# Study: options of its test, the runs that they leave.
STUDIES = {
    "covid_qu_ex": (["--arm=masked"], ["masked/resnet50"]),
    "darkcovidnet": (["--arm=global"], ["global/darkcovidnet"]),
    "darkcovidnet_binary": (["--arm=global"], ["global/darkcovidnet"]),
    "cnn13": ([], ["global/cnn13"]),
    "frozen": (
        ["--learner=mobilenet_v2"],
        [f"global/mobilenet_v2{end}" for end in ("", "_seed2", "_seed3")],
    ),
    "outlook": (["--arm=global", "--learner=covid_net"], ["global/covid_net"]),
}
WITH_DOCUMENT = "cnn13"  # the quickest


def plans(experiments):
    return {path.parent.name: path for path in sorted(experiments.glob("related/*/study.yaml"))}


def test_every_study_is_tried(experiments):
    assert set(plans(experiments)) == set(STUDIES)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_s_files_fit_each_other(experiments, name):
    """Recipes, phantoms and published numbers are of the learners, arms and diagnoses it has."""
    from flannel.data.diagnosis import LABEL_SETS
    from flannel.data.sources.twins import TWINS

    folder = plans(experiments)[name].parent
    plan = load_related_study(folder / "study.yaml")
    assert set(plan.phantoms.images) <= set(TWINS)
    own = recipe_names(experiments / "related" / (plan.recipes or name))
    for learner in plan.runs:
        further = [path.stem for path in (experiments / "base").glob("*/*.yaml")]
        assert learner in own or learner in further
    needs_masks = any(arm != "global" for arms in plan.runs.values() for arm in arms)
    assert (plan.masks != "none") == needs_masks
    published = load_published(folder / "published.csv")
    names = {*LABEL_SETS[plan.mapping], "macro", "weighted", "overall"}
    assert set(published["class"]) <= names
    assert set(published["split"]) <= {"", "train", "val", "test"}
    assert (published["source"] != "").all()


@pytest.fixture
def tiny(experiments, tmp_path):
    """Returns the folder of a study's small sizes, made smaller still."""

    def write(name):
        plan = load_related_study(experiments / "related" / name / "study.yaml")
        folder = tmp_path / "tiny"
        sizes = experiments / "related" / (plan.recipes or name) / "phantoms"
        shutil.copytree(sizes, folder)
        content = yaml.safe_load((folder / "base.yaml").read_text())
        content["trainer"] |= {"max_epochs": 1, "limit_train_batches": 1}
        content["refresh_batch_norm"] = 0
        (folder / "base.yaml").write_text(yaml.safe_dump(content))
        return folder

    return write


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_a_study_runs_from_phantoms(
    name, experiments, tiny, tmp_path, monkeypatch, capsys, drawn_once
):
    options, runs = STUDIES[name]
    skipped = ["audit", "shortcuts", "ensembles", *(["compare"] if name != WITH_DOCUMENT else [])]
    for function in skipped:  # which take most of the time, depend on no study, and are tested
        monkeypatch.setattr(stage, function, lambda *_, **__: None)
    study = tmp_path / "study"
    words = ["related", f"--name={name}", f"--study={study}", f"--experiments={experiments}"]
    assert main([*words, *options, f"--append={tiny(name)}"]) == 0
    assert "made-up radiographs" in capsys.readouterr().out
    found = [path.parent for path in study.glob("base/*/*/fold0/predictions.csv")]
    assert {f"{path.parts[-3]}/{path.parts[-2]}" for path in found} == set(runs)
    tables = [load_predictions(path / "predictions.csv", label_set_of(study)) for path in found]
    if name == "frozen":
        assert len(list(study.glob("hdf5/*.h5"))) == 1
        repeats = [table.filter(like="p_").to_numpy() for table in tables]
        assert (repeats[0] != repeats[1]).any()
    if name == WITH_DOCUMENT:
        page = (study / "comparison" / "report.html").read_text()
        assert "A CNN of 13 convolutions: as the papers print it" in page
        assert "Phantoms: these radiographs are made up" in page
        for table in ("runs", "classification_val", "classification_test", "network_cnn13"):
            assert f'id="table_of_{table}"' in page
        for figure in ("cohort", "answers_global_cnn13", "learning_cnn13", "validation_cnn13"):
            assert f'id="figure_{figure}"' in page
        report = pd.read_csv(study / "comparison" / "classification_test.csv")
        assert report.loc[report["class"] == "COVID-19", "published_f1"].iloc[0] == 0.80
        assert len(pd.read_csv(study / "comparison" / "network_cnn13.csv")) > 26


def test_what_a_study_lacks_is_a_sentence(experiments, tmp_path, capsys):
    words = ["related", f"--study={tmp_path}", f"--experiments={experiments}"]
    assert main([*words, "--name=covid_qu_ex", "--arm=patched"]) == 1
    assert "arm names patched; the study has global, masked, background" in capsys.readouterr().err
    assert main([*words, "--name=nowhere"]) == 1
    assert "Studies there: cnn13, covid_qu_ex" in capsys.readouterr().err
