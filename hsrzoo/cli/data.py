"""``hsrzoo data``: which data sets there are, whether one is complete, and one on other bands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hsrzoo.cli.names import DATASET
from hsrzoo.cli.output import print_table, to_json

_ROOT_HELP = "Folder that holds the data sets (default: HSRZOO_DATA, else the user's data folder)."


@click.group("data")
def command() -> None:
    """List data sets, verify one, or write one on other bands."""


@command.command("list")
@click.option("--data-root", type=click.Path(path_type=Path), help=_ROOT_HELP)
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def list_command(data_root: Path | None, as_json: bool) -> None:
    """List the data sets: name, title, whether present under the data root."""
    from hsrzoo.datasets import data_root as root_of
    from hsrzoo.datasets import open_dataset
    from hsrzoo.errors import DatasetMissingError, HsrzooError, PluginError
    from hsrzoo.registry import DATASETS

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
@click.argument("name", type=DATASET)
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


@command.command("resample")
@click.argument("name", type=DATASET)
@click.option(
    "--to",
    "target",
    required=True,
    metavar="SPEC",
    help="The new bands: START:STOP:STEP or numbers in nm, a .csv file, or the name of a data set.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to make.")
@click.option("--split", "splits", multiple=True, help="Split to write (default: all; may be repeated).")
@click.option("--data-root", type=click.Path(path_type=Path), help=_ROOT_HELP)
@click.option(
    "--data-option", "options", multiple=True, metavar="KEY=VALUE", help="An option of the data set."
)
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def resample_command(
    name: str,
    target: str,
    out: Path,
    splits: tuple[str, ...],
    data_root: Path | None,
    options: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write NAME on other bands, as a set for --dataset folder.

    RGB stays as it is. Bands that NAME does not cover are left out and named. A run that was
    interrupted is completed by running it again.
    """
    from hsrzoo.cli.output import console, progress
    from hsrzoo.datasets import open_dataset
    from hsrzoo.datasets.resample import plan, write
    from hsrzoo.registry import DATASETS

    given = parse_options(options)
    source = open_dataset(name, data_root, **given)
    planned = plan(
        source,
        _target_bands(target, data_root),
        splits=splits,
        options=given,
        terms=DATASETS.get(name).where,
    )
    out = out.expanduser().resolve()
    with progress() as bar:
        total = sum(len(scenes) for scenes in planned.record["scenes"].values())
        task = bar.add_task(f"{name} -> {out.name}", total=total)
        written = write(source, planned, out, lambda scene: bar.advance(task))
    row = {
        "name": name,
        "out": str(out),
        "scenes": {split: len(scenes) for split, scenes in planned.record["scenes"].items()},
        "written now": written,
        "bands": str(planned.bands),
        "left out (nm)": ", ".join(f"{centre:g}" for centre in planned.left_out_nm) or "none",
    }
    if as_json:
        click.echo(to_json(row | {"left out (nm)": list(planned.left_out_nm)}))
        return
    facts = [{"what": key, "value": _text(value)} for key, value in row.items()]
    print_table(facts, ["what", "value"], title=f"Data set {name} on other bands")
    console.print(f"Verify: hsrzoo data verify folder --data-option path={out}", markup=False)


def _target_bands(text: str, data_root: Path | None) -> Any:
    """The bands of a data set if ``text`` is its name, else those that it spells out."""
    from hsrzoo.datasets import open_dataset
    from hsrzoo.datasets.wavelengths import parse_bands
    from hsrzoo.errors import unknown_name
    from hsrzoo.registry import DATASETS

    if text in DATASETS.names():
        return open_dataset(text, data_root).bands
    if text[:1].isalpha() and text != "visible" and not text.lower().endswith(".csv"):
        raise unknown_name("data set or list of bands", text, DATASETS.names())
    return parse_bands(text)


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
        "cube range": _range(report.cube_range),
        "rgb range": _range(report.rgb_range),
        "fingerprint": report.fingerprint,
        "problems": report.problems,
        "notes": report.notes,
    }


def _range(limits: tuple[float, float]) -> list[float] | None:
    """Least and largest value; None where no value could be read."""
    return list(limits) if limits[0] <= limits[1] else None


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {count}" for key, count in value.items()) or "none"
    if isinstance(value, list):
        return " to ".join(f"{number:.4g}" for number in value)
    return str(value)
