"""Configuration of Sphinx: the pages of the repository and the reference as one static site.

Build the site with warnings as errors, in the folder of the repository::

    sphinx-build -W --keep-going -c docs . build/site

Pages are Markdown (MyST) at their places in the repository, so links work on the site as in a
clone. The reference comes from docstrings, which are reStructuredText with a rule of this project:
a paragraph that begins with names and a colon describes parameters or fields.
"""

from __future__ import annotations

import inspect
import re
import shutil
import sys
import textwrap
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

ROOT: Final = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from sphinx.util.matching import get_matching_files  # noqa: E402
from sphinx.util.typing import stringify_annotation  # noqa: E402

import waifu2x  # noqa: E402
from waifu2x.network.graph import Graph  # noqa: E402
from waifu2x.network.registry import AnyLevel, Level  # noqa: E402

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "waifu2x"
author = "the authors of waifu2x"
project_copyright = author
release = version = waifu2x.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "README"
include_patterns = [
    *("*.md", "docs/*.md", "models/*.md", "integrations/**.md"),
    *("benchmarks/README.md", "benchmarks/results/README.md"),
]
#: Folders that are not searched.
exclude_patterns = [".*", "build", "csrc", "dist", "tests", "venv", "waifu2x"]

# --- cross references -------------------------------------------------------------------------

default_role = "py:obj"
nitpicky = True
#: Objects of other packages, whose addresses a build would have to download; and internal types.
nitpick_ignore_regex = [
    ("py:.*", r"(collections|dataclasses|numpy|os|pathlib|PIL|threading|typing)\..*"),
    (
        "py:class",
        r"waifu2x\.(codec\.OutputFormat|network\.graph\.Graph|pipeline\.pipeline\.Pipeline)",
    ),
]
myst_heading_anchors = 4

# --- pages ------------------------------------------------------------------------------------

html_theme = "furo"
# Quotation marks hold strings of Python.
smartquotes_action = "D"
html_title = f"waifu2x {release}"
html_copy_source = html_show_sourcelink = False
html_show_copyright = html_show_sphinx = False

#: Caption of the sidebar -> its pages.
NAVIGATION: Final = {
    "Use": [
        "install",
        "cli",
        "models",
        "formats",
        "batch",
        "animations",
        "video",
        "archives",
        "server",
        "cluster",
        "completion",
        "integrations",
    ],
    "Python": ["python", "reference"],
    "Networks": ["own-models", "convert", "compare", "rate", "training", "variants"],
    "Inside": ["architecture", "engine", "gpu"],
}
#: A page with many titles, which would fill the sidebar; other pages link to it.
UNLISTED: Final = "benchmarks/results/README"


def _add_navigation(app: Sphinx, docname: str, source: list[str]) -> None:
    """Append the table of contents to the first page, hidden: GitHub would show it as text."""
    if docname == UNLISTED:
        source[0] = f"---\norphan: true\n---\n{source[0]}"
    if docname != root_doc:
        return
    groups = {caption: [f"docs/{page}" for page in pages] for caption, pages in NAVIGATION.items()}
    listed = {root_doc, UNLISTED, *(page for pages in groups.values() for page in pages)}
    found = get_matching_files(ROOT, include_patterns, exclude_patterns)
    groups["More"] = [
        page for page in (each.removesuffix(".md") for each in found) if page not in listed
    ]
    for caption, pages in groups.items():
        lines = "\n".join(f"/{page}" for page in pages)
        source[0] += f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```\n"


def _outdated(
    app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]
) -> list[str]:
    """Read the first page again if the list of pages has changed."""
    return [root_doc] if added or removed else []


def _copy_index(app: Sphinx, exception: Exception | None) -> None:
    """Show the first page at the address of the folder."""
    if exception is None and app.builder.name == "html":
        shutil.copyfile(app.outdir / f"{root_doc}.html", app.outdir / "index.html")


# --- docstrings -------------------------------------------------------------------------------

autodoc_member_order = "bysource"
autodoc_typehints = "none"

#: Full name of an object -> its public name.
PUBLIC: Final = {
    f"{value.__module__}.{value.__qualname__}": f"waifu2x.{name}"
    for name in waifu2x.__all__
    for value in [getattr(waifu2x, name)]
    if hasattr(value, "__qualname__")
}
#: Name in an annotation -> what it stands for, or its full name.
ALIASES: Final = {
    "Array": "numpy.ndarray",
    "AnyArray": "numpy.ndarray",
    "Image.Image": "PIL.Image.Image",
    "Inputs": "str | os.PathLike[str] | collections.abc.Iterable[str | os.PathLike[str]]",
    "Level": stringify_annotation(Level),
    "AnyLevel": stringify_annotation(AnyLevel),
    "OutputFormat": "waifu2x.codec.OutputFormat",
}
#: The records whose fields are options, described once.
RECORDS: Final = (waifu2x.Options, waifu2x.UpscalerOptions, waifu2x.BatchOptions)
#: What `documented` writes before the options of a function.
OPTIONS: Final = "Options, by keyword:"


def _shown_type(annotation: object) -> str:
    """Return an annotation as text, with the public names of classes."""
    text = annotation if isinstance(annotation, str) else stringify_annotation(annotation)
    for name, known in {**PUBLIC, **ALIASES}.items():
        text = re.sub(rf"(?<![\w.]){re.escape(name)}(?![\w.])", known, text)
    return text


def _types(cls: type) -> dict[str, Any]:
    """Return the types of the public fields of ``cls`` and its bases, in order."""
    hints = typing.get_type_hints(cls, localns={"Graph": Graph})
    return {name: hint for name, hint in hints.items() if not name.startswith("_")}


def _paragraphs(text: str, names: Collection[str]) -> Iterator[tuple[list[str], str]]:
    """Yield the paragraphs of a docstring, each with those of ``names`` that it describes."""
    name = "|".join(names) or "(?!)"
    begin = re.compile(rf"\n(?=(?:{name})(?:, (?:{name}))*: )")
    for block in re.split(r"\n\n+", text.strip()):
        for part in begin.split(block):
            head, colon, rest = part.partition(": ")
            described = head.split(", ") if colon else []
            if described and set(described) <= set(names):
                yield described, inspect.cleandoc(rest)
            else:
                yield [], part


def _attribute(cls: type, names: Sequence[str], text: str) -> list[str]:
    """Return the directive that describes fields of ``cls``."""
    directive = ".. py:attribute:: "
    lines = [directive + names[0], *(" " * len(directive) + name for name in names[1:])]
    lines.append(f"   :type: {_shown_type(_types(cls)[names[0]])}")
    if cls in RECORDS:
        lines.append(f"   :value: {inspect.signature(cls).parameters[names[0]].default!r}")
    sentence = text[:1].upper() + text[1:]
    return [*lines, "", *textwrap.indent(sentence, "   ").splitlines(), ""]


def _property(name: str, value: property) -> list[str]:
    """Return the directive that describes a property; autodoc would leave out the type."""
    shown = _shown_type(typing.get_type_hints(value.fget)["return"])
    text = textwrap.indent(inspect.getdoc(value) or "", "   ")
    return [f".. py:property:: {name}", f"   :type: {shown}", "", *text.splitlines(), ""]


def _skip_member(
    app: Sphinx, what: str, name: str, value: object, skip: bool, options: object
) -> bool | None:
    """Leave properties to `_property`."""
    return True if isinstance(value, property) else None


def _home(names: list[str], text: str, function: object) -> tuple[str, list[str]] | None:
    """Return the record or the function that describes options in the same words, and links."""
    for record in RECORDS:
        known = _types(record)
        docs = [inspect.cleandoc(kind.__doc__ or "") for kind in record.__mro__]
        if any((names, text) == each for doc in docs for each in _paragraphs(doc, known)):
            return record.__name__, [f"`~{record.__name__}.{name}`" for name in names]
    first = waifu2x.upscale
    known = inspect.signature(first).parameters
    if function is not first and (names, text) in _paragraphs(first.__doc__ or "", known):
        return first.__name__, [f"``{name}``" for name in names]
    return None


def _process_class(cls: type, text: str) -> list[str]:
    """Return the docstring of a class: text, parameters, examples, fields."""
    types = _types(cls)
    prose, examples = _split(each for names, each in _paragraphs(text, types) if not names)
    created = vars(cls).get("__init__")
    if OPTIONS in (getattr(created, "__doc__", None) or ""):
        prose += _process_function(cls, inspect.cleandoc(created.__doc__))
    own = [kind for kind in reversed(cls.__mro__) if kind.__module__.startswith("waifu2x.")]
    fields = [
        line
        for kind in own
        for names, each in _paragraphs(inspect.cleandoc(kind.__doc__ or ""), types)
        if names
        for line in _attribute(cls, names, each)
    ]
    properties = [
        line
        for kind in own
        for name, value in vars(kind).items()
        if isinstance(value, property) and not name.startswith("_")
        for line in _property(name, value)
    ]
    return [*prose, *examples, *fields, *properties]


def _process_function(function: Callable[..., Any], text: str) -> list[str]:
    """Return the docstring of a function: text, parameters, options, examples."""
    parameters = inspect.signature(function).parameters
    plain: list[str] = []
    described: list[str] = []
    linked: dict[str, list[str]] = {}
    for names, each in _paragraphs(text, parameters):
        home = _home(names, each, function) if names else None
        if home is not None:
            linked.setdefault(home[0], []).extend(home[1])
        elif names:
            for name in names:
                described.append(f":param {name}: {textwrap.indent(each, '   ').strip()}")
                if parameters[name].kind is inspect.Parameter.KEYWORD_ONLY:
                    shown = _shown_type(parameters[name].annotation)
                    described.append(f":type {name}: {shown}")
        elif each != OPTIONS:
            plain.append(each)
    prose, examples = _split(plain)
    listed = [f"- as in `{home}`: {', '.join(names)}" for home, names in linked.items()]
    if listed:
        listed = ["Options by keyword:", "", *listed, ""]
    return [*prose, *"\n".join(described).splitlines(), "", *listed, *examples]


def _split(paragraphs: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the lines before the first example, and those from there."""
    prose: list[str] = []
    examples: list[str] = []
    for each in paragraphs:
        lines = examples if examples or each.startswith(">>>") else prose
        lines += [*each.splitlines(), ""]
    return prose, examples


def _process_docstring(
    app: Sphinx, what: str, name: str, value: Any, options: object, lines: list[str]
) -> None:
    """Turn the paragraphs on parameters and fields into directives of Sphinx."""
    text = "\n".join(lines)
    if isinstance(value, type) and text.strip() == inspect.cleandoc(value.__doc__ or ""):
        lines[:] = _process_class(value, text)
    elif callable(value):
        lines[:] = _process_function(value, text)


def _process_signature(
    app: Sphinx, what: str, name: str, value: Any, options: object, args: str | None, returns: str
) -> tuple[str, str] | None:
    """Write a signature with types, in which ``**options`` stands for the options."""
    if args is None or not callable(value):
        return None
    if isinstance(value, type):
        return (args, "") if value in (*RECORDS, waifu2x.Upscaler) else ("", "")
    written = inspect.signature(value)
    parameters = [
        each.replace(annotation=_Type(each.annotation))
        for each in written.parameters.values()
        if each.name != "self"
    ]
    if OPTIONS in (value.__doc__ or ""):
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [each for each in parameters if each.kind is not keyword]
        parameters.append(inspect.Parameter("options", inspect.Parameter.VAR_KEYWORD))
    return str(inspect.Signature(parameters)), _shown_type(written.return_annotation)


class _Type(str):
    """An annotation that a signature shows without quotes."""

    __slots__ = ()

    def __new__(cls, annotation: object) -> _Type:
        """Shorten an annotation."""
        return super().__new__(cls, _shown_type(annotation))

    def __repr__(self) -> str:
        return str(self)


def _resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.Element
) -> nodes.reference | None:
    """Find an object by its name below ``waifu2x``, or below the module that defines it."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    known = PUBLIC.get(target, f"waifu2x.{target}")
    domain = env.domains["py"]
    docname = node.get("refdoc", root_doc)
    if known not in domain.objects:
        return None
    return domain.resolve_xref(env, docname, app.builder, "obj", known, node, contnode)


def setup(app: Sphinx) -> None:
    """Connect the functions of this file."""
    app.connect("env-get-outdated", _outdated)
    app.connect("source-read", _add_navigation)
    app.connect("build-finished", _copy_index)
    app.connect("autodoc-process-docstring", _process_docstring)
    app.connect("autodoc-skip-member", _skip_member)
    app.connect("autodoc-process-signature", _process_signature)
    app.connect("missing-reference", _resolve)
