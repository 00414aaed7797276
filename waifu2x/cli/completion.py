"""``waifu2x completion``."""

from __future__ import annotations

import click

from . import shells
from .page import Command, help_option
from .params import Word

HELP = """Print a script that completes commands, options, values and file names in a shell.

SHELL is bash (4.4 or newer), zsh or fish. A start-up file evaluates the script, or a folder of the
shell holds it as a file.
"""

EXAMPLES = (
    ("bash", 'For ~/.bashrc, as eval "$(waifu2x completion bash)"'),
    ("zsh", 'For ~/.zshrc, as eval "$(waifu2x completion zsh)", after compinit'),
    ("fish", "For ~/.config/fish/completions/waifu2x.fish"),
)

_SCRIPTS = {"bash": shells.Bash, "zsh": shells.Zsh, "fish": shells.Fish}


@click.command(
    "completion",
    cls=Command,
    help=HELP,
    usage="SHELL",
    examples=EXAMPLES,
)
@click.argument("shell", metavar="SHELL", type=Word([*_SCRIPTS]))
@help_option()
def completion(shell: str) -> None:
    from .root import VARIABLE, main

    click.echo(_SCRIPTS[shell](main, {}, "waifu2x", VARIABLE).source(), nl=False)
