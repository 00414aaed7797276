"""Interactive shells on a terminal of their own, and what Tab makes of a line."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from .command import PATIENCE, WAIFU2X

#: Start-up of each shell: ^Xp prints the line, ^Xa inserts all completions of the word.
_BASH: Final = r"""
PS1='' PS2=''
bind 'set enable-bracketed-paste off'
bind 'set bell-style none'
bind -x '"\C-xp": printf "LINE<%s>ENIL\n" "$READLINE_LINE"'
bind '"\C-xa": insert-completions'
eval "$(waifu2x completion bash)"
echo READ''Y
"""
_ZSH: Final = r"""
PS1='' PROMPT='' RPROMPT='' PROMPT_EOL_MARK=''
autoload -Uz compinit && compinit -u -d "$ZDOTDIR/dump"
unsetopt beep zle_bracketed_paste 2>/dev/null; unset zle_bracketed_paste
print-line() { print -rn -- "LINE<$BUFFER>ENIL" }
zle -N print-line && bindkey '^Xp' print-line
zle -C all-matches complete-word _generic && bindkey '^Xa' all-matches
zstyle ':completion:all-matches::::' completer _all_matches _complete
zstyle ':completion:all-matches:*' insert yes
bindkey '^U' kill-whole-line
eval "$(waifu2x completion zsh)"
echo READ''Y
"""
_FISH: Final = "waifu2x completion fish | source\n"


class Terminal:
    """A shell that reads keys, and prints the line when told to."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def keys(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def until(self, mark: str) -> str:
        """Read up to ``mark``."""
        seen = b""
        end = time.monotonic() + PATIENCE
        while mark.encode() not in seen:
            ready, _, _ = select.select([self._descriptor], [], [], end - time.monotonic())
            assert ready, f"no {mark} in {seen!r}"
            seen += os.read(self._descriptor, 1 << 16)
        return seen.decode()

    def line(self, text: str, keys: str) -> str:
        """The line after ``text`` and ``keys``, which complete it."""
        self.keys(f"{text}{keys}\x18p")
        found = self.until(">ENIL")
        self.keys("\x15")
        return found.rpartition("LINE<")[2].partition(">ENIL")[0]


@contextmanager
def shell(name: str, folder: Path, home: Path, **variables: str) -> Iterator[Terminal]:
    """Start bash or zsh in ``folder``, with completion of the command."""
    (home / ".rc").write_text({"bash": _BASH, "zsh": _ZSH}[name])
    command = {"bash": ["bash", "--norc", "-i"], "zsh": ["zsh", "-f", "-i"]}[name]
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(home, **variables),
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    terminal = Terminal(leader)
    try:
        terminal.keys(f" . '{home}/.rc'\r")
        terminal.until("READY")
        yield terminal
    finally:
        process.kill()
        process.wait()
        os.close(leader)


def fish(lines: list[str], folder: Path, home: Path, **variables: str) -> list[list[str]]:
    """What fish offers for each line."""
    calls = "".join(f"complete -C '{quoted(line)}'; echo END\n" for line in lines)
    done = subprocess.run(
        ["fish", "--no-config", "-c", _FISH + calls],
        cwd=folder,
        env=environment(home, **variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stderr == ""
    parts = done.stdout.split("END\n")[:-1]
    return [[line.partition("\t")[0] for line in part.splitlines()] for part in parts]


def quoted(text: str) -> str:
    """``text`` within the single quotes of fish."""
    return text.replace("\\", "\\\\").replace("'", "\\'")


def environment(home: Path, **variables: str) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(WAIFU2X.parent), os.environ["PATH"]]),
        "HOME": str(home),
        "ZDOTDIR": str(home),
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
        "COLUMNS": "200",
        **variables,
    }


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")
