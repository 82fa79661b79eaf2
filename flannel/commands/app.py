"""The page to try a study on."""

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flannel.commands.recipes import chosen
from flannel.errors import RunError, check_range
from flannel.runs.run import Answering
from flannel.runs.signals import Stopped

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

GRACE_SECONDS = 3
"""How long the page waits, when it is ended, for uploads and answers that are under way."""


def app(
    study: Path = Path("runs/study"),
    port: int = 8765,
    fold: int | None = None,
    arm: str = "all",
    learner: str = "all",
    patches: int | None = None,
    quick: bool = True,
    precision: Answering = "auto",
    limit_mb: int = 64,
) -> None:
    """Serves a page on this machine that predicts radiographs dropped on it.

    Only programs on this machine reach it. A file that is dropped is deleted with its answer; what
    a page that was killed left of it is deleted at the next start. Ctrl-C ends the page.

    Args:
        study: The study's folder, or a bundle.
        port: Of the page, on 127.0.0.1.
        fold: Whose learners predict; by default the first that the study has trained.
        arm: "all", or arms with commas.
        learner: "all", or base learners with commas.
        patches: Patches per radiograph; by default those of each learner's recipe.
        quick: Use 40 patches that keep apart where a recipe has up to 100 uniform ones: the same
            error in less time. False, or a number of patches: the study's own centres.
        precision: Arithmetic: "auto" is that of the training where this machine computes it
            natively, otherwise the fastest; "as_trained" gives the study's own digits.
        limit_mb: Greatest size of a file, in megabytes.

    Raises:
        RunError: If the extra `app` is not installed.
    """
    check_range(0, 65535, port=port)
    check_range(0, fold=fold)
    check_range(1, patches=patches, limit_mb=limit_mb)
    try:
        import python_multipart  # noqa: F401  without it FastAPI reads no form
        import uvicorn  # noqa: F401

        from flannel.prediction.app import create_app, opinion_on
    except ModuleNotFoundError as fault:
        raise RunError(
            f"The page needs {fault.name}: install the extra `app` (pip install '.[app]')."
        ) from fault
    from functools import partial

    from flannel.bundle.read import open_trained
    from flannel.prediction.predictors import Panel
    from flannel.runs.screen import spoken

    trained = open_trained(study, fold, chosen(arm), chosen(learner))
    if quick and patches is None:
        trained = trained.with_few_patches()
    panel = Panel(trained, patches=patches, keep=True, precision=precision)
    for note in panel.trained.notes:
        print(note)
    takes = f"about {spoken(panel.seconds_an_image())}"
    print(f"The learners take {takes} for a radiograph on this machine.", flush=True)
    page = create_app(
        partial(opinion_on, panel), trained.name, trained.diagnoses, limit_mb, takes=takes
    )
    print(f"open http://127.0.0.1:{port} (Ctrl-C ends it)", flush=True)
    run_page(page, port)


def run_page(page: "FastAPI", port: int) -> None:
    """Serves a page until a signal ends the process.

    The server hears SIGINT and SIGTERM, and waits for a moment. A closed terminal is SIGTERM to it.
    """
    from flannel.prediction.upload_folders import empty_upload_folders

    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        serve(page, port).run()
    except Stopped as stop:
        empty_upload_folders()
        sys.stdout.flush()
        os._exit(stop.status)  # a network may still compute in a thread, which nothing else ends


def serve(page: "FastAPI", port: int) -> "uvicorn.Server":
    """Returns the server of a page: on the loopback address, whatever else the machine has."""
    import uvicorn

    config = uvicorn.Config(
        page,
        host="127.0.0.1",
        port=port,
        log_level="warning",
        ws="none",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return uvicorn.Server(config)
