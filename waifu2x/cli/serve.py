"""``waifu2x serve``."""

from __future__ import annotations

import importlib.util
import logging
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from ..errors import ArgumentError, MissingExtraError
from ..pipeline.options import UpscalerOptions
from .options import all_options, engine_options
from .page import Command, Option, help_option
from .params import Number, Word, model_option
from .say import error_text
from .serve_options import settings_options

if TYPE_CHECKING:
    from ..server.parameters import Kind, Parameter

HELP = """Serve a page and an HTTP API for browsers, readers, plug-ins and bots.

The page is at the printed address, the description of the API at /docs. The server listens on this
machine only, unless --host and --token are given. Ctrl-C finishes the pictures that have begun; a
second one stops at once. Needs: pip install '.[serve]'.
"""

EXAMPLES = (
    ("", "On http://127.0.0.1:8760/"),
    ("--host 0.0.0.0 --token SECRET123", "For other machines, too"),
)

#: Packages that only the server needs.
_NEEDED: Final = {
    "starlette": "starlette",
    "uvicorn": "uvicorn",
    "python_multipart": "python-multipart",
}

#: Options of the upscaler; the others are settings of the server.
_UPSCALER: Final = ("model", "engine", "device", "precision", "tile", "threads", "max_pixels")

#: Options of the main command that a request may give.
REQUEST_OPTIONS: Final = (
    *("scale", "width", "height", "noise", "strength", "color_fix", "model", "tta", "format"),
    *("quality", "depth", "strip", "strict", "skip_larger"),
)


@click.command(
    "serve",
    cls=Command,
    help=HELP,
    usage="[OPTIONS]",
    examples=EXAMPLES,
)
@settings_options
@model_option("Model and engine")
@engine_options
@click.option("--quiet", cls=Option, is_flag=True, help="Print no line for each request")
@help_option()
def serve(quiet: bool, **values: Any) -> None:
    for module, package in _NEEDED.items():
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(f"the server needs {package}; run pip install {package}")
    from PIL import Image

    from .._machine import give_memory_back
    from ..server.app import build
    from ..server.settings import ServerSettings
    from ..server.web import address_of, listen, run

    given = {name: value for name, value in values.items() if value is not None}
    given["precision"] = "fp32" if given.pop("fp32") else "auto"
    upscaler = UpscalerOptions(**{n: given.pop(n) for n in _UPSCALER if n in given})
    settings = ServerSettings(upscaler=upscaler, **given)
    # Pillow's own limit, a second one behind that of codec, applies to the whole process.
    Image.MAX_IMAGE_PIXELS = upscaler.limit
    give_memory_back()
    listener = listen(settings.host, settings.port)
    with listener:
        application = build(settings, parameters(), error_text)
        workshop = application.workshop
        _log_requests(quiet=quiet)
        workshop.start()
        try:
            click.echo(f"serving on {address_of(listener)}")
            sys.stdout.flush()
            code = run(application.app, listener, stop=workshop.stop, abandon=workshop.remove_files)
        finally:
            workshop.close()
    raise SystemExit(code)


def _log_requests(*, quiet: bool) -> None:
    """Print the lines of requests, and defects, on standard error."""
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    logging.getLogger("waifu2x.server.requests").setLevel(logging.ERROR if quiet else logging.INFO)
    # The parser of forms logs what is wrong with a body.
    for name in ("uvicorn", "python_multipart"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def parameters() -> tuple[Parameter, ...]:
    """The options of the main command that a request may give, in the order of its page."""
    upscale = click.command()(all_options(lambda: None))
    options = [each for each in upscale.params if isinstance(each, Option)]
    return tuple(_parameter(each) for each in options if each.name in REQUEST_OPTIONS)


def _parameter(option: Option) -> Parameter:
    from ..server.parameters import Parameter

    default = option.default if isinstance(option.default, str | int | float) else None
    return Parameter(
        name=str(option.name),
        flag=max(option.opts, key=len),
        kind=_kind(option),
        convert=lambda text: _converted(option, text),
        help=str(option.help),
        choices=option.type.words if isinstance(option.type, Word) else (),
        default=None if option.is_flag or default is None else str(default),
    )


def _kind(option: Option) -> Kind:
    if option.is_flag:
        return "boolean"
    if isinstance(option.type, Number):
        return "integer" if option.type.whole else "number"
    return "string"


def _converted(option: Option, text: str) -> Any:
    try:
        return option.type.convert(text, option, None)
    except click.UsageError as error:
        raise ArgumentError(error.message) from None
