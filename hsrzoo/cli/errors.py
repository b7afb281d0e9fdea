"""Exceptions become one paragraph on stderr and an exit code.

0: success. 1: failure. 2: the user can fix it (a name, a file, an option). 130: Ctrl-C.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import click

from hsrzoo.errors import HsrzooError

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
        what = one_paragraph(f"{type(error).__name__}: {error}".rstrip(": "))
        _say(f"Error: {what} (`hsrzoo --debug ...` shows where.)")
        return FAILED


def one_paragraph(text: str) -> str:
    """The text without line breaks or control characters, so that it stays one message."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _say(message: str) -> None:
    click.echo(message, err=True)
