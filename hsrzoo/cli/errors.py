"""Exceptions become one paragraph on stderr and an exit code.

0: success. 1: failure. 2: the user can fix it (a name, a file, an option). 130: Ctrl-C.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from typing import Any

import click

from hsrzoo.errors import HsrzooError, is_out_of_memory
from hsrzoo.utils.entry_points import entry_points_of

FAILED, INTERRUPTED = 1, 130


def run(work: Callable[[], Any], debug: Callable[[], bool]) -> int:
    """Call ``work`` and return the exit code; ``debug()``: whether to show tracebacks."""
    try:
        result = work()
        return result if isinstance(result, int) else 0  # click returns ctx.exit's code
    except (KeyboardInterrupt, click.Abort):
        _say("Interrupted.")
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        # The reader of a pipe has exited (`| head`): nothing to report, nothing to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except HsrzooError as error:
        if debug():
            traceback.print_exc()
        _say(f"Error: {one_paragraph(str(error))}")
        return error.exit_code
    except Exception as error:
        if debug():
            traceback.print_exc()
        _say(f"Error: {one_paragraph(unexpected(error))}")
        return HsrzooError.exit_code if _is_of_a_file(error) else FAILED


def unexpected(error: Exception) -> str:
    """The paragraph for an exception that no code of this project translates."""
    said = str(error).rstrip(".") or "no reason given"
    if is_out_of_memory(error):
        return f"There is not enough memory. Got {said}. Use smaller tiles, images or batches."
    if isinstance(error, OSError) and _is_of_a_file(error):
        return f"{error.filename} cannot be used. Got {error.strerror or said}."
    return (
        f"An unexpected {type(error).__name__} in {_place(error)}. Got {said}. This is a fault of hsrzoo, "
        "of a plugin or of a package: the same command with `hsrzoo --debug ...` shows the traceback."
    )


def _is_of_a_file(error: Exception) -> bool:
    """Whether the system refused a file: permissions or a full disk, say."""
    return isinstance(error, OSError) and error.filename is not None


def _place(error: Exception) -> str:
    """Module and line of the innermost code of this project or of a plugin that took part in an error."""
    packages = {entry.module.partition(".")[0] for found in _plugins() for entry in found}
    place = "a package that it uses"
    for frame, line in traceback.walk_tb(error.__traceback__):
        name = str(frame.f_globals.get("__name__"))
        if name.startswith("hsrzoo") or name.partition(".")[0] in packages:
            place = f"{name}, line {line}"
    return place


def _plugins() -> Iterator[list[EntryPoint]]:
    for group in ("models", "datasets", "metrics", "perturbations", "commands"):
        yield from entry_points_of(f"hsrzoo.{group}").values()


def one_paragraph(text: str) -> str:
    """The text without line breaks or control characters, so that it stays one message."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _say(message: str) -> None:
    click.echo(message, err=True)
