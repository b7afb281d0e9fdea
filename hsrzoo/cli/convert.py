"""``hsrzoo convert``: a checkpoint of a network's authors becomes a folder of weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hsrzoo.cli.names import ARCHITECTURE
from hsrzoo.errors import BandsError, StoreError

if TYPE_CHECKING:
    from hsrzoo.bands import BandSet


@click.command("convert")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--arch", type=ARCHITECTURE, required=True, help="The network it belongs to.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the weights.")
@click.option(
    "--bands", "bands_text", default="400:700:10", show_default=True, metavar="BANDS",
    help="Its band centres in nm: START:STOP:STEP, a list with commas, or the name of a data set.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Write into --out even if it holds something.")
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder of all data sets.")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def command(
    checkpoint: Path,
    arch: str,
    out: Path,
    bands_text: str,
    force: bool,
    data_root: Path | None,
    as_json: bool,
) -> None:
    """Convert a checkpoint of a network's authors to a folder of weights.

    Reads what torch.save wrote ({"state_dict": ...} or the tensors alone), with or without `module.`
    before the names, and safetensors. Nothing in the file is run: a pickle that names anything but
    tensors is refused. Every tensor must fit the network by name and shape. The folder is used as
    --model local-dir:OUT; its config.json says how its input is normalised.
    """
    from dataclasses import replace

    from hsrzoo.cli.output import console, to_json
    from hsrzoo.models.convert import convert, official_of
    from hsrzoo.models.weights import save_folder
    from hsrzoo.registry import MODELS
    from hsrzoo.utils.provenance import collect, command_line

    spec = MODELS.get(arch)
    official = official_of(spec)
    bands = parse_bands(bands_text, data_root)
    _require_free(out, force)
    converted = convert(checkpoint, spec, bands)
    spec = replace(spec, input=replace(spec.input, normalise=official.normalise))
    training = {**converted.record, "command": command_line(), "provenance": collect("cpu")}
    save_folder(out, converted.module, spec, bands, arguments={}, training=training)
    report: dict[str, Any] = {
        "folder": str(out),
        "architecture": spec.name,
        "bands": str(bands),
        "parameters": sum(p.numel() for p in converted.module.parameters()),
        "normalise": official.normalise,
        "sha256": converted.record["sha256"],
    }
    if as_json:
        click.echo(to_json(report))
    console.print(f"Weights: {out} (--model local-dir:{out})", markup=False)


def _require_free(folder: Path, force: bool) -> None:
    if force or not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    raise StoreError(
        f"{folder} holds something already",
        expected="an absent or empty folder",
        fix="Give another folder by --out, or overwrite the weights in it with --force",
    )


_MOST_BANDS = 10_000
"""From the command line: far above any sensor's, and far below what a slip in STEP asks for."""


def parse_bands(text: str, data_root: Path | None = None) -> BandSet:
    """Bands from ``START:STOP:STEP`` or a list of centres, in nm, or those of a data set by its name."""
    from hsrzoo.bands import BandSet
    from hsrzoo.datasets import open_dataset

    if text[:1].isalpha():
        return open_dataset(text, data_root).bands
    try:
        numbers = [float(part) for part in text.split(":" if ":" in text else ",")]
    except ValueError:
        numbers = []
    if not numbers or not all(map(math.isfinite, numbers)) or (":" in text and len(numbers) != 3):
        raise BandsError(
            "The bands cannot be read",
            expected="START:STOP:STEP, a list of centres with commas between, or the name of a data set",
            got=repr(text),
        )
    regular = ":" in text
    start, stop, step = numbers if regular else (0, 0, 0)
    count = (stop - start) / step if step > 0 else len(numbers)
    if count > _MOST_BANDS:
        raise BandsError("These are too many bands", expected=f"at most {_MOST_BANDS}", got=repr(text[:60]))
    return BandSet.regular(start, stop, step) if regular else BandSet(tuple(numbers))
