"""The array job: its tasks are the runs of the list. Slurm itself is played by two lines."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SLURM = Path(__file__).parent.parent / "experiments" / "slurm"

# Plays the project's Python: lists three runs, or says with what it was called.
PYTHON = """#!/bin/bash
[[ " $* " != *" --list=true "* ]] || { printf 'flannel learner fit %s\\n' one two three; exit; }
echo "$SLURM_JOB_NAME: $*"
"""
# Plays sbatch: works through the array at once.
SBATCH = """#!/bin/bash
while [[ $1 == --* ]]; do
  echo "sbatch $1"
  case $1 in --array=*) array=${1#--array=} ;; esac
  shift
done
for ((task = ${array%-*}; task <= ${array#*-}; task++)); do
  SLURM_ARRAY_TASK_ID=$task bash "$@"
done
"""


@pytest.fixture
def submit(tmp_path):
    """Runs submit.sh in a project of its own, with a Python and an sbatch that only play."""
    shutil.copytree(SLURM, tmp_path / "experiments" / "slurm")
    for path, text in ((".venv/bin/python", PYTHON), ("bin/sbatch", SBATCH)):
        file = tmp_path / path
        file.parent.mkdir(parents=True)
        file.write_text(text)
        file.chmod(0o755)
    script = tmp_path / "experiments" / "slurm" / "submit.sh"

    def run(*words):
        environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", str(script), *words],
            env=environment, capture_output=True, text=True, check=True, cwd=tmp_path.parent,
        )  # fmt: skip
        return done.stdout.splitlines()

    return run


def test_every_run_of_the_list_is_a_task_of_the_array(submit):
    tasks = submit("--gpus=2", "--", "--study=runs/a study", "--fold=all")
    assert tasks[:2] == ["sbatch --array=0-2", "sbatch --gpus=2"]
    assert tasks[2:] == [
        f"interactive: -m flannel base-models --index={task} --study=runs/a study --fold=all"
        for task in range(3)
    ]


def test_options_of_neither_are_needed(submit):
    assert submit()[0] == "sbatch --array=0-2"


@pytest.mark.parametrize("name", ["submit.sh", "base_models.sbatch"])
def test_the_scripts_are_bash(name):
    subprocess.run(["bash", "-n", str(SLURM / name)], check=True)
