import wandb

from flannel.__main__ import main


def test_the_earlier_name_of_the_command_still_works(phantom_study, capsys):
    assert main(["cheats", f"--study={phantom_study}"]) == 0
    screen = capsys.readouterr()
    assert screen.err == "cheats is called shortcuts now.\n"
    assert screen.out == "no shortcut baseline: no learner or ensemble is finished yet\n"


def test_the_baselines_command_says_what_it_made(phantom_study, capsys):
    assert main(["shortcuts", f"--study={phantom_study}"]) == 0
    assert (
        capsys.readouterr().out == "no shortcut baseline: no learner or ensemble is finished yet\n"
    )


def test_the_dashboard_command_says_where_the_dashboard_lies(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(wandb, "login", lambda **_: False)
    assert main(["dashboard", f"--study={tmp_path}"]) == 0
    assert f"{tmp_path}/comparison/dashboard.json holds the dashboard" in capsys.readouterr().out


def test_without_its_package_the_dashboard_names_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("flannel.commands.comparison.find_spec", lambda name: None)
    assert main(["dashboard", f"--study={tmp_path}"]) == 1
    assert "pip install 'patched-flannel[dashboard]'" in capsys.readouterr().err
