"""``hsrzoo data``: list data sets, verify one, or resample one to other bands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hsrzoo.cli import options
from hsrzoo.cli.names import DATASET
from hsrzoo.cli.output import print_table, say, steps, to_json


@click.group("data")
def command() -> None:
    """List data sets, verify one, or resample one to other bands."""


@command.command("list")
@options.data_root
@options.as_json
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
        except Exception:  # code of a plugin: it affects only its own row
            state = "broken"
        rows.append({"name": name, "state": state, "title": spec.title, "layout": spec.layout})
    title = f"Data root: {root_of(data_root)}"
    print_table(rows, ["name", "state", "title"], as_json=as_json, title=title)


@command.command("verify")
@click.argument("name", type=DATASET)
@options.data_root
@options.data_options
@options.as_json
@click.pass_context
def verify_command(
    context: click.Context, name: str, data_root: Path | None, data_options: dict[str, str], as_json: bool
) -> None:
    """Read every scene of NAME: counts, shapes, wavelengths, ranges, fingerprint, checksum.

    Two people have the same files where their checksums are equal, whatever folders the files lie in;
    --json has the sha256 of each file.

    Exit code 1 if there is a problem with the files, 2 if the data set is missing.
    """
    from hsrzoo.datasets import open_dataset

    dataset = open_dataset(name, data_root, **data_options)
    report = dataset.verify()
    row = _as_row(report)
    if as_json:
        click.echo(to_json(row))
    else:
        _print_facts({key: row[key] for key in row if key not in _LISTS}, f"Data set {name}")
        if report.files:
            say(f"Compare with others: {name}, {len(report.files)} files, checksum {report.checksum}")
        for note in report.notes:
            say(f"note: {note}")
        for problem in report.problems:
            say(f"problem: {problem}")
    if report.problems:
        context.exit(1)


@command.command("resample")
@click.argument("name", type=DATASET)
@click.option(
    "--to", "target", required=True, metavar="SPEC",
    help="The new bands: START:STOP:STEP or numbers in nm, a .csv file, or the name of a data set.",
)  # fmt: skip
@click.option("--out", required=True, type=options.PATH, help="Folder to write.")
@click.option("--split", "splits", multiple=True, help="Split to write, repeatable [all].")
@options.data_root
@options.data_options
@options.as_json
def resample_command(
    name: str, target: str, out: Path, splits: tuple[str, ...], data_root: Path | None,
    data_options: dict[str, str], as_json: bool,
) -> None:  # fmt: skip
    """Resample NAME to other bands and write it for --dataset folder.

    RGB is unchanged. Bands that NAME does not cover are left out and reported. To complete an interrupted
    run, run the same command again.
    """
    from hsrzoo.datasets import open_dataset
    from hsrzoo.datasets.resample import plan, write
    from hsrzoo.registry import DATASETS

    source = open_dataset(name, data_root, **data_options)
    bands, terms = options.parse_bands(target, data_root), DATASETS.get(name).where
    planned = plan(source, bands, splits=splits, options=data_options, terms=terms)
    out = out.expanduser().resolve()
    total = sum(len(scenes) for scenes in planned.record["scenes"].values())
    with steps(f"{name} -> {out.name}", total) as advance:
        written = write(source, planned, out, advance)
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
    _print_facts(row, f"Data set {name} on other bands")
    say(f"Verify: hsrzoo data verify folder --data-option path={out}")


_LISTS = ("problems", "notes", "centres_nm", "files")


def _print_facts(row: dict[str, Any], title: str) -> None:
    facts = [{"what": key, "value": _text(value)} for key, value in row.items()]
    print_table(facts, ["what", "value"], title=title)


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
        "checksum": report.checksum,
        "files": report.files,
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
