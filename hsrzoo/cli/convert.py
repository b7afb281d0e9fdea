"""``hsrzoo convert``: a checkpoint of a network's authors becomes a folder of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hsrzoo.cli import options
from hsrzoo.cli.names import ARCHITECTURE
from hsrzoo.errors import StoreError


@click.command("convert")
@click.argument("checkpoint", type=options.PATH)
@click.option("--arch", type=ARCHITECTURE, required=True, help="The network it belongs to.")
@click.option("--out", required=True, type=options.PATH, help="Folder of the weights.")
@click.option(
    "--bands", "bands_text", default="400:700:10", show_default=True, metavar="BANDS",
    help="Its band centres in nm: START:STOP:STEP, a list with commas, a .csv file or a data set's name.",
)  # fmt: skip
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="KEY",
    help="Key of the dict that holds the tensors, where it is not found; repeat it for a dict in a dict.",
)
@click.option(
    "--prefix",
    default="",
    metavar="PREFIX",
    help="Read the tensors whose names begin with it, such as `generator.`, without it.",
)
@click.option("--force", is_flag=True, help="Write into --out even if it is not empty.")
@options.arguments
@options.data_root
@options.as_json
def command(
    checkpoint: Path, arch: str, out: Path, bands_text: str, keys: tuple[str, ...], prefix: str,
    force: bool, arguments: dict[str, Any], data_root: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Convert a checkpoint of a network's authors, or of a fork, to a folder of weights.

    Reads safetensors and files of torch.save: the tensors alone, or under `state_dict`, `params_ema`,
    `params`, `model`, `net` and the like. The prefixes `module.`, `_orig_mod.`, `net.` and `model.` before
    all names are left out, and so are the counters of thop. No code in the file is run: a pickle that names
    anything but tensors is refused. Every tensor must fit the network by name and shape. Use the folder as
    --model local-dir:OUT; its config.json records how the input is normalised.
    """
    from dataclasses import replace

    from hsrzoo.cli.output import say, say_weights, to_json
    from hsrzoo.extras import CameraResponse
    from hsrzoo.models.convert import convert, official_of
    from hsrzoo.models.weights import save_folder
    from hsrzoo.registry import MODELS
    from hsrzoo.spec import settled_extras
    from hsrzoo.utils.files import make_folder
    from hsrzoo.utils.locks import hold_folder
    from hsrzoo.utils.provenance import collect, command_line

    spec = MODELS.get(arch)
    official = official_of(spec)
    bands = options.parse_bands(bands_text, data_root)
    _require_free(out, force)
    given, arguments = arguments, settled_extras(spec, arguments, None)
    cameras = {key: arguments[key] for key, x in spec.extras.items() if isinstance(x, CameraResponse)}
    converted = convert(checkpoint, spec, bands, arguments=arguments, keys=keys, prefix=prefix)
    spec = replace(spec, input=replace(spec.input, normalise=official.normalise))
    training = {**converted.record, "command": command_line(), "provenance": collect("cpu")}
    for camera in cameras.values():
        training["dataset_info"] = camera
    make_folder(out)
    with hold_folder(out):
        _require_free(out, force)  # another process may have written it meanwhile
        save_folder(out, converted.module, spec, bands, arguments=arguments, training=training)
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
    say(_how_read(converted.record))
    for key in cameras.keys() - given.keys():
        name = cameras[key]["response"]
        say(f"The file does not name the camera of its training pairs, here {name} (--arg {key}=CAMERA)")
    say_weights(out)


def _how_read(record: dict[str, Any]) -> str:
    """Where the tensors were found, in a sentence."""
    key, prefix, counters = record["key"], record["prefix"], record["counters_left_out"]
    parts = [f"tensors under {key!r}" if key else "the tensors of the file"]
    parts += [f"names without {prefix!r}"] if prefix else []
    parts += [f"{counters} counters of thop left out"] if counters else []
    return f"Read: {', '.join(parts)}"


def _require_free(folder: Path, force: bool) -> None:
    from hsrzoo.utils.locks import is_empty

    if force or not folder.exists() or (folder.is_dir() and is_empty(folder)):
        return
    raise StoreError(
        f"{folder} is not empty",
        expected="an absent or empty folder",
        fix="Give another folder by --out, or overwrite its weights with --force",
    )
