"""What all routes share: the state of the server, and the way of one picture through it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from typing import Final

import anyio
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from .._record import record
from .._text import level_text
from .jobs import Job, JobStore
from .parameters import Choice, Parameters
from .problems import GONE, Problem, Words, busy, problem_of
from .settings import ServerSettings
from .uploads import Form, Receiver, Upload, kept_on_success
from .work import Workshop

#: Media types of results by extension.
MEDIA: Final = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".tif": "image/tiff",
    ".bmp": "image/bmp",
    ".jxl": "image/jxl",
    ".gif": "image/gif",
    ".cbz": "application/vnd.comicbook+zip",
    ".zip": "application/zip",
}

#: Characters of the notes in a header.
_NOTES: Final = 4000


@record
class Context:
    """The state of the server."""

    settings: ServerSettings
    workshop: Workshop
    store: JobStore
    receiver: Receiver
    parameters: Parameters
    words: Words

    async def receive(self, request: Request, *files: str) -> Form:
        """Receive a form on a place that the client holds; frees the place on failure."""
        client = client_of(request)
        self.workshop.reserve(client)
        try:
            return await self.receiver.form(request, files)
        except BaseException:
            self.workshop.queue.release(client)
            raise

    async def submit(
        self, request: Request, upload: Upload, choice: Choice, *, keep_format: bool = False
    ) -> Job:
        """Queue the work for ``upload`` on a place that the client holds."""
        name = secrets.token_hex(16)
        job = Job(
            client=client_of(request),
            name=upload.name,
            source=upload.path,
            result=self.workshop.folder / f"{name}-result",
            choice=choice,
            sha256=upload.sha256,
            keep_format=keep_format,
        )
        note(request, job=job.id, bytes=upload.size, model=choice.model)
        # Reads the header of the file.
        await anyio.to_thread.run_sync(self.workshop.submit, job)
        return job

    async def finish(
        self, request: Request, job: Job, limit: float | None = None, spent: float = 0.0
    ) -> None:
        """Wait for the end of ``job``; a client that goes away cancels the job.

        limit: seconds for the whole request; a job that takes longer is canceled.
        spent: seconds of ``limit`` that have passed.

        Raises `Problem` for a job that is not done; its files are removed then.
        """
        left = None if limit is None else max(0.0, limit - spent)
        try:
            with anyio.move_on_after(left) as scope:
                async with anyio.create_task_group() as group:

                    async def follow_client() -> None:
                        while (await request.receive())["type"] != "http.disconnect":
                            pass
                        self.workshop.cancel(job)

                    group.start_soon(follow_client)
                    await job.finished()
                    group.cancel_scope.cancel()
        finally:
            if not job.over:
                self.workshop.cancel(job)
        if job.problem is not None:
            job.remove_files()
            raise job.problem
        if job.status != "done":
            if scope.cancelled_caught:
                raise busy(f"the picture takes longer than {limit:g} seconds; try again later", 5)
            raise Problem(GONE, "canceled; nothing was written")
        assert job.made is not None
        note(request, size=job.made.size_out)

    def problem(self, error: BaseException) -> Problem:
        """Describe an error in the words of the command."""
        return problem_of(error, self.words)

    def result(self, job: Job, *, keep: bool = False, name: str | None = None) -> Response:
        """The answer with the result of ``job``; without ``keep`` the file is removed then.

        name: of the result for the client.
        """
        made = job.made
        assert made is not None
        notes = [self.words(each) for each in job.notes]
        while len(json.dumps(notes)) > _NOTES:
            notes = [*notes[:-2], "further notes are left out"] if len(notes) > 1 else []
        headers = {
            "X-Waifu2x-Size": f"{made.size_out[0]}x{made.size_out[1]}",
            "X-Waifu2x-Noise": level_text(made.noise),
            "X-Waifu2x-Notes": json.dumps(notes),
            "Cache-Control": "no-store",
        }
        return ResultResponse(job, headers, keep=keep, name=name or job.result_name)


class ResultResponse(FileResponse):
    """The result of a job as a file; removes the files of the job at the end unless ``keep``."""

    def __init__(self, job: Job, headers: Mapping[str, str], *, keep: bool, name: str) -> None:
        super().__init__(
            job.result,
            headers=headers,
            media_type=MEDIA.get(job.extension, "application/octet-stream"),
            filename=name,
            content_disposition_type="inline",
        )
        self._job, self._keep = job, keep

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if not self._keep:
                self._job.remove_files()


def client_of(request: Request) -> str:
    """The client for the fair order: its address, and its program on the same machine."""
    address = "" if request.client is None else request.client.host
    return f"{address} {request.headers.get('user-agent', '')[:80]}"


def note(request: Request, **facts: object) -> None:
    """Add ``facts`` to the line of the request in the log."""
    request.scope.setdefault("waifu2x.facts", {}).update(facts)


async def upscaled(
    context: Context,
    request: Request,
    form: Form,
    read: Callable[[Mapping[str, str]], Choice],
) -> Job:
    """Queue the file of ``form``, whose fields ``read`` checks; frees the place on failure."""
    upload = form.upload
    try:
        if upload is None:
            raise Problem(422, "the form holds no file; send the picture in the field file")
        with kept_on_success(upload):
            choice = read(form.fields)
            return await context.submit(request, upload, choice)
    except BaseException:
        context.workshop.queue.release(client_of(request))
        raise
