"""Corrects what click's completion gets wrong in bash, zsh and fish.

Importing the module replaces the classes of click; the command imports it only to complete.
"""

from __future__ import annotations

import re
from typing import Any, Final

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)

#: The script for fish; click fills in the names.
_FISH: Final = """\
function %(complete_func)s
    set -lx %(complete_var)s fish_complete
    set -lx COMP_WORDS (commandline -cp)
    set -lx COMP_CWORD (commandline -ct)
    for line in (%(prog_name)s)
        set -l parts (string split -m 1 , -- $line)
        switch $parts[1]
            case file dir
                complete -C "'' "$COMP_CWORD
            case plain
                echo $parts[2]
        end
    end
end
complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


@add_completion_class
class Bash(BashComplete):
    """Completes --option=value, which bash passes as three words, and escapes values."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor, and the word at the cursor."""
        args, incomplete = super().get_completion_args()
        return [each for each in args if each != "="], incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Return the type and the value, escaped: bash inserts values as they are.

        The script of click reads the line once more, which takes one of two backslashes.
        """
        value = re.sub(r"[^\w@%+=:,./-]", r"\\\\\g<0>", item.value)
        return f"{item.type},{value}"


class _WholeWord(ShellComplete):
    """Returns values with the option in front: the shell replaces the whole of --option=value."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[Any]]:
        """Return the completions of a word."""
        option, equals, _ = incomplete.partition("=")
        found = super().get_completions(args, incomplete)
        if not (equals and option.startswith("--")):
            return found
        return [
            CompletionItem(f"{option}={each.value}") if each.type == "plain" else each
            for each in found
        ]


@add_completion_class
class Zsh(_WholeWord, ZshComplete):
    """Completes --option=value, and a file after the equals sign."""

    source_template = ZshComplete.source_template.replace(
        "_path_files -f", "compset -P '--*='; _path_files -f"
    )


@add_completion_class
class Fish(_WholeWord, FishComplete):
    """Completes --option=value, and files as fish does: ~, commas and equals signs."""

    source_template = _FISH
