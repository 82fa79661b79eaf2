"""Throws broken and hostile files at `flannel predict`, or hostile bundles, and counts what comes.

`levels` throws good files of random headers, depths and formats at the reader, and compares what is
read with plain computations, those of the tests.

    make fuzz                                      # all, for the MINUTES
    python tests/fuzz radiographs --minutes=10     # or: bundles, levels
    python tests/fuzz radiographs --only=1234      # one case again, by its number

Each case is drawn from (seed, number) alone. A sentence of ours, a doubt or an answer is well; any
other exception, a case that takes a minute, and memory beyond the limit are not, and end in status
1. The first case of each kind of failure is kept in a folder.
"""

import argparse
import contextlib
import faulthandler
import io
import resource
import runpy
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import bundles
import numpy as np
import radiographs
import tiny
from hypothesis import HealthCheck, given, seed, settings
from PIL import Image

from flannel.bundle.read import open_trained
from flannel.errors import FlannelError
from flannel.prediction.predict import PredictOptions, predict_files
from flannel.prediction.predictors import Panel

LONGEST_SECONDS = 60
SPARE_GIB = 6
"""Memory that a case may ask for beyond what the program has when it begins."""


def ask_radiographs(work: Path) -> Callable[[np.random.Generator, Path], str]:
    panel = Panel(tiny.tiny(work), keep=True)

    def ask(draw: np.random.Generator, folder: Path) -> str:
        place = radiographs.place(draw, folder)
        pictures = bool(draw.random() < 0.05)
        options = PredictOptions(
            redraws=5,
            pictures=pictures,
            doubtful=bool(draw.random() < 0.5),
            dicom=pictures and bool(draw.random() < 0.5),
        )
        report = predict_files(panel, [place], folder / "out", options)
        print(report)
        return "answered" if report.answered else "doubted"

    return ask


def ask_bundles(work: Path) -> Callable[[np.random.Generator, Path], str]:
    good = tiny.tiny_bundle(work)
    picture = work / "phantom.png"
    Image.fromarray(tiny.phantom(1)).save(picture)

    def ask(draw: np.random.Generator, folder: Path) -> str:
        bundle = folder / "hostile.flannel"
        shutil.copytree(good, bundle)
        bundles.hostile(draw, bundle)
        panel = Panel(open_trained(bundle))
        options = PredictOptions(redraws=5, pictures=False, doubtful=True)
        report = predict_files(panel, [picture], folder / "out", options)
        print(report)
        return "answered" if report.answered else "doubted"

    return ask


def ask_levels(work: Path) -> Callable[[np.random.Generator, Path], str]:
    here = Path(__file__).parents[1] / "flannel" / "data"
    tests = [
        runpy.run_path(str(here / f"test_{name}.py")) for name in ("dicom_levels", "radiograph")
    ]

    def ask(draw: np.random.Generator, folder: Path) -> str:
        for test in tests:
            path, check = folder / "radiograph", test["check"]

            @settings(
                max_examples=20, deadline=None, database=None, suppress_health_check=HealthCheck
            )
            @seed(int(draw.integers(2**32)))
            @given(case=test["cases"]())
            def compare(case: object) -> None:
                try:
                    check(case, path)  # noqa: B023  called at once
                except FlannelError as fault:
                    raise AssertionError("A good file is refused.") from fault

            compare()
        return "equal"

    return ask


def outcome_of(ask: Callable[[], str]) -> tuple[str, str]:
    """Returns what came of a case, and the traceback where it ended in one."""
    screen = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # strict, as standard output is
    try:
        with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(io.StringIO()):
            return ask(), ""
    except Exception as fault:  # any but ours is what is looked for
        return (
            ("a sentence", "")
            if isinstance(fault, FlannelError)
            else ("a traceback", traceback.format_exc())
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("target", choices=("radiographs", "bundles", "levels"))
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="one case, by its number")
    parser.add_argument("--keep", type=Path, default=Path("runs/fuzz"), help="for what fails")
    options = parser.parse_args()
    faulthandler.enable()
    counts: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    warned: Counter[str] = Counter()
    slowest = (0.0, -1)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        work = Path(temporary)
        asks = {"radiographs": ask_radiographs, "bundles": ask_bundles, "levels": ask_levels}
        ask = asks[options.target](work)
        _limit_memory()
        until = time.monotonic() + 60 * options.minutes
        number = options.only or 0
        while time.monotonic() < until:
            folder = work / "case"
            folder.mkdir()
            draw = np.random.default_rng([options.seed, number])
            faulthandler.dump_traceback_later(LONGEST_SECONDS, exit=True)
            started = time.process_time()
            with warnings.catch_warnings(record=True) as heard:
                warnings.simplefilter("always")
                outcome, trace = outcome_of(lambda: ask(draw, folder))  # noqa: B023  asked at once
            faulthandler.cancel_dump_traceback_later()
            slowest = max(slowest, (time.process_time() - started, number))
            counts[outcome] += 1
            warned.update({f"{one.category.__name__}: {str(one.message)[:90]}" for one in heard})
            if trace:
                kind = "\n".join(trace.strip().splitlines()[-3:])
                failures[kind] += 1
                if failures[kind] == 1:
                    print(f"case {number}:\n{trace}", flush=True)
                    kept = options.keep / f"{options.target}-{options.seed}-{number}"
                    _keep(folder, kept, trace)
            shutil.rmtree(folder)
            number += 1
            if options.only is not None:
                break
    print(f"{sum(counts.values())} cases: {dict(counts)}")
    print(f"slowest: {slowest[0]:.1f} s of processor time, case {slowest[1]}")
    print(f"most memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")
    for name, times in warned.most_common(12):
        print(f"warned {times} times: {name}")
    for kind, times in failures.most_common():
        print(f"FAILED {times} times:\n{kind}")
    return 1 if failures else 0


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + SPARE_GIB * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _keep(folder: Path, kept: Path, trace: str) -> None:
    kept.mkdir(parents=True, exist_ok=True)
    (kept / "traceback.txt").write_text(trace, encoding="utf-8", errors="replace")
    with contextlib.suppress(OSError, shutil.Error):  # pipes and loops cannot be copied
        for path in folder.iterdir():
            if path.is_file() and path.stat().st_size < 2**24:
                shutil.copy(path, kept)


if __name__ == "__main__":
    sys.exit(main())
