"""``hsrzoo info``: what a model is, what it costs and which weights there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hsrzoo.cli.output import to_json

if TYPE_CHECKING:
    from hsrzoo.spec import ModelSpec, RgbInput

SIDE = 256
"""Side of the square image that multiply-accumulates are counted on, pixels."""


@click.command("info")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def command(name: str, as_json: bool) -> None:
    """Describe one model: summary, source, licence, size, cost, weights.

    NAME is ARCH, ARCH.TAG, local-dir:PATH or onnx:FILE.
    """
    facts = describe(name)
    if as_json:
        click.echo(to_json(facts))
        return
    width = max(len(key) for key in facts)
    for key, value in facts.items():
        if key != "weights":
            click.echo(f"{key:<{width}}  {_text(value)}")
    for found in facts["weights"]:
        click.echo(f"\n{found['name']}")
        for key, value in found.items():
            if key != "name":
                click.echo(f"  {key:<{width}}  {_text(value)}")


def describe(name: str) -> dict[str, Any]:
    """All facts of a model as JSON values; imports its plugin and builds it."""
    from hsrzoo import weights as weight_files
    from hsrzoo.bands import VISIBLE_31, BandSet
    from hsrzoo.loading import spec_of
    from hsrzoo.names import ModelName, parse_name
    from hsrzoo.registries import MODELS

    parsed = parse_name(name)
    if parsed.kind == "onnx":
        from hsrzoo.onnx_runtime import OnnxModel

        return {**OnnxModel(str(parsed.path)).facts(), "weights": []}
    if parsed.kind == "zoo":
        spec = spec_of(parsed)
        tags = [parsed.tag] if parsed.tag else weight_files.tags_of(spec.name)
        names = [ModelName("zoo", arch=spec.name, tag=tag) for tag in tags]
        configs = {str(n): weight_files.read_config(weight_files.folder_of(n)) for n in names}
    else:
        configs = {name: weight_files.read_config(weight_files.folder_of(parsed))}
        spec = MODELS.get(configs[name]["architecture"])
    folders = {n: weight_files.folder_of(parse_name(n)) for n in configs}
    inputs = {n: weight_files.input_of(config, folders[n]) for n, config in configs.items()}
    first = next(iter(configs.values()), None)
    bands = BandSet.from_json(first["bands"]) if first else VISIBLE_31
    return {
        "name": spec.name,
        "summary": spec.summary,
        "source": spec.source,
        "licence": spec.licence,
        "tags": list(spec.tags),
        "from": MODELS.origin(spec.name),
        "arguments": dict(spec.arguments),
        "variants": {f"{spec.name}:{name}": dict(values) for name, values in spec.variants.items()},
        "input": _input(spec.input),
        **_cost(spec, bands, first["arguments"] if first else {}),
        "weights": [_weights(n, config, spec, inputs[n]) for n, config in configs.items()],
    }


def _cost(spec: ModelSpec, bands: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    from hsrzoo.complexity import macs, parameters
    from hsrzoo.spec import build_module

    module = build_module(spec, bands, arguments).eval()
    trainable, fixed = parameters(module)
    return {
        "bands": str(bands),
        "parameters": trainable,
        "fixed numbers": fixed,
        f"MACs at {SIDE} x {SIDE}": macs(module, SIDE, SIDE),
    }


def _input(wanted: RgbInput) -> str:
    size = f"multiple of {wanted.multiple}, at least {wanted.min_size} pixels"
    return f"RGB in [0, 1], normalise {wanted.normalise}, {size}"


def _weights(name: str, config: dict[str, Any], spec: ModelSpec, wanted: RgbInput) -> dict[str, Any]:
    from hsrzoo.bands import BandSet

    is_default = spec.default_tag is not None and name == f"{spec.name}.{spec.default_tag}"
    return {
        "name": name + (" (default)" if is_default else ""),
        "bands": str(BandSet.from_json(config["bands"])),
        "input": _input(wanted),
        "sha256": config["weights_sha256"],
        "training": config["training"],
        "codebook": config["codebook"],
    }


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}={_text(v)}" for k, v in value.items()) or "-"
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(v) for v in value) or "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "-" if value is None else str(value)
