"""What a run reports is printed, and reaches those who listen."""

from flannel.runs import steps
from flannel.runs.steps import Step, listen, report


def test_a_step_is_printed_and_handed_to_every_listener(monkeypatch, capsys):
    monkeypatch.setattr(steps, "_listeners", [])
    report("nobody listens")
    first, second = [], []
    listen(first.append)
    listen(second.append)
    report("epoch 1/9", seconds_left=80)
    report("predict 3/9 images")
    assert first == second == [Step("epoch 1/9", 80), Step("predict 3/9 images", None)]
    assert capsys.readouterr().out == "nobody listens\nepoch 1/9\npredict 3/9 images\n"
