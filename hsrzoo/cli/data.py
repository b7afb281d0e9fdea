"""``hsrzoo data``: which data sets there are, and whether one is complete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hsrzoo.cli.output import print_table, to_json

_ROOT_HELP = "Folder that holds the data sets (default: HSRZOO_DATA, else the user's data folder)."


@click.group("data")
def command() -> None:
    """List data sets, or verify one."""


@command.command("list")
@click.option("--data-root", type=click.Path(path_type=Path), help=_ROOT_HELP)
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def list_command(data_root: Path | None, as_json: bool) -> None:
    """List the data sets: name, title, whether present under the data root."""
    from hsrzoo.datasets import data_root as root_of
    from hsrzoo.datasets import open_dataset
    from hsrzoo.errors import DatasetMissingError, HsrzooError, PluginError
    from hsrzoo.registries import DATASETS

    rows = []
    for name, spec in DATASETS.working():
        try:
            open_dataset(name, data_root)
            state = "present"
        except DatasetMissingError:
            state = "absent"
        except PluginError:
            state = "broken"
        except HsrzooError:
            state = "incomplete"  # hsrzoo data verify NAME says what is wrong
        except Exception:  # code of a plugin: it spoils its own row only
            state = "broken"
        rows.append({"name": name, "state": state, "title": spec.title, "layout": spec.layout})
    title = f"Data root: {root_of(data_root)}"
    print_table(rows, ["name", "state", "title"], as_json=as_json, title=title)


@command.command("verify")
@click.argument("name")
@click.option("--data-root", type=click.Path(path_type=Path), help=_ROOT_HELP)
@click.option(
    "--data-option", "options", multiple=True, metavar="KEY=VALUE", help="An option of the data set."
)
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@click.pass_context
def verify_command(
    context: click.Context, name: str, data_root: Path | None, options: tuple[str, ...], as_json: bool
) -> None:
    """Read every scene of NAME: counts, shapes, wavelengths, ranges, fingerprint.

    Leaves with 1 if something is wrong with the files, with 2 if the data set is not there.
    """
    from hsrzoo.cli.output import console
    from hsrzoo.datasets import open_dataset

    dataset = open_dataset(name, data_root, **parse_options(options))
    report = dataset.verify()
    row = _as_row(report)
    if as_json:
        click.echo(to_json(row))
    else:
        facts = [{"what": key, "value": _text(value)} for key, value in row.items() if key not in _LISTS]
        print_table(facts, ["what", "value"], title=f"Data set {name}")
        for note in report.notes:
            console.print(f"note: {note}", markup=False, soft_wrap=True)
        for problem in report.problems:
            console.print(f"problem: {problem}", markup=False, soft_wrap=True)
    if report.problems:
        context.exit(1)


_LISTS = ("problems", "notes", "centres_nm")


def parse_options(pairs: tuple[str, ...]) -> dict[str, str]:
    """``("key=value", ...)`` as a dictionary; the data set itself reads the values."""
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{pair!r} is not of the form KEY=VALUE", param_hint="--data-option")
        found[key.strip().replace("-", "_")] = value.strip()
    return found


def _as_row(report: Any) -> dict[str, Any]:
    return {
        "name": report.name,
        "scenes": report.scenes,
        "shapes": report.shapes,
        "bands": str(report.bands),
        "centres_nm": list(report.bands.centres_nm),
        "cube range": list(report.cube_range),
        "rgb range": list(report.rgb_range),
        "fingerprint": report.fingerprint,
        "problems": report.problems,
        "notes": report.notes,
    }


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {count}" for key, count in value.items()) or "none"
    if isinstance(value, list):
        return " to ".join(f"{number:.4g}" for number in value)
    return str(value)
