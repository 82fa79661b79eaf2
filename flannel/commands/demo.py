"""The demo: the whole study on phantom radiographs, by the commands of a real study."""

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from flannel.commands.recipes import RECIPES
from flannel.errors import RunError, check_range
from flannel.runs.run import WandbMode
from flannel.runs.screen import spoken

IMAGES, MASKS, PHANTOM_PX, STORE_PX = 160, 40, 320, 256
QUICK = "densenet161,inception_v3"
"""The two of the five that learn quickest."""

MEMORY_GB, MEMORY_GB_LARGE = 3.0, 4.5
"""What the demo takes at most: with quick learners, and with others too."""

MEMORY_GB_MORE = 3.0
"""What must be free beside that for two learners to train at a time."""

DISK_GB, DISK_GB_EACH = 1.0, 0.6
"""What it leaves at most: without a learner, and for each in both arms beside its running one."""

LINE_SECONDS = 20
"""Between two lines of progress, where there is no terminal."""

STEADY_SECONDS = 30
"""What the stages before have to take until their pace counts as much as the plan."""

# Measured on two cores of an AMD EPYC, in float32 with AVX2 and in bfloat16 with AVX512-BF16.
LEARNER_SECONDS = {
    "densenet161": (110, 80),
    "inception_v3": (70, 55),
    "resnet152": (170, 80),
    "resnext101": (200, 100),
    "vgg19_bn": (200, 100),
}
OTHER_LEARNER_SECONDS = (100, 60)

SHARE_OF_TWO = 0.7
"""Time of two learners at a time, of one after the other (in bfloat16; 93 of 135 s)."""


@dataclass(frozen=True)
class DemoStage:
    """A part of the demo.

    Attributes:
        title: What it does.
        seconds: How long that takes on two cores, in float32 and in bfloat16.
        work: Does it.
    """

    title: str
    seconds: tuple[float, float]
    work: Callable[[], object]


def demo(
    study: Path = Path("runs/demo"),
    learner: str = QUICK,
    seed: int = 1,
    experiments: Path = RECIPES,
    redo: bool = False,
    wandb: WandbMode | None = None,
) -> None:
    """Runs the whole study on phantom radiographs, offline and on a CPU, up to the report.

    A killed demo goes on with the stages and runs that are not finished. What the stages say goes
    to `demo.log` in the study.

    Args:
        study: The study folder.
        learner: Base learners with commas, or "all" five.
        seed: Of phantoms, folds and networks.
        experiments: The folder of the recipes.
        redo: Make finished runs again.
        wandb: Overrides WANDB_MODE.

    Raises:
        OptionError: If the seed is negative.
        RunError: If a learner has no recipe, memory or disk do not suffice, or a stage failed.
    """
    from flannel.commands.base_models import base_configs
    from flannel.commands.recipes import recipe_names

    check_range(0, seed=seed)
    names = (
        recipe_names(experiments / "base" / "global") if learner == "all" else learner.split(",")
    )
    append = experiments / "demo"
    for name in names:
        base_configs(experiments, append, "global", name)
    large = bool(set(names) - set(QUICK.split(",")))
    memory_gb = MEMORY_GB_LARGE if large else MEMORY_GB
    check_room(study, memory_gb, DISK_GB + DISK_GB_EACH * len(names))
    # Threads that spin while they wait are slowed down tenfold by any other program's load.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import torch

    from flannel.runs.arithmetic import device_name, quickest

    cpu = torch.device("cpu")
    precision, cores = quickest(cpu), torch.get_num_threads()
    # Small networks keep two threads busy half of the time, and two runs of one thread all of it.
    room = (free_memory_gb() or 0) >= memory_gb + MEMORY_GB_MORE
    at_once = 2 if cores > 1 and room else 1
    stages = _stages(study, names, at_once, seed, experiments, redo, wandb)
    seconds = [stage.seconds[precision == "bf16-mixed"] * max(1, 2 / cores) for stage in stages]
    log = study / "demo.log"
    print(
        f"The whole study on {IMAGES} phantom radiographs. FC-DenseNet103 segments lungs;\n"
        f"{' and '.join(names)} learn from whole radiographs and from patches; FLANNEL\n"
        f"combines them; a report compares all. In {precision}, on {cores} core"
        f"{'s' * (cores > 1)} of {device_name(cpu)},\n"
        f"this takes about {spoken(sum(seconds))}. Log: {log}",
        flush=True,
    )
    run_stages(stages, seconds, log)
    picture = next(iter(sorted((study / "phantoms/covid-chestxray-dataset/images").iterdir())))
    print(
        f"report: {study / 'comparison' / 'report.html'}\nnext:\n"
        f"  make app STUDY={study}    # a page to drop a radiograph on\n"
        f"  make predict STUDY={study} IMAGE={picture}    # one radiograph, with a picture\n"
        "  make study DATA=folder MASKS=folder    # the same on real radiographs",
        flush=True,
    )


def _stages(
    study: Path,
    names: Sequence[str],
    at_once: int,
    seed: int,
    experiments: Path,
    redo: bool,
    wandb: WandbMode | None,
) -> list[DemoStage]:
    """Lists what `make study` runs, on phantoms."""
    from flannel.commands.base_models import base_models
    from flannel.commands.cohort import audit, manifest, phantoms, store
    from flannel.commands.comparison import compare, shortcuts
    from flannel.commands.ensembles import ensembles
    from flannel.commands.recipes import config_flags

    made, append, learners = study / "phantoms", experiments / "demo", ",".join(names)
    configs = [experiments / "segmentation" / "fc_densenet103.yaml", append / "segmentation.yaml"]
    checkpoint = study / "segmentation" / "fc_densenet103" / "best.ckpt"
    words = [
        *("fit", *config_flags(configs), f"--data.folder={made / 'lung_masks'}"),
        *(f"--study={study}", f"--seed_everything={seed}", f"--redo={redo}"),
        *([f"--wandb={wandb}"] if wandb else []),
    ]

    def segment() -> None:
        from segmentation.training.runs import main

        main(words)

    def find_lungs() -> None:
        from segmentation.commands import predict

        predict([], study, checkpoint, precision="auto")

    trained = [LEARNER_SECONDS.get(name, OTHER_LEARNER_SECONDS) for name in names]
    share = SHARE_OF_TWO if at_once > 1 else 1.0
    return [
        DemoStage(
            "draw phantoms",
            (7, 7),
            partial(phantoms, made, IMAGES, MASKS, seed, PHANTOM_PX),
        ),
        DemoStage("manifest", (1, 1), partial(manifest, made, study, seed=seed)),
        DemoStage("store", (1, 1), partial(store, study, STORE_PX, renew=redo)),
        DemoStage("train the segmenter", (47, 35), segment),
        DemoStage("segment", (12, 9), find_lungs),
        DemoStage("audit", (6, 6), partial(audit, study)),
        DemoStage(
            "train base learners",
            (
                share * sum(seconds for seconds, _ in trained),
                share * sum(seconds for _, seconds in trained),
            ),
            partial(
                base_models, study, learner=learners, at_once=at_once, append=append,
                experiments=experiments, redo=redo, wandb=wandb,
            ),
        ),
        DemoStage(
            "train ensembles",
            (9, 9),
            partial(
                ensembles, study, arm="global,patched,fused", append=append,
                experiments=experiments, learner=learners, redo=redo, wandb=wandb,
            ),
        ),
        DemoStage("shortcut baselines", (1, 1), partial(shortcuts, study)),
        DemoStage("compare", (22, 22), partial(compare, study, wandb=wandb)),
    ]  # fmt: skip


def run_stages(stages: Sequence[DemoStage], seconds: Sequence[float], log: Path) -> None:
    """Runs stages one after the other, and shows how far all of them together have come.

    Args:
        stages: The stages.
        seconds: How long each is thought to take.
        log: Gets what they print.

    Raises:
        RunError: If one fails, with its sentence.
    """
    import importlib

    from flannel.runs.queue import apart

    log.parent.mkdir(parents=True, exist_ok=True)
    for heavy in (
        "flannel.learners.learner",
        "flannel.ensemble.ensemble",
        "flannel.comparison.compare",
        "segmentation.training.runs",
    ):
        importlib.import_module(heavy)  # once here, not once in every stage
    with log.open("w", buffering=1, encoding="utf-8") as stream:
        outlook = _Outlook([stage.title for stage in stages], seconds)
        try:
            for stage in stages:
                print(f"--- {stage.title}", file=stream)
                with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
                    apart(stage.work, outlook.beat)
                print(f"--- took {outlook.next():.1f} s", file=stream)
        except RunError as fault:
            raise RunError(f"{fault}\nIt failed in the stage {stage.title!r}: {log}") from fault
        finally:
            outlook.close()


class _Outlook:
    """One progress over all stages: a bar on a terminal, a line now and then anywhere else.

    Args:
        titles: Of the stages.
        seconds: How long each is thought to take.
    """

    def __init__(self, titles: Sequence[str], seconds: Sequence[float]) -> None:
        self.titles, self.seconds, self.done = titles, seconds, 0
        self.began = self.stage_began = time.monotonic()
        self.lined = float("-inf")
        self.console = Console(file=sys.stdout)
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}"))
        # No thread of its own: the stages fork.
        self.bar = Progress(*columns, console=self.console, auto_refresh=False, transient=True)
        self.task = self.bar.add_task("", total=1.0, left="")

    def beat(self) -> None:
        """Shows how far the stages have come; called several times a second."""
        now = time.monotonic()
        left = time_left(self.seconds, self.done, self.stage_began - self.began, now - self.began)
        share = (now - self.began) / (now - self.began + left)
        title = f"{self.done + 1} of {len(self.titles)}: {self.titles[self.done]}"
        text = f"about {spoken(left)} left"
        if self.console.is_terminal:
            if not self.bar.live.is_started:
                self.bar.start()
            self.bar.update(self.task, description=title, completed=share, left=text, refresh=True)
        elif now - self.lined >= LINE_SECONDS:
            self.lined = now
            self.console.print(f"{share:4.0%}  {title}, {text}", highlight=False, soft_wrap=True)

    def next(self) -> float:
        """Books the end of a stage, and returns the seconds that it took."""
        before, self.stage_began = self.stage_began, time.monotonic()
        self.done += 1
        return self.stage_began - before

    def close(self) -> None:
        """Takes the bar away, and says how long it all took."""
        if self.bar.live.is_started:
            self.bar.stop()
        took = spoken(time.monotonic() - self.began)
        self.console.print(f"{self.done} of {len(self.titles)} stages in {took}", highlight=False)


def time_left(seconds: Sequence[float], done: int, until_stage: float, until_now: float) -> float:
    """Estimates the seconds until the last stage ends.

    The stages to come are thought to go at the pace of those before, which counts the more the
    longer these took.

    Args:
        seconds: How long each stage was thought to take.
        done: Finished stages.
        until_stage: Seconds that these took.
        until_now: Seconds until now.
    """
    pace = (until_stage + STEADY_SECONDS) / (sum(seconds[:done]) + STEADY_SECONDS)
    rest = max(seconds[done] * pace - (until_now - until_stage), 0.05 * seconds[done])
    return rest + sum(seconds[done + 1 :]) * pace


def check_room(study: Path, memory_gb: float, disk_gb: float) -> None:
    """Refuses to begin what memory or disk would end.

    Raises:
        RunError: If less than `memory_gb` of memory or less than `disk_gb` of disk is free.
    """
    memory = free_memory_gb()
    if memory is not None and memory < memory_gb:
        raise RunError(
            f"The demo needs {memory_gb:.1f} GB of memory, and {memory:.1f} GB are free here. End "
            "other programs, raise the limit of this session or container, or use another machine."
        )
    place = next(
        folder for folder in (study.absolute(), *study.absolute().parents) if folder.exists()
    )
    disk = shutil.disk_usage(place).free / 1e9
    if disk < disk_gb:
        raise RunError(
            f"The demo needs {disk_gb:.1f} GB of disk, and {disk:.1f} GB are free in {place}. Make "
            "room, or name another folder with --study."
        )


def free_memory_gb(root: Path = Path("/")) -> float | None:
    """Reads how much memory is left to this process, in 10^9 bytes; None where nothing tells.

    The least of what the system has available and of the limits of control groups (containers,
    clusters' jobs) and of the process (ulimit -v).

    Args:
        root: Where `proc` and `sys` lie.
    """
    limits: list[float] = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
        limits.append(next(int(line.split()[1]) * 1024 for line in lines if "MemAvailable" in line))
    groups = root / "sys/fs/cgroup"
    own = []
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, kinds, place = line.split(":", 2)
            inside = Path(place.lstrip("/"))
            if kinds in ("", "memory"):
                own += [groups / kinds / folder for folder in (inside, *inside.parents)]
    for folder in own:
        for name in ("memory.max", "memory.limit_in_bytes"):
            with contextlib.suppress(OSError, ValueError):
                limits.append(int((folder / name).read_text(encoding="ascii")))  # or "max"
    with contextlib.suppress(ImportError):  # not on Windows
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            limits.append(soft)
    return min(limits) / 1e9 if limits else None
