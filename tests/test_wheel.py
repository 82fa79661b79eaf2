"""The wheel alone is enough: trained, compared and predicted in a folder without the repository."""

import os
import site
import subprocess
import sys
import venv
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
TINY = """
model: {network: {init_args: {weights: random}}}
data:
  {size_px: 32, resize_px: 40, window_px: 24, batch_size: 8, predict_patches: 4, val_patches: 1,
   on_missing_mask: skip}
resume_every: 0
trainer: {max_epochs: 1, limit_train_batches: 0.5, accelerator: cpu, precision: 32-true}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A fresh environment with the wheel, which borrows all other packages."""
    place = tmp_path_factory.mktemp("installed")
    source = place / "source"
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    for name in files:
        if name.split("/")[0] in ("flannel", "segmentation", "patching", "experiments") or (
            name in ("pyproject.toml", "README.md", "LICENSE")
        ):
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_symlink():
                path.symlink_to((ROOT / name).readlink())
            else:
                path.write_bytes((ROOT / name).read_bytes())
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('..'))"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    environment = place / "environment"
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    (packages,) = environment.glob("lib/python*/site-packages")
    (wheel,) = place.glob("*.whl")
    uv = [sys.executable, "-m", "uv", "pip", "install", "--offline", "--no-deps", "--quiet"]
    subprocess.run([*uv, f"--python={python}", str(wheel)], check=True)
    borrowed = [path for path in site.getsitepackages() if Path(path).is_dir()]
    (packages / "borrowed.pth").write_text("\n".join(borrowed))
    for path in sorted(source.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    return environment


@pytest.fixture(scope="module")
def run(installed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def command(*words):
        done = subprocess.run(
            [installed / "bin" / words[0], *words[1:]],
            cwd=folder, env={**kept, "WANDB_MODE": "disabled"}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    command.folder = folder
    return command


@pytest.mark.slow
def test_a_study_and_a_prediction_need_the_wheel_alone(installed, run):
    place = run("python", "-c", "import flannel, segmentation; print(flannel.__file__)").strip()
    assert Path(place).is_relative_to(installed)
    assert run("flannel", "--version").startswith("flannel ")
    run("flannel", "phantoms", "--out=phantoms", "--images=40", "--masks=10", "--size_px=96")
    tiny = run.folder / "tiny"
    tiny.mkdir()
    (tiny / "base.yaml").write_text(TINY)
    run(
        "flannel", "study", "--data=phantoms", "--fold=0",
        "--learner=resnet18", "--size_px=96", "--append=tiny", "--form=mean", "--study=study",
    )  # fmt: skip
    assert (run.folder / "study" / "comparison" / "report.html").is_file()
    table = pd.read_csv(run.folder / "study" / "comparison" / "table.csv")
    assert {"global", "patched"} <= set(table["arm"])
    run("flannel", "bundle", "--study=study", "--fold=0", "--out=model.flannel")
    radiograph = next(run.folder.glob("phantoms/**/images/*"))
    run(
        "flannel", "predict", str(radiograph), "--study=model.flannel", "--out=answers",
        "--doubtful=true", "--saliency=false",
    )  # fmt: skip
    assert len(pd.read_csv(run.folder / "answers" / "predictions.csv")) >= 2
