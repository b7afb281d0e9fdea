"""Output of the commands: data on stdout (table, JSON, CSV), messages for people on stderr.

rich is imported on first use, to keep ``hsrzoo --help`` quick.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console
    from rich.progress import Progress

_SPEED_SECONDS = 3600.0
"""The time left is estimated from the steps of this time: the 30 s of rich hold no two steps of a slow
network, and the time left would stay unknown."""
_LINES = 10
"""Of progress where stderr is no terminal."""


@cache
def _stderr() -> Console:
    from rich.console import Console

    # Only a terminal has a width; elsewhere a message is one line.
    soft = not Console(stderr=True).is_terminal
    return Console(stderr=True, highlight=False, soft_wrap=soft)


def say(text: str, style: str | None = None) -> None:
    """Print a message for people on stderr; square brackets are plain text."""
    _stderr().print(text, style=style, markup=False)


def say_weights(folder: Path) -> None:
    """Say where weights were written, and how they are named."""
    say(f"Weights: {folder} (--model {quote(f'local-dir:{folder}')})")


def print_table(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str] | Mapping[str, str],
    *,
    as_json: bool = False,
    as_csv: bool = False,
    title: str | None = None,
    right: Collection[str] = (),
    compact: bool = False,
    width: int | None = None,
) -> None:
    """Print rows on stdout.

    ``columns``: keys in order, or a mapping key -> heading. JSON is a list of the whole rows, NaN
    and infinities as null; CSV and the table have the columns only. ``title``: above the table.
    ``right``: keys of text that is aligned as numbers are. ``compact``: one space between columns.
    ``width``: of the table in columns, at most; longer cells are folded [a terminal's, or none].
    """
    headings = dict(columns) if isinstance(columns, Mapping) else {key: key for key in columns}
    if as_json:
        click.echo(to_json([dict(row) for row in rows]))
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(headings)
        writer.writerows([row.get(key) for key in headings] for row in rows)
    else:
        _rich_table(rows, headings, title, right, compact, width)


def to_json(value: Any) -> str:
    """Indented strict JSON: NaN and infinities become null."""
    return json.dumps(strict(value), indent=1, allow_nan=False, default=str)


def strict(value: Any) -> Any:
    """``value`` with dicts and lists for mappings and sequences, None for NaN and infinities."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (str, int)):
        return value
    if isinstance(value, Mapping):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(item) for item in value]
    return value


def _rich_table(
    rows: Sequence[Mapping[str, Any]], headings: Mapping[str, str], title: str | None,
    right: Collection[str], compact: bool, most: int | None,
) -> None:  # fmt: skip
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title) if title else None, title_justify="left", box=box.SIMPLE_HEAD)
    if compact:
        table.padding, table.pad_edge, table.box = (0, 1, 0, 0), False, None
    for key, heading in headings.items():
        numeric = bool(rows) and (key in right or all(_is_number(row.get(key)) for row in rows))
        table.add_column(Text(heading), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        # Text, because rich reads "[a]" as markup
        table.add_row(*(Text(_cell(row.get(key))) for key in headings))
    # A pipe has no width: never cut or wrap there.
    width = None if sys.stdout.isatty() else most or 1000
    Console(file=sys.stdout, highlight=False, width=width).print(table)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@contextmanager
def steps(what: str, total: int) -> Iterator[Callable[[str], None]]:
    """Show that the steps of a task are done; yields the function to call with a text after each.

    A bar on a terminal, and elsewhere, as in a log, at most :data:`_LINES` lines on stderr.
    """
    from rich.markup import escape

    with progress() as shown:
        task, done = shown.add_task(what, total=total), 0

        def advance(text: str) -> None:
            nonlocal done
            done += 1
            shown.update(task, advance=1, description=escape(text))  # [bf16] is no markup
            share = _LINES * done // total
            if shown.disable and total > 1 and share > _LINES * (done - 1) // total:
                say(f"{what} {done}/{total}: {text}", style="dim")

        yield advance


def progress() -> Progress:
    """A progress bar on stderr, shown only on a terminal: ``with progress() as bar: ...``."""
    from rich import progress as parts

    stderr = _stderr()
    columns = (
        parts.TextColumn("{task.description}"), parts.BarColumn(), parts.MofNCompleteColumn(),
        parts.TimeElapsedColumn(), parts.TimeRemainingColumn(),
    )  # fmt: skip
    return parts.Progress(
        *columns, console=stderr, transient=True, disable=not stderr.is_terminal,
        speed_estimate_period=_SPEED_SECONDS,
    )  # fmt: skip
