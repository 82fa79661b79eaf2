from flannel.__main__ import main


def test_the_cheats_command_says_what_it_made(phantom_study, capsys):
    assert main(["cheats", f"--study={phantom_study}"]) == 0
    assert capsys.readouterr().out == "no cheat's row: no learner or ensemble is finished yet\n"
