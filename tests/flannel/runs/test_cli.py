"""How runs are started: commands, help and fingerprints."""

import pytest
from jsonargparse import Namespace

from flannel.__main__ import main
from flannel.files import digest_of
from flannel.runs.wandb_runs import without_machine


def test_machine_settings_do_not_change_a_fingerprint():
    def digest(**options):
        return digest_of(without_machine(Namespace(**options).as_dict()))

    same = digest(study="a", trainer=Namespace(devices=1, max_epochs=2))
    assert digest(study="b", trainer=Namespace(devices=4, max_epochs=2)) == same
    assert digest(study="a", trainer=Namespace(devices=1, max_epochs=3)) != same


@pytest.mark.parametrize("command", ["manifest", "base-models", "compare", "phantoms"])
def test_commands_explain_themselves(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert "--study" in capsys.readouterr().out or command == "phantoms"


def test_unknown_and_missing_commands(capsys):
    assert main([]) == 0
    assert "base-models" in capsys.readouterr().out
    assert main(["compar"]) == 2
    assert "no command 'compar'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["compare", "--stud=x"], ["manifest", "--data=x", "--protocl=paper"]]
)
def test_abbreviated_and_misspelt_options_are_refused(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert words[-1].split("=")[0].lstrip("-") in capsys.readouterr().err


def test_a_missing_folder_is_a_sentence(tmp_path, capsys):
    assert main(["manifest", f"--data={tmp_path / 'nowhere'}", f"--study={tmp_path}"]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert main(["compare", f"--study={tmp_path}", "--wandb=off"]) == 1
    assert "make base-models" in capsys.readouterr().err
