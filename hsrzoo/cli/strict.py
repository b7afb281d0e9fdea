"""Rules for the options and arguments of every command, plugins' too: none is passed over in silence.

click takes the last of several values of an option that has one, and empty text as a value like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click


def require_strict(command: click.Command, context: click.Context, arguments: Sequence[str]) -> list[str]:
    """UsageError for an option of ``command`` that takes one value and is given several times, and for an
    empty value. Returns what is left for a subcommand."""
    values, rest, order = command.make_parser(context).parse_args(list(arguments))
    _require_one_of_each(order, context)
    for parameter in dict.fromkeys(order):
        times = order.count(parameter)
        if times > 1 and isinstance(parameter, click.Option) and not _is_repeatable(parameter):
            several = "; separate several values by commas" if "," in (parameter.metavar or "") else ""
            raise click.UsageError(
                f"{parameter.opts[0]} is given {times} times, but takes one value{several}", context
            )
        if _has_empty(values.get(str(parameter.name))):
            raise click.BadParameter("the value is empty", context, parameter)
    return rest


def require_strict_below(command: click.Command, parent: click.Context, words: Sequence[str]) -> None:
    """:func:`require_strict` for ``command``, called by ``words``: its name and arguments; and for the
    subcommand that they name."""
    name, *arguments = words
    context = command.context_class(command, info_name=name, parent=parent, **command.context_settings)
    rest = require_strict(command, context, arguments)
    if isinstance(command, click.Group) and rest:
        subcommand = command.get_command(context, rest[0])
        if subcommand is not None:
            require_strict_below(subcommand, context, rest)


def _require_one_of_each(order: Sequence[click.Parameter], context: click.Context) -> None:
    """UsageError for two options that set one value, of which click takes the last."""
    first: dict[str | None, click.Parameter] = {}
    for parameter in order:
        other = first.setdefault(parameter.name, parameter)
        if other is not parameter:
            raise click.UsageError(f"{other.opts[0]} and {parameter.opts[0]} exclude each other", context)


def _is_repeatable(option: click.Option) -> bool:
    """Whether a second time adds a value, or says the same again, as that of a flag without an opposite."""
    return option.multiple or option.count or (option.is_flag and not option.secondary_opts)


def _has_empty(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_has_empty(one) for one in value)
    return isinstance(value, str) and not value.strip()
