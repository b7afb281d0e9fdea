"""Write hsrzoo/data/zoo.json, what `hsrzoo list` shows and what is recommended, from specs and stored rows.

Run ``python scripts/export_zoo.py`` after rows, networks or bundled weights changed. Scores are those of
undisturbed images of CAVE, rank groups those of RMSE among bundled weights; times are those of 512 x 512
pixels, as are multiply-accumulates, which are counted where a network is new or its size changed; with
``--count`` of all, which takes about 10 CPU-minutes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from hsrzoo.bands import VISIBLE_31
from hsrzoo.models.complexity import macs, size_of
from hsrzoo.models.locate import bundled, folder_of
from hsrzoo.models.names import parse_name
from hsrzoo.models.weights import read_config
from hsrzoo.registry import MODELS
from hsrzoo.results import HASH_LENGTH, ScoreRow, SpeedRow, newest, newest_scores, newest_weights, read_file
from hsrzoo.spec import ModelSpec, build_module
from hsrzoo.zoo import TABLE, Zoo, read_zoo, use_of, year_of
from hsrzoo_benchmark.reproduce.evidence import Evidence
from hsrzoo_benchmark.reproduce.intervals import low_coverages
from hsrzoo_benchmark.reproduce.recommended import recommended
from hsrzoo_benchmark.results.figures import figures
from hsrzoo_benchmark.results.groups import clean_group, groups
from hsrzoo_benchmark.results.speeds import main_machine
from hsrzoo_benchmark.results.versions import held
from hsrzoo_benchmark.speed import timing
from hsrzoo_benchmark.tables.markdown import bundled_config

RECORDS = Path(__file__).resolve().parent.parent / "records"
DATASET, SPLIT, PROTOCOL = "cave", "valid", "full-frame"
SIDE = 512


def scores(records: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What the scores have in common, and those of each bundled model."""
    undisturbed = f"{PROTOCOL}_{'[0-9a-f]' * HASH_LENGTH}.jsonl"
    rows = [
        row
        for name in bundled()
        for file in sorted(records.glob(f"{DATASET}-{SPLIT}/{name}@*/{undisturbed}"))
        for row in read_file(file, records)[0]
        if isinstance(row, ScoreRow)
    ]
    group = clean_group(groups(newest_scores(newest_weights(rows), held)))
    found: dict[str, dict[str, Any]] = {}
    for figure in (f for f in figures([group]) if f["metric"] in ("rmse", "sam")):
        model = found.setdefault(figure["model"], {})
        if figure["metric"] == "rmse":
            model["rank"] = figure["rank"]
        model[figure["metric"]] = float(f"{figure['mean']:.6g}")
        shared = {key: figure[key] for key in ("dataset", "split", "protocol", "hash", "scenes")}
    return shared, found


def times(records: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What the times have in common, and those of each bundled model on the main machine."""
    rows = [
        row
        for name in bundled()
        for file in sorted(records.glob(f"speed/{name}@*/*.jsonl"))
        for row in read_file(file, records)[0]
        if isinstance(row, SpeedRow) and row.method == timing.METHOD and row.size == (SIDE, SIDE)
    ]
    rows = [row for row in rows if row.p50 is not None]
    machine = main_machine(rows) or (None, None)
    found = {
        row.model: {
            "gmac": None if row.macs is None else float(f"{row.macs / 1e9:.4g}"),
            "ms": float(f"{1e3 * (row.p50 or 0):.4g}"),
            "mib": row.peak_mib,
        }
        for row in newest((row for row in rows if row.machine == machine), lambda row: row.model)
    }
    return {"side": SIDE, "device": machine[0], "threads": machine[1]}, found


def network(name: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of an architecture without weights; ``known``: its entry so far."""
    spec = MODELS.get(name)
    size = size_of(spec, VISIBLE_31)._asdict()
    held = all(known.get(key) == count for key, count in size.items())
    gmac = known["gmac"] if held and "gmac" in known else gmac_of(spec, {})
    return {
        "year": year_of(spec.source),
        "licence": spec.licence,
        "use": spec.use,
        "default": spec.default_tag,
        **size,
        "gmac": gmac,
    }


def own_facts(name: str, network: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """What bundled weights do not share with their ``network``; ``known``: their entry so far."""
    config = read_config(folder_of(parse_name(name)))
    spec, arguments = MODELS.get(config["architecture"]), config["arguments"]
    found: dict[str, Any] = {"use": use_of(spec, config["training"])}
    size = size_of(spec, VISIBLE_31, arguments)._asdict()
    if any(network[key] != count for key, count in size.items()):
        known = {**network, **known}  # an entry has what is not that of the network
        held = all(known[key] == count for key, count in size.items())
        found |= {**size, "gmac": known["gmac"] if held else gmac_of(spec, arguments)}
    return {key: value for key, value in found.items() if network[key] != value}


def gmac_of(spec: ModelSpec, arguments: Mapping[str, Any]) -> float:
    """Multiply-accumulates of one pass over ``SIDE`` x ``SIDE`` pixels, in thousand millions."""
    module = build_module(spec, VISIBLE_31, arguments).eval()
    side = spec.input.padded(SIDE)
    return float(f"{macs(module, side, side) / 1e9:.4g}")


def table(records: Path = RECORDS, *, count: bool = False) -> Zoo:
    """The whole table; ``count``: with the multiply-accumulates of all networks counted again."""
    scored, by_score = scores(records)
    timed, by_time = times(records)
    # Not those of plugins that happen to be installed or loaded here.
    entries = entry_points(group="hsrzoo.models")
    own = sorted(entry.name for entry in entries if entry.dist and entry.dist.name == "hsrzoo")
    counted: dict[str, Mapping[str, Any]] = {} if count else {**read_zoo().networks, **read_zoo().weights}
    networks = {name: network(name, counted.get(name, {})) for name in own}
    weights = {}
    for name in bundled():
        architecture = name.partition(".")[0]
        if architecture not in networks:
            continue
        facts = own_facts(name, networks[architecture], counted.get(name, {}))
        found = {**by_score.get(name, {}), **facts, **by_time.get(name, {})}
        if found:
            weights[name] = found
    evidence = Evidence.read(records)
    advice = recommended(evidence, bundled())
    return Zoo(scored, timed, networks, weights, advice, intervals(evidence))


def intervals(evidence: Evidence) -> dict[str, dict[str, Any]]:
    """Where intervals of the bundled weights hold little."""
    found = {}
    for name, low in low_coverages(evidence).items():
        config = bundled_config(name)
        if config:
            shares = {where: float(f"{share:.3g}") for where, share in low.items()}
            found[name] = {"weights_sha256": config["weights_sha256"], "low": shares}
    return found


def text(zoo: Zoo) -> str:
    """The file: one line for each network and each set of weights."""
    parts = []
    for part, values in vars(zoo).items():
        if part in ("networks", "weights", "recommended", "intervals"):
            lines = ",\n".join(
                f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in values.items()
            )
            parts.append(f" {json.dumps(part)}: {{\n{lines}\n }}")
        else:
            parts.append(f" {json.dumps(part)}: {json.dumps(values)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    TABLE.write_text(text(table(count="--count" in sys.argv[1:])), encoding="utf-8")
