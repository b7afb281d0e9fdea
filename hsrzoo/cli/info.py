"""``hsrzoo info``: the same as `hsrzoo show`."""

from __future__ import annotations

import click

from hsrzoo.cli import show

command = click.Command(
    "info", callback=show.command.callback, params=show.command.params, help=show.command.help
)
