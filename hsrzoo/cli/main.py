"""The command line: a lazy group whose commands are found in metadata (``hsrzoo.commands``).

Only the module of the command that runs is imported. The one-line helps are read from the sources without
importing them, so that ``hsrzoo --help`` is quick and a broken plugin affects only itself.
"""

from __future__ import annotations

import ast
import os
import sys
import warnings
from importlib.metadata import EntryPoint
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from hsrzoo.cli import completion
from hsrzoo.cli.errors import run
from hsrzoo.cli.strict import require_strict, require_strict_below
from hsrzoo.errors import Note, PluginError, unknown_name
from hsrzoo.utils.allocator import keep_freed_memory
from hsrzoo.utils.entry_points import describe, entry_points_of, load_entry, paths_of
from hsrzoo.utils.threads import prepare_threads

GROUP = "hsrzoo.commands"
_noted: set[str] = set()
"""Texts of the notes that were shown."""


class LazyGroup(click.Group):
    """A click group over entry points."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(entry_points_of(GROUP))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = entry_points_of(GROUP).get(cmd_name)
        return load_command(cmd_name, found) if found else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        is_name = args and not args[0].startswith("-") and not ctx.resilient_parsing
        if is_name and args[0] not in entry_points_of(GROUP):
            raise unknown_name("command", args[0], entry_points_of(GROUP))
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and command is not None and not ctx.resilient_parsing:
            require_strict_below(command, ctx, [name, *rest])
        return name, command, rest

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            require_strict(self, ctx, args)
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names of commands, and the group's own options; no command is imported."""
        found = [
            CompletionItem(name, help=short_help(entries))
            for name, entries in sorted(entry_points_of(GROUP).items())
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, short_help(entries)) for name, entries in sorted(entry_points_of(GROUP).items())]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def load_command(name: str, entries: list[EntryPoint]) -> click.Command:
    """Import one command; PluginError names its origin if that fails."""
    command = load_entry("command", name, entries, others="commands")
    if not isinstance(command, click.Command):
        raise PluginError(
            f"The command {name!r} is not a command",
            expected="a click command",
            got=f"{type(command).__name__} (from {describe(entries[0])})",
        )
    return command


def short_help(entries: list[EntryPoint]) -> str:
    """First paragraph of a command's docstring, read from its source; its origin if there is none."""
    if len(entries) > 1:
        return f"(offered twice: {' and '.join(describe(e) for e in entries)})"
    entry = entries[0]
    try:
        path = _source_of(entry.module)
        tree = ast.parse(path.read_bytes()) if path else None
    except (OSError, SyntaxError, ValueError):
        tree = None
    if tree is None:
        return f"(broken: {describe(entry)})"
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == entry.attr]
    text = ast.get_docstring(functions[0] if functions else tree)
    return text.split("\n\n")[0].replace("\n", " ").rstrip(".") if text else f"(from {describe(entry)})"


def _source_of(module: str) -> Path | None:
    places = [path for base in paths_of(module) for path in (base.with_suffix(".py"), base / "__init__.py")]
    return next((path for path in places if path.is_file()), None)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
    help="Load a plugin file first (repeatable).",
)  # fmt: skip
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(package_name="hsrzoo", prog_name="hsrzoo", message="%(prog)s %(version)s")
def cli(plugins: tuple[Path, ...], debug: bool) -> None:
    """RGB photographs to hyperspectral cubes: a model zoo with a benchmarking harness."""
    if plugins:
        from hsrzoo.registry import load_plugin_file  # imports numpy

        for path in plugins:
            load_plugin_file(path)
        # Child processes (the speed benchmark) need the same plugins.
        known = [os.environ["HSRZOO_PLUGINS"]] if os.environ.get("HSRZOO_PLUGINS") else []
        os.environ["HSRZOO_PLUGINS"] = os.pathsep.join([*known, *(str(p.resolve()) for p in plugins)])


def main() -> None:
    """The console script ``hsrzoo``."""
    if os.environ.get(completion.VARIABLE):
        sys.exit(completion.answer(cli, os.environ))
    prepare_threads()
    keep_freed_memory()
    # One line without the location in the source, which means nothing to users of the command line.
    warnings.showwarning = _show_warning
    arguments = sys.argv[1:]
    sys.exit(run(lambda: cli.main(arguments, prog_name="hsrzoo", standalone_mode=False),
                 debug=lambda: "--debug" in arguments))  # fmt: skip


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    if not issubclass(category, Note):
        click.echo(f"Warning: {message}", err=True)
    elif str(message) not in _noted:  # Python forgets what it has shown whenever filters change
        _noted.add(str(message))
        click.echo(f"Note: {message}", err=True)


if __name__ == "__main__":
    main()
