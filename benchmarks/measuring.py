"""How the benchmarks measure: works that take turns, and the memory of this process."""

import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from flannel.runs.arithmetic import AUTO, device_name, quickest


def alternated(
    works: dict[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Returns the median seconds of each work; a first round that is not counted comes before.

    Args:
        works: What takes turns.
        rounds: At least 1.
        clock: `time.process_time` for works on one core, which other programs disturb less.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            started = clock()
            work()
            if number:
                seconds[name].append(clock() - started)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def resident_mb(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}; the memory is read on Linux only.")


def machine(precision: str = "32-true") -> str:
    """Returns what a measurement depends on: processor and capability, threads, torch, arithmetic.

    Args:
        precision: Of the networks, if any.
    """
    cpu = torch.device("cpu")
    return (
        f"{processor()}, {device_name(cpu)}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, {precision}"
    )


def resolved(precision: str) -> str:
    """Returns what a `--precision` becomes on this CPU."""
    return quickest(torch.device("cpu")) if precision == AUTO else precision


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
