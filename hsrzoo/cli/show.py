"""``hsrzoo show`` and ``info``: a network's origin, cost, recipes, weights and stored results."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hsrzoo.cli import options, records
from hsrzoo.cli.names import MODEL
from hsrzoo.cli.output import print_table, say, to_json
from hsrzoo.results import read_store
from hsrzoo.zoo import COST_SIDE

if TYPE_CHECKING:
    from hsrzoo.models.names import ModelName
    from hsrzoo.spec import ModelSpec, Recipe, RgbInput
    from hsrzoo.zoo import Zoo

MACS, MEMORY = f"MACs at {COST_SIDE} x {COST_SIDE}", f"memory at {COST_SIDE} x {COST_SIDE}"
UNTIL = "0.3.0"
"""The version that has no `hsrzoo info` any more."""
WIDTH = 100
"""Columns of the text at most."""
_DEFAULT = " (default)"
"""After the name of the weights that the bare name loads."""
_BYTES = ("weights in memory", MEMORY)
"""Facts in bytes."""
_RECIPE = (
    "steps", "batch", "patch", "lr", "schedule", "betas", "loss", "normalise", "clip", "ema", "augment"
)  # fmt: skip
"""Fields of a recipe that a card shows; JSON has all of them."""


@click.command("show")
@click.argument("name", type=MODEL)
@options.store("Folder of the results of `hsrzoo bench`; those of this network are shown.")
@options.as_json
def command(name: str, store: Path, as_json: bool) -> None:
    """Show a network's card: use, scores, cost, licence; then origin, input, recipes, weights, stored rows.

    NAME is ARCH, ARCH.TAG, either with :VARIANT, local-dir:PATH, hf-hub:ORG/REPO[@REVISION] or onnx:FILE.
    The first lines are the figures of `hsrzoo list`. Multiply-accumulates and memory at 256 x 256 pixels
    are measured now, in one pass.
    """
    facts = describe(name)
    stored = read_store(store)
    scores = records.scores(stored, facts["name"])
    speed = records.timings(stored, facts["name"])
    if as_json:
        click.echo(to_json({**facts, "scores": scores, "speed": speed}))
        return
    click.echo(f"{facts['name']}: {facts['summary']}\n" if "summary" in facts else facts["name"])
    _print_facts(_decision(facts))
    click.echo()
    _print_facts({key: value for key, value in facts.items() if key not in _FIRST})
    for found in facts["weights"]:
        click.echo(f"\n{found['name']}")
        _print_facts({key: value for key, value in found.items() if key != "name"})
    _print_rows("scores", store, scores, ("data", "protocol", "scenes"))
    _print_rows("speed", store, speed, ("size", "device", "threads"))


_FIRST = ("name", "summary", "use", "licence", "weights")
"""Facts that the first lines tell."""


def _decision(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a user decides on."""
    from hsrzoo.zoo import read_zoo

    zoo = read_zoo()
    names = [found["name"].removesuffix(_DEFAULT) for found in facts["weights"]]
    place = "{scenes} scenes of {dataset}/{split}, protocol {protocol}".format_map(zoo.scores)
    scores = [
        f"{name}: RMSE {w['rmse']:.4f} (rank {w['rank']}), SAM {w['sam']:.2f} degrees, on {place}"
        for name in names
        if "rmse" in (w := zoo.weights.get(name, {}))
    ]
    others = [f"{found['name']}: {found['use']}" for found in facts["weights"] if "use" in found]
    lines = {
        "use": "\n".join([*filter(None, [facts.get("use")]), *others]),
        "scores": "\n".join(scores),
        "cost": _cost_line(facts, names, zoo),
        "licence": facts.get("licence"),
        "weights": ", ".join(found["name"] for found in facts["weights"]) or _without_weights(facts),
    }
    return {key: value for key, value in lines.items() if value}


def _cost_line(facts: Mapping[str, Any], names: Sequence[str], zoo: Zoo) -> str:
    """Parameters, and what one pass takes where the package carries it."""
    own = (zoo.facts(names[0]) if names else {}) or zoo.facts(facts["name"])
    timed = next((zoo.weights[name] for name in names if "ms" in zoo.weights.get(name, {})), {})
    side, device = zoo.speed["side"], "{device}, {threads} threads".format_map(zoo.speed)
    parts = [f"{facts['parameters']:,} parameters"] if "parameters" in facts else []
    if own.get("gmac") is not None and own.get("parameters") == facts.get("parameters"):
        parts.append(f"{own['gmac']:,.4g} GMAC for {side} x {side} pixels")
    if timed:
        parts.append(f"{timed['ms']:,.0f} ms and {timed['mib']:,.0f} MiB for them ({device})")
    return ", ".join(parts)


def _without_weights(facts: Mapping[str, Any]) -> str:
    from hsrzoo.models.locate import weights_command

    if "recipes" not in facts:
        return ""
    others = " or convert the authors' checkpoint" if facts["official checkpoints"] else ""
    return f"none bundled: {weights_command(facts['name'])}{others}"


def _print_rows(what: str, store: Path, rows: Sequence[Mapping[str, Any]], shared: Sequence[str]) -> None:
    """Stored rows, in one table for each combination of the values of ``shared``."""

    def place(row: Mapping[str, Any]) -> list[str]:
        return [str(row[key]) for key in shared]

    for values, found in groupby(sorted(rows, key=place), place):
        group = list(found)
        keys = dict.fromkeys(key for row in group for key in row)
        shown = [key for key in keys if key not in shared and not key.endswith("sha256")]
        title = ", ".join(f"{key} {value}" for key, value in zip(shared, values, strict=True))
        print_table(group, shown, title=f"{what} in {store}: {title}", compact=True, width=WIDTH)


@click.command("info", params=command.params, help=f"Deprecated, until version {UNTIL}: `hsrzoo show`.")
def info(**arguments: Any) -> None:
    """The same as `hsrzoo show`."""
    say(
        f"hsrzoo info is deprecated and will be removed in version {UNTIL}: use hsrzoo show", style="yellow"
    )
    click.get_current_context().invoke(command, **arguments)


def describe(name: str) -> dict[str, Any]:
    """All facts of a model as JSON values; imports its plugin, builds it and runs it once."""
    from hsrzoo.models.names import parse_name
    from hsrzoo.registry import MODELS
    from hsrzoo.zoo import use_of

    parsed = parse_name(name)
    if parsed.kind == "onnx":
        from hsrzoo.models.onnx_runtime import OnnxModel

        return {**OnnxModel(str(parsed.path)).facts(), "weights": []}
    spec, configs = _weights_of(parsed)
    uses = {use_of(spec, config["training"]) for config in configs.values()}
    use = uses.pop() if len(uses) == 1 else spec.use
    return {
        "name": spec.name,
        "summary": spec.summary,
        "use": use,
        "source": spec.source,
        "licence": spec.licence,
        "tags": list(spec.tags),
        "from": MODELS.origin(spec.name),
        "arguments": dict(spec.arguments),
        "variants": {f"{spec.name}:{name}": dict(values) for name, values in spec.variants.items()},
        "input": _input(spec.input),
        **_cost(spec, configs, parsed.variant),
        "recipes": {n: asdict(r) for n, r in _recipes(spec).items()},
        "official checkpoints": _official(spec),
        "notes": spec.notes,
        "weights": [_weights(n, config, spec, use) for n, config in configs.items()],
    }


def _weights_of(name: ModelName) -> tuple[ModelSpec, dict[str, dict[str, Any]]]:
    """The architecture, and config.json of the named weights; of all bundled weights if there is no tag."""
    from hsrzoo.models.loading import spec_of, spec_of_config
    from hsrzoo.models.locate import find_weights, folder_of, tags_of
    from hsrzoo.models.names import ModelName
    from hsrzoo.models.weights import read_config

    if name.kind != "zoo":
        name, folder = find_weights(name)
        config = read_config(folder)
        return spec_of_config(config, str(name)), {str(name): config}
    spec = spec_of(name)
    tags = [name.tag] if name.tag else tags_of(spec.name)
    names = [ModelName("zoo", arch=spec.name, tag=tag) for tag in tags]
    return spec, {str(one): read_config(folder_of(one)) for one in names}


def _cost(spec: ModelSpec, configs: Mapping[str, Mapping[str, Any]], variant: str | None) -> dict[str, Any]:
    """Cost of the network with the bands of the first weights (name -> config), else with 31 bands."""
    from hsrzoo.bands import VISIBLE_31, BandSet
    from hsrzoo.models.building import build_for
    from hsrzoo.models.complexity import stated_cost
    from hsrzoo.models.locate import folder_of
    from hsrzoo.models.names import parse_name
    from hsrzoo.models.parts import size_of
    from hsrzoo.spec import build_module
    from hsrzoo.utils.files import CONFIG

    more = spec.variants[variant] if variant else {}
    if not configs:
        bands = VISIBLE_31
        module = build_module(spec, bands, more, fresh=False).eval()
    else:
        name, config = next(iter(configs.items()))
        bands, folder = BandSet.from_json(config["bands"]), folder_of(parse_name(name))
        held, where = size_of(folder, config), str(folder / CONFIG)
        module = build_for(spec, bands, {**config["arguments"], **more}, held, where).eval()
    stated = stated_cost(module, spec.input)
    macs, memory = stated.pop("macs"), stated.pop("memory")
    tensors = [*module.parameters(), *module.buffers()]
    return {
        "bands": str(bands),
        **stated,
        MACS: macs,
        "weights in memory": sum(t.numel() * t.element_size() for t in tensors),
        MEMORY: memory,
    }


def _input(wanted: RgbInput) -> str:
    size = "any size"
    if (wanted.multiple, wanted.min_size) != (1, 1):
        size = f"multiple of {wanted.multiple}, at least {wanted.min_size} pixels"
    return f"RGB in [0, 1], normalise {wanted.normalise}, {size}"


def _recipes(spec: ModelSpec) -> dict[str, Recipe]:
    """By the names of `hsrzoo train --recipe`; none for a closed form."""
    from hsrzoo.bands import VISIBLE_31
    from hsrzoo.models.complexity import only_fitted
    from hsrzoo.training.recipe import recipes_of

    return {} if only_fitted(spec, VISIBLE_31) else recipes_of(spec)


def _official(spec: ModelSpec) -> str | None:
    from hsrzoo.registry import MODELS

    if spec.official is None:
        return None
    note = f"; {spec.official.note}" if spec.official.note else ""
    convert = f"{MODELS.program(spec.name)} convert FILE --arch {spec.name} --out FOLDER"
    return f"{convert} (input: normalise {spec.official.normalise}{note})"


def _weights(name: str, config: dict[str, Any], spec: ModelSpec, use: str) -> dict[str, Any]:
    """What config.json says; when to take these weights where that is not ``use``."""
    from hsrzoo.bands import BandSet
    from hsrzoo.models.locate import folder_of
    from hsrzoo.models.names import parse_name
    from hsrzoo.models.weights import input_of
    from hsrzoo.zoo import use_of

    is_default = spec.default_tag is not None and name == f"{spec.name}.{spec.default_tag}"
    own = use_of(spec, config["training"])
    return {
        "name": name + (_DEFAULT if is_default else ""),
        **({"use": own} if own != use else {}),
        "bands": str(BandSet.from_json(config["bands"])),
        "input": _input(input_of(config, folder_of(parse_name(name)))),
        "sha256": config["weights_sha256"],
        "training": config["training"],
        "codebook": config["codebook"],
    }


def _print_facts(facts: Mapping[str, Any]) -> None:
    """Names and values in two columns; long values are wrapped."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    for key, value in facts.items():
        if value is None or value == "" or value == {} or value == []:
            continue
        grid.add_row(Text(key, style="bold"), Text(_format_fact(key, value), overflow="fold"))
    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    console.print(grid, width=min(console.width, WIDTH))


def _format_fact(key: str, value: Any) -> str:
    if key in _BYTES:
        return f"{value / 2**20:.1f} MiB" + (", tensors of one pass, float32" if key == MEMORY else "")
    if key == "recipes":
        return "\n".join(f"{name}: {_text({k: r[k] for k in _RECIPE})}" for name, r in value.items()) or "-"
    if key in ("training", "codebook") and value:  # records hold whole recipes and lists of scenes
        value = {k: v for k, v in value.items() if k == "sources" or not isinstance(v, (Mapping, list))}
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        parts = (
            f"{k} ({_text(v)})" if isinstance(v, Mapping) else f"{k}={_text(v)}" for k, v in value.items()
        )
        return ", ".join(parts) or "-"
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(v) for v in value) or "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "-" if value is None or value == "" else str(value)
