"""``hsrzoo completion``: completion of commands, options and names in shells.

The scripts ``hsrzoo/data/completion.*`` call hsrzoo at every Tab with an environment variable, by click's
protocol; :func:`answer` replies from metadata, without torch and without the code of plugins. They replace
click's own scripts, which add a space after a part of a name, pass all words of the line instead of those
up to the cursor (bash), and split names at commas (fish).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from contextlib import redirect_stderr
from importlib.resources import files
from typing import TYPE_CHECKING

import click
from click import shell_completion

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem, ShellComplete

PROGRAM, VARIABLE = "hsrzoo", "_HSRZOO_COMPLETE"
_INSTALL = {
    "bash": "hsrzoo completion bash > ~/.hsrzoo.bash && echo '. ~/.hsrzoo.bash' >> ~/.bashrc",
    "zsh": "hsrzoo completion zsh > ~/.hsrzoo.zsh && echo '. ~/.hsrzoo.zsh' >> ~/.zshrc # below compinit",
    "fish": "hsrzoo completion fish > ~/.config/fish/completions/hsrzoo.fish",
}


@click.command("completion")
@click.argument("shell", type=click.Choice(list(_INSTALL)))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the script that makes a shell complete commands, options and names.

    It completes the names of installed models, data sets, metrics and benchmarks, and folders after
    local-dir:.
    """
    click.echo(_shell(shell, context.find_root().command).source(), nl=False)
    click.echo(f"To install it: {_INSTALL[shell]}", err=True)


def answer(group: click.Group, environment: Mapping[str, str]) -> int:
    """Reply to a shell on stdout; returns the exit code. Errors are not printed, because they would appear
    in the line that is being typed."""
    shell, _, instruction = environment[VARIABLE].partition("_")
    if shell not in _INSTALL or instruction != "complete":
        return 1
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            text = _shell(shell, group).complete()
        except Exception:
            return 1
    click.echo(text.encode())
    return 0


def _shell(name: str, group: click.Command) -> ShellComplete:
    own = {"bash": Bash, "zsh": Zsh, "fish": Fish}
    return own[name](group, {}, PROGRAM, VARIABLE)


class OrFiles(shell_completion.ShellComplete):
    """If no name matches, the shell completes file names, as for other programs."""

    def source(self) -> str:
        super().source()  # warns of a bash that is too old; our script replaces click's
        return (files("hsrzoo") / "data" / f"completion.{self.name}").read_text("utf-8")

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        found = super().get_completions(args, incomplete)
        if found or incomplete.startswith("-"):
            return found
        return [shell_completion.CompletionItem(incomplete, type="file")]


class Bash(OrFiles, shell_completion.BashComplete):
    """bash splits words at colons and equals signs: they are joined again, and the reply holds only what
    follows the last of them."""

    _kept = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        words = shell_completion.split_arg_string(os.environ["COMP_WORDS"])
        current = int(os.environ["COMP_CWORD"])
        joined: list[str] = []
        glue = False
        for word in words[1:]:
            is_break = set(word) <= set(":=")
            if joined and (glue or is_break):
                joined[-1] += word
            else:
                joined.append(word)
            glue = is_break
        if current >= len(words):  # nothing is typed yet
            return joined, ""
        incomplete, last = joined.pop(), words[current]
        typed = incomplete if set(last) <= set(":=") else incomplete.removesuffix(last)
        # --model=NAME: click passes what follows the first equals sign
        self._kept = typed.partition("=")[2] if typed.startswith("-") else typed
        return joined, incomplete

    def format_completion(self, item: CompletionItem) -> str:
        return f"{item.type},{item.value.removeprefix(self._kept)}"


class Zsh(OrFiles, shell_completion.ZshComplete):
    """zsh, with file names."""


class Fish(OrFiles, shell_completion.FishComplete):
    """fish, with file names."""
