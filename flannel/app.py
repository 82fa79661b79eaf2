"""A page to try a study on, for this machine only: a radiograph dropped, the picture of an opinion.

The page is one template without any file beside it. Nothing that is dropped is kept: the file, and
all that is made of it, lie in a temporary folder that is gone before the page is sent.
"""

import asyncio
import base64
import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flannel.asking import Panel
from flannel.data.pages import page_environment
from flannel.errors import FlannelError
from flannel.predict import PredictOptions, predict_files
from flannel.prediction_files import picture_name
from flannel.trained import NOTICE
from flannel.verdicts import Judged, Verdict, leading

HOSTS = ("127.0.0.1", "localhost")
"""Names of this machine. A page elsewhere whose own name is made to lead here has another."""

LONGEST_NAME = 80


@dataclass(frozen=True)
class Opinion:
    """What is said of one file.

    Attributes:
        judged: The radiograph; None where the file is none that can be read.
        faults: Sentences on what is wrong with the file.
        picture: A PNG; empty where there is none.
    """

    judged: Judged | None
    faults: tuple[str, ...]
    picture: bytes

    @property
    def leading(self) -> Verdict | None:
        """The verdict that is shown first."""
        return None if self.judged is None else leading(self.judged.verdicts)


def opinion_on(panel: Panel, path: Path) -> Opinion:
    """Asks all learners about one file, and leaves what they make of it beside the file.

    Args:
        panel: Who answers.
        path: The file, in a folder of its own.
    """
    out = path.parent / "opinion"
    try:
        report = predict_files(panel, [path], out, PredictOptions())
    except FlannelError as fault:
        return Opinion(None, (_without_folder(str(fault), path),), b"")
    faults = tuple(_without_folder(fault, path) for fault in report.faults)
    judged = next(iter(report.judged), None)
    if judged is None:
        return Opinion(None, faults, b"")
    return Opinion(judged, faults, (out / picture_name(judged.image_id)).read_bytes())


def create_app(
    opinion: Callable[[Path], Opinion], study: str, diagnoses: tuple[str, ...], limit_mb: int = 64
) -> FastAPI:
    """Makes the page.

    Args:
        opinion: Says what is to be said of a file; called for one file at a time.
        study: Who answers, for the title.
        diagnoses: The label set, in order.
        limit_mb: Greatest size of an upload, in megabytes.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(LimitedUpload, limit_mb=limit_mb)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS), www_redirect=False)
    template = page_environment("flannel").get_template("app.html.j2")
    one_at_a_time = asyncio.Lock()

    def page(
        said: Opinion | None = None, name: str = "", fault: str = "", status: int = 200
    ) -> HTMLResponse:
        nonce = secrets.token_urlsafe(16)
        picture = base64.b64encode(said.picture).decode() if said else ""
        content = template.render(
            study=study, diagnoses=diagnoses, notice=NOTICE, limit_mb=limit_mb, nonce=nonce,
            said=said, name=name, picture=picture, fault=fault,
        )  # fmt: skip
        return HTMLResponse(content, status, headers=_headers(nonce))

    @app.get("/")
    async def empty() -> HTMLResponse:
        return page()

    @app.post("/")
    async def ask(request: Request) -> HTMLResponse:
        _check_origin(request)
        async with one_at_a_time, request.form(max_files=1) as form:
            upload = form.get("radiograph")
            if not isinstance(upload, UploadFile) or not upload.filename:
                raise HTTPException(400, "No file came: choose a radiograph.")
            with TemporaryDirectory(prefix="flannel-") as folder:
                path = Path(folder) / _plain(upload.filename)
                with path.open("wb") as stream:
                    await run_in_threadpool(shutil.copyfileobj, upload.file, stream)
                said = await run_in_threadpool(opinion, path)
        return page(said, upload.filename, status=200 if said.judged else 422)

    @app.exception_handler(StarletteHTTPException)
    async def refused(request: Request, fault: StarletteHTTPException) -> HTMLResponse:
        return page(fault=fault.detail, status=fault.status_code)

    @app.exception_handler(Exception)
    async def failed(request: Request, fault: Exception) -> HTMLResponse:
        sentence = "Something went wrong that should not; the terminal of this page says what."
        return page(fault=sentence, status=500)

    return app


class LimitedUpload:
    """Refuses a request once more of it came than is allowed, whatever it said of its length.

    Args:
        app: What is called.
        limit_mb: Greatest size of a request's body, in megabytes.
    """

    def __init__(self, app: ASGIApp, limit_mb: int) -> None:
        self.app, self.limit_mb = app, limit_mb

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Counts what comes in."""
        came = 0

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > self.limit_mb * 1_000_000:
                raise HTTPException(413, f"The file is larger than {self.limit_mb} MB.")
            return message

        await self.app(scope, counted, send)


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
    """Gives a file's own name without anything that a file system might misread."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[-LONGEST_NAME:].lstrip(".") or "radiograph"


def _without_folder(sentence: str, path: Path) -> str:
    """Names the file as the person knows it, and not where it lay."""
    for folder in (path.parent, path.parent.resolve()):
        sentence = sentence.replace(f"{folder}/", "")
    return sentence
