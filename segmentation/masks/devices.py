"""Masks made by several processes, one on each GPU."""

import os
from collections.abc import Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import Empty

import torch
from torch import multiprocessing

from flannel.runs.signals import leave_interrupts_to_parent
from segmentation.checkpoint import MaskError, Segmenter, load_segmenter
from segmentation.masks.pipeline import MadeMask, MaskOptions, make_masks
from segmentation.masks.radiograph_files import RadiographFile

POLL_SECONDS = 1


def all_devices() -> int:
    """Counts the GPUs; a machine without one has its CPU."""
    return max(1, torch.cuda.device_count())


def on_devices(
    radiographs: Sequence[RadiographFile],
    segmenter: Segmenter,
    folder: Path,
    options: MaskOptions,
    batch_size: int,
    devices: int,
) -> Iterator[MadeMask | str]:
    """Makes masks as `make_masks` does, each radiograph by one of several processes.

    Without a GPU the processes share the CPU's cores.

    Args:
        radiographs: What to segment.
        segmenter: With more than one device, each process loads its checkpoint anew.
        folder: Where the masks go.
        options: What decides a mask.
        batch_size: Radiographs each network sees at once.
        devices: Processes, each with a GPU of its own.

    Raises:
        MaskError: If there are fewer GPUs, the segmenter has no checkpoint, or a process ends
            early.
    """
    count = torch.cuda.device_count()
    if devices < 1 or (count and devices > count):
        raise MaskError(f"{devices} devices are asked for; this machine shows {max(1, count)}.")
    devices = min(devices, len(radiographs))
    if devices <= 1:
        yield from make_masks(radiographs, segmenter, folder, options, batch_size, device_of(0))
        return
    if segmenter.checkpoint is None:
        raise MaskError("A segmenter without a checkpoint works on one device only.")
    context = multiprocessing.get_context("spawn")
    outcomes = context.Queue()
    processes = [
        context.Process(
            target=_work_on_share,
            args=(rank, devices, radiographs[rank::devices], segmenter.checkpoint),
            kwargs={
                "sha256": segmenter.sha256,
                "folder": folder,
                "options": options,
                "batch_size": batch_size,
                "outcomes": outcomes,
            },
            daemon=True,
        )
        for rank in range(devices)
    ]
    for process in processes:
        process.start()
    try:
        yield from _received(outcomes, processes, len(radiographs))
    finally:
        for process in processes:
            process.terminate()
            process.join()


def device_of(rank: int) -> torch.device:
    """Returns the GPU of a process, or the CPU."""
    return torch.device("cuda", rank) if torch.cuda.is_available() else torch.device("cpu")


def _work_on_share(
    rank: int,
    devices: int,
    radiographs: Sequence[RadiographFile],
    checkpoint: Path,
    sha256: str,
    folder: Path,
    options: MaskOptions,
    batch_size: int,
    outcomes: "multiprocessing.Queue[MadeMask | str | MaskError]",
) -> None:
    """Runs in a process of its own, and ends with the one that started it."""
    leave_interrupts_to_parent()
    device = device_of(rank)
    if device.type == "cpu":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // devices))
    parent = multiprocessing.parent_process()
    try:
        segmenter = load_segmenter(checkpoint)
        if segmenter.sha256 != sha256:
            raise MaskError(
                f"{checkpoint} was replaced while masks were made. The same command makes the rest."
            )
        for outcome in make_masks(radiographs, segmenter, folder, options, batch_size, device):
            if parent is None or not parent.is_alive():
                return
            outcomes.put(outcome)
    except MaskError as fault:
        outcomes.put(fault)


def _received(
    outcomes: "multiprocessing.Queue[MadeMask | str | MaskError]",
    processes: Sequence[BaseProcess],
    total: int,
) -> Iterator[MadeMask | str]:
    received = 0
    while received < total:
        ended = [process.exitcode for process in processes if process.exitcode is not None]
        try:
            outcome = outcomes.get(timeout=POLL_SECONDS)
        except Empty:
            if any(ended) or len(ended) == len(processes):
                raise MaskError(
                    f"A process that makes masks ended early (exit codes {ended}); "
                    f"{received} of {total} are made. The same command makes the rest."
                ) from None
            continue
        if isinstance(outcome, MaskError):
            raise outcome
        received += 1
        yield outcome
