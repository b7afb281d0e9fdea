"""``hsrzoo completion``: what a shell reads to complete commands, options and names.

The script that a shell runs at every Tab calls hsrzoo with an environment variable, by click's protocol;
:func:`answer` replies from metadata, without torch and without a plugin's code.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from contextlib import redirect_stderr
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
# Unlike click's, it hands over the words up to the cursor only, and adds no space after a part of a name.
_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' type value
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                [[ $value == *[/:=] ]] && compopt -o nospace
                printf -v value %%q "$value"
                COMPREPLY+=("$value") ;;
        esac
    done < <(env COMP_WORDS="${COMP_WORDS[*]:0:COMP_CWORD+1}" COMP_CWORD=$COMP_CWORD \\
        %(complete_var)s=bash_complete "$1" 2> /dev/null)
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

# click's adds a space after a part of a name too.
_ZSH = """\
#compdef %(prog_name)s
%(complete_func)s() {
    local type key help
    local -a names parts helped
    for type key help in "${(@f)$(env COMP_WORDS="${(pj:\\n:)words[1,CURRENT]}" COMP_CWORD=$((CURRENT-1)) \\
        %(complete_var)s=zsh_complete %(prog_name)s 2> /dev/null)}"; do
        case $type in
            dir) _path_files -/ ;;
            file) _path_files -f ;;
            plain)
                if [[ $help != _ ]]; then helped+=("$key:$help")
                elif [[ $key == *[/:=] ]]; then parts+=("$key")
                else names+=("$key")
                fi ;;
        esac
    done
    (( $#helped )) && _describe -V unsorted helped -U
    (( $#names )) && compadd -U -V unsorted -a names
    (( $#parts )) && compadd -U -S '' -V unsorted -a parts
    return 0
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""
# click's takes what follows a second comma for something else than the name.
_FISH = """\
function %(complete_func)s
    for completion in (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp | string collect) \\
        COMP_CWORD=(commandline -t) %(prog_name)s 2> /dev/null)
        set -l parts (string split -m 1 "," $completion)
        switch $parts[1]
            case dir
                __fish_complete_directories $parts[2]
            case file
                __fish_complete_path $parts[2]
            case plain
                echo $parts[2]
        end
    end
end
complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


@click.command("completion")
@click.argument("shell", type=click.Choice(list(_INSTALL)))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the script that makes a shell complete commands, options and names.

    Models, data sets, metrics and benchmarks are completed from what is installed, and local-dir: from
    the folders that are there.
    """
    click.echo(_shell(shell, context.find_root().command).source(), nl=False)
    click.echo(f"To install it: {_INSTALL[shell]}", err=True)


def answer(group: click.Group, environment: Mapping[str, str]) -> int:
    """Reply to a shell on stdout; returns the exit code. Whatever goes wrong is not told: it would stand
    in the middle of the line that is being typed."""
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
    """Where no name of ours fits, the shell completes names of files, as it does for other programs."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        found = super().get_completions(args, incomplete)
        if found or incomplete.startswith("-"):
            return found
        return [shell_completion.CompletionItem(incomplete, type="file")]


class Bash(OrFiles, shell_completion.BashComplete):
    """bash breaks words at colons and equals signs: they are joined again, and of a reply only what
    follows the last break is handed back."""

    source_template = _BASH
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
        # --model=NAME: click hands on what follows the first equals sign
        self._kept = typed.partition("=")[2] if typed.startswith("-") else typed
        return joined, incomplete

    def format_completion(self, item: CompletionItem) -> str:
        return f"{item.type},{item.value.removeprefix(self._kept)}"


class Zsh(OrFiles, shell_completion.ZshComplete):
    """As click does it, but for the space after a part of a name."""

    source_template = _ZSH


class Fish(OrFiles, shell_completion.FishComplete):
    """As click does it, but for names with commas in them."""

    source_template = _FISH
