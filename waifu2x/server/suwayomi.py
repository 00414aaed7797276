"""Remote processing of pages for Suwayomi: ``POST /page``.

Suwayomi posts each page to the URL that its settings ``downloadConversions`` and
``serveConversions`` name as target, as a form with the file in the field ``image``, and takes the
body of the answer for the page; the first bytes decide the format. Source: ConversionUtil.kt and
Page.kt in github.com/Suwayomi/Suwayomi-Server; its read timeout of 30 seconds is in
NetworkHelper.kt. Other readers post the bare bytes of the page.

The result has the format of the page. Options are in the query: ``/page?scale=2&noise=1``.
"""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .context import Context, client_of
from .jobs import UNNAMED
from .problems import Problem
from .uploads import Upload, is_form, kept_on_success


class Suwayomi:
    """The route of Suwayomi."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """The routes."""
        return [Route("/page", self.page, methods=["POST"])]

    async def page(self, request: Request) -> Response:
        """Answer the page, in time or with status 503."""
        context, began = self._context, time.monotonic()
        client = client_of(request)
        context.workshop.reserve(client)
        try:
            fields = dict(request.query_params)
            choice = context.parameters.read(fields)
            upload = await self._receive(request)
            with kept_on_success(upload):
                if upload.size == 0:
                    raise Problem(422, "the body is empty; send the bytes of a page")
                job = await context.submit(
                    request, upload, choice, keep_format=choice.options.format is None
                )
        except BaseException:
            context.workshop.queue.release(client)
            raise
        await context.finish(
            request, job, context.settings.page_seconds, spent=time.monotonic() - began
        )
        return context.result(job)

    async def _receive(self, request: Request) -> Upload:
        receiver = self._context.receiver
        if not is_form(request):
            return await receiver.body(request, UNNAMED)
        form = await receiver.form(request, ("image", "file"))
        if form.upload is None:
            raise Problem(422, "the form holds no file; send the page in the field image")
        with kept_on_success(form.upload):
            if form.fields:
                raise Problem(422, "options go into the query of the address, not into the form")
        return form.upload
