"""A page to try a study on, for this machine only: a radiograph dropped, the picture of an opinion.

The page is one template without any file beside it. Nothing that is dropped is kept: the file, and
all that is made of it, lie in a temporary folder that is gone before the page is sent. What a
killed page left there is deleted by the next one (`flannel.prediction.upload_folders`).
"""

import asyncio
import base64
import errno
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from threading import Thread
from typing import BinaryIO
from urllib.parse import urlsplit

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, PlainTextResponse
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flannel.errors import sentence_of
from flannel.prediction.output import picture_name
from flannel.prediction.predict import PredictOptions, predict_files
from flannel.prediction.predictors import Panel
from flannel.prediction.results import Prediction, RadiographResult, leading
from flannel.prediction.trained import NOTICE
from flannel.prediction.upload_folders import (
    empty_upload_folders,
    remove_left_uploads,
    upload_folder,
)
from flannel.templates import page_environment

HOSTS = ("127.0.0.1", "localhost")
"""Names of this machine. A page elsewhere whose own name is made to lead here has another."""

LONGEST_NAME = 80
MOST_UPLOADS = 16
"""Files that may come in or wait for their answer at once."""
UPLOAD_SECONDS = 60.0
"""How long a file may take to come in."""


@dataclass(frozen=True)
class Opinion:
    """The answer about one file.

    Attributes:
        result: The radiograph; None where the file is none that can be read.
        faults: Sentences on what is wrong with the file.
        picture: A PNG; empty where there is none.
    """

    result: RadiographResult | None
    faults: tuple[str, ...]
    picture: bytes

    @property
    def leading(self) -> Prediction | None:
        """The prediction that is shown first."""
        return None if self.result is None else leading(self.result.predictions)


def opinion_on(panel: Panel, path: Path) -> Opinion:
    """Asks all learners about one file, and leaves what they make of it beside the file.

    Args:
        panel: Who answers.
        path: The file, in a folder of its own.
    """
    out = path.with_name(f"{path.name}.opinion")  # a name that the file cannot have
    try:
        report = predict_files(panel, [path], out, PredictOptions())
    except Exception as fault:
        sentence = sentence_of(fault)
        if sentence is None:
            raise
        return Opinion(None, (_without_folder(sentence, path),), b"")
    faults = tuple(_without_folder(fault, path) for fault in report.faults)
    result = next(iter(report.results), None)
    if result is None:
        return Opinion(None, faults, b"")
    return Opinion(result, faults, (out / picture_name(result.image_id)).read_bytes())


def create_app(
    opinion: Callable[[Path], Opinion],
    study: str,
    diagnoses: tuple[str, ...],
    limit_mb: int = 64,
    upload_seconds: float = UPLOAD_SECONDS,
    takes: str = "from seconds to minutes",
) -> FastAPI:
    """Makes the page.

    Args:
        opinion: Returns the answer about a file; called for one file at a time.
        study: Who answers, for the title.
        diagnoses: The label set, in order.
        limit_mb: Greatest size of an upload, in megabytes.
        upload_seconds: How long an upload may take to come in.
        takes: How long the learners need for a radiograph, in words.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=_lifespan)
    app.add_middleware(LimitedUpload, limit_mb=limit_mb, seconds=upload_seconds)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS), www_redirect=False)
    template = page_environment("flannel.prediction").get_template("app.html.j2")
    uploads, one_at_a_time = asyncio.Semaphore(MOST_UPLOADS), asyncio.Lock()

    def page(
        opinion_shown: Opinion | None = None, name: str = "", fault: str = "", status: int = 200
    ) -> HTMLResponse:
        nonce = secrets.token_urlsafe(16)
        picture = base64.b64encode(opinion_shown.picture).decode() if opinion_shown else ""
        content = template.render(
            study=study, diagnoses=diagnoses, notice=NOTICE, limit_mb=limit_mb, nonce=nonce,
            opinion=opinion_shown, name=name, picture=picture, fault=fault, takes=takes,
        )  # fmt: skip
        return HTMLResponse(content, status, headers=_headers(nonce))

    @app.get("/")
    async def empty() -> HTMLResponse:
        return page()

    @app.post("/")
    async def ask(request: Request) -> HTMLResponse:
        _check_origin(request)
        if uploads.locked():
            raise HTTPException(
                503, f"{MOST_UPLOADS} files are waiting for an answer already. Try again later."
            )
        # The file comes in before its turn, so that a slow one keeps nobody waiting.
        async with uploads, request.form(max_files=1) as form:
            upload = form.get("radiograph")
            if not isinstance(upload, UploadFile) or not upload.filename:
                raise HTTPException(400, "No file came: choose a radiograph.")
            name = upload.filename
            async with one_at_a_time:
                if await request.is_disconnected():
                    raise ClientDisconnect
                answer = await _in_thread(partial(_answered, opinion, upload.file, name))
        return page(answer, name, status=200 if answer.result else 422)

    _show_faults(app, lambda fault, status: page(fault=fault, status=status))
    return app


def _show_faults(app: FastAPI, page: Callable[[str, int], HTMLResponse]) -> None:
    """Lets the page show what went wrong, each error in its sentence and with its status."""

    @app.exception_handler(StarletteHTTPException)
    async def refused(request: Request, fault: StarletteHTTPException) -> HTMLResponse:
        return page(fault.detail, fault.status_code)

    @app.exception_handler(ClientDisconnect)
    async def cancelled(request: Request, fault: ClientDisconnect) -> HTMLResponse:
        return page("The file did not come in whole.", 400)  # nobody is there to read it

    @app.exception_handler(OSError)
    async def no_room(request: Request, fault: OSError) -> HTMLResponse:
        if fault.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise fault
        sentence = (
            f"The file cannot be looked at in {gettempdir()} ({fault.strerror}). Make room there, "
            "or start the page with TMPDIR set to another folder."
        )
        return page(sentence, 507)

    @app.exception_handler(Exception)
    async def failed(request: Request, fault: Exception) -> HTMLResponse:
        sentence = "Something went wrong that should not; the terminal of this page says what."
        return page(sentence, 500)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Deletes what a killed page left before the first upload, and at the end what is held."""
    left = remove_left_uploads()
    if left:
        print(f"deleted what a page that was killed left of {left} uploads", flush=True)
    yield
    empty_upload_folders()
    print("The page has ended; what was dropped on it is deleted.", flush=True)


def _answered(opinion: Callable[[Path], Opinion], content: BinaryIO, name: str) -> Opinion:
    """Returns the opinion on an upload, which lies in a file of its own as long as that takes."""
    with upload_folder() as folder:
        path = folder / _plain(name)
        with path.open("wb") as stream:
            shutil.copyfileobj(content, stream)
        return opinion(path)


async def _in_thread(call: Callable[[], Opinion]) -> Opinion:
    """Runs a call in a thread that keeps the program from ending no more than the page does."""
    done: Future[Opinion] = Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            done.set_result(call())
        except BaseException as fault:
            done.set_exception(fault)

    Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(done)


class LimitedUpload:
    """Refuses a request that is too large or too slow, whatever length it declared.

    Where the page ends before a request does, a sentence says so.

    Args:
        app: What is called.
        limit_mb: Greatest size of a request's body, in megabytes.
        seconds: How long a request's body may take to come in.
    """

    def __init__(self, app: ASGIApp, limit_mb: int, seconds: float) -> None:
        self.app, self.limit_mb, self.seconds = app, limit_mb, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Counts what comes in."""
        came, coming, answering = 0, True, False
        deadline = asyncio.get_running_loop().time() + self.seconds

        async def counted() -> Message:
            nonlocal came, coming
            try:
                async with asyncio.timeout_at(deadline if coming else None):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(
                    408, f"The file did not come in whole within {self.seconds:g} s. Try again."
                ) from None
            coming = message.get("more_body", False)
            came += len(message.get("body", b""))
            if came > self.limit_mb * 1_000_000:
                raise HTTPException(413, f"The file is larger than {self.limit_mb} MB.")
            return message

        async def noted(message: Message) -> None:
            nonlocal answering
            answering = True
            await send(message)

        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            await self.app(scope, counted, noted)
        except asyncio.CancelledError:  # the server is ending, and has waited for a while
            if not answering:
                await PlainTextResponse("The page has ended.", 503)(scope, receive, send)


def _check_origin(request: Request) -> None:
    """Refuses a file that a page from elsewhere sends here."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise HTTPException(403, "The file was sent by another page than this one.")


def _headers(nonce: str) -> dict[str, str]:
    """Lets the page run its own script and nothing else, and no other page show it."""
    policy = (
        f"default-src 'none'; img-src data:; style-src 'nonce-{nonce}'; "
        f"script-src 'nonce-{nonce}'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
    )
    return {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }


def _plain(name: str) -> str:
    """Returns a file's own name without anything that a file system might misread."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[-LONGEST_NAME:].lstrip(".") or "radiograph"


def _without_folder(sentence: str, path: Path) -> str:
    """Names the file as the person knows it, and not where it lay."""
    for folder in (path.parent, path.parent.resolve()):
        sentence = sentence.replace(f"{folder}/", "")
    return sentence
