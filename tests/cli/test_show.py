"""``hsrzoo show``: the card of a network, and the stored rows on it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hsrzoo.bands import BandSet
from hsrzoo.cli import records
from hsrzoo.cli.show import command as show
from hsrzoo.cli.show import info
from hsrzoo.models.complexity import cost, macs, peak_bytes
from hsrzoo.models.weights import save_folder
from hsrzoo.registry import MODELS
from hsrzoo.results import SCHEMA, read_store
from hsrzoo.spec import RgbInput, build_module
from hsrzoo.zoo import read_zoo
from one_layer import ONE_LAYER

PLUGIN = (
    ONE_LAYER
    + """
SPEC = ModelSpec(
    name="plugin-net", build=Net, summary="One layer", source="A test", licence="CC0",
    recipes={"authors": Recipe(steps=7, loss="mrae")},
    official=Official("minmax-image", note="of the toolbox"), notes="Made for [tests].", use="A trial",
)
"""
)


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    path = tmp_path / "plugin.py"
    path.write_text(PLUGIN)
    return str(path)


def card(*arguments: str) -> dict[str, Any]:
    """The card as JSON, in this process."""
    result = CliRunner().invoke(show, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    return json.loads(result.stdout)


def test_a_card_tells_origin_cost_recipes_and_notes(run_hsrzoo, plugin: str) -> None:
    done = run_hsrzoo("--plugin", plugin, "show", "plugin-net", "--json")
    facts = json.loads(done.stdout)
    assert facts["licence"] == "CC0" and facts["summary"] == "One layer" and facts["from"] == plugin
    assert (facts["parameters"], facts["frozen"], facts["buffers"]) == (3 * 31 + 31, 0, 0)
    assert facts["MACs at 256 x 256"] == 3 * 31 * 256 * 256
    assert facts["weights in memory"] == 4 * 124
    assert facts["memory at 256 x 256"] == 31 * 256 * 256 * 4  # of the cube; the image was there before
    assert facts["recipes"]["few-pairs"]["steps"] == 300
    assert facts["recipes"]["authors"]["steps"] == 7 and facts["recipes"]["common"]["steps"] == 2000
    assert facts["official checkpoints"] == (
        "hsrzoo --plugin plugin.py convert FILE --arch plugin-net --out FOLDER "
        "(input: normalise minmax-image; of the toolbox)"
    )
    assert facts["notes"] == "Made for [tests]."
    assert facts["weights"] == facts["scores"] == facts["speed"] == []


def test_the_text_leads_with_what_decides_and_fits_100_columns(run_hsrzoo, plugin: str) -> None:
    done = run_hsrzoo("--plugin", plugin, "show", "plugin-net")
    assert done.returncode == 0 and done.stderr == ""
    head, first, rest = done.stdout.split("\n\n", 2)
    assert head == "plugin-net: One layer"
    assert " ".join(first.split()) == (
        "use A trial cost 124 parameters licence CC0 weights none bundled: hsrzoo --plugin plugin.py train "
        "plugin-net --dataset NAME or convert the authors' checkpoint"
    )
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "7.8 MiB, tensors of one pass, float32" in rest and "Made for [tests]." in rest
    assert "authors: steps=7, batch=4" in rest and "loss=mrae" in rest and "arguments" not in rest


def test_figures_of_the_zoo_are_the_first_lines_of_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hsrzoo.models.complexity.COST_SIDE", 16)
    text = CliRunner().invoke(show, ["mcga-s2"], catch_exceptions=False).stdout
    assert max(map(len, text.splitlines())) <= 100
    first = " ".join(text.split("\n\n")[1].split())
    assert first.startswith("use MCGA as published")
    assert "scores mcga-s2.cave: RMSE 0.0311 (rank 1), SAM 9.61 degrees, on 4 scenes of cave/valid" in first
    timed = read_zoo().facts("mcga-s2.cave")
    assert f"cost 737,995 parameters, {timed['gmac']:.2f} GMAC for 512 x 512 pixels" in first
    assert f"{timed['ms']:.0f} ms and {timed['mib']:.0f} MiB" in first
    assert "mcga-s2.general: other scenes and sensors" in first
    assert "licence MIT weights mcga-s2.cave (default)" in first


def test_cost_is_that_of_two_passes_one_by_one(tiny_bands: BandSet) -> None:
    module = build_module(MODELS.get("poly"), tiny_bands, {})
    assert cost(module, 24, 40) == (macs(module, 24, 40), peak_bytes(module, 24, 40))


def test_a_local_folder_has_its_training_record_and_its_own_input(
    run_hsrzoo, tmp_path: Path, tiny_bands: BandSet
) -> None:
    spec = replace(MODELS.get("linear"), input=RgbInput(normalise="minmax-image", multiple=8, min_size=16))
    module = build_module(spec, tiny_bands, {})
    training = {"steps": 12, "recipe": {"lr": 1.0}, "scenes": ["a"]}
    save_folder(tmp_path / "w", module, spec, tiny_bands, arguments={}, training=training)
    done = run_hsrzoo("show", "local-dir:w")
    assert done.returncode == 0, done.stderr
    assert "steps=12" in done.stdout and "5 bands, 400-700 nm" in done.stdout and "lr=1" not in done.stdout
    facts = card(f"local-dir:{tmp_path / 'w'}")
    (found,) = facts["weights"]
    assert facts["input"] == "RGB in [0, 1], normalise none, any size"
    assert found["input"] == "RGB in [0, 1], normalise minmax-image, multiple of 8, at least 16 pixels"
    assert found["training"] == training


def test_variants_are_named_and_others_refused(run_hsrzoo, monkeypatch) -> None:
    monkeypatch.setattr("hsrzoo.models.complexity.COST_SIDE", 64)
    variants = card("mst-plus-plus:reference")["variants"]
    assert variants == {"mst-plus-plus:reference": {"structure": "published"}}
    done = run_hsrzoo("show", "mst-plus-plus:referenz")
    assert done.returncode == 2 and "Nearest: reference" in done.stderr


def test_a_variant_costs_what_it_costs(monkeypatch) -> None:
    monkeypatch.setattr("hsrzoo.models.complexity.COST_SIDE", 176)  # features outweigh weights
    memory = "memory at 256 x 256"
    whole, usual = card("mst-plus-plus:reference"), card("mst-plus-plus.cave")
    assert whole["parameters"] == usual["parameters"] == 1_619_625
    assert whole[memory] > 2 * usual[memory]


def test_a_floor_has_no_recipe_and_its_default_weights_are_marked() -> None:
    facts = card("linear")
    assert facts["recipes"] == {} and facts["official checkpoints"] is None and facts["buffers"] == 93
    assert [found["name"] for found in facts["weights"]] == [
        "linear.cave (default)", "linear.general", "linear.indian-pines",
    ]  # fmt: skip


def test_info_is_the_same_command_and_says_until_when_it_is_there() -> None:
    told, plain = (CliRunner().invoke(command, ["linear"]) for command in (info, show))
    assert told.stdout == plain.stdout and "Least-squares" in plain.stdout
    assert "removed in version 0.3.0: use hsrzoo show" in told.stderr and plain.stderr == ""


SCORE = {
    "schema": SCHEMA, "bench": "accuracy", "model": "linear.cave", "architecture": "linear",
    "weights_sha256": "w", "trained_on": "cave", "dataset": "cave", "split": "valid", "fingerprint": "new",
    "protocol_name": "full-frame", "protocol_hash": "0123456789abcdef",
    "protocol_group": "0123456789abcdef", "protocol": {}, "perturbation": None, "tta": False,
    "model_sha256": "m", "provenance": {},
    "timestamp": "2026-01-02T00:00:00+00:00",
    "scene": "a", "metrics": {"rmse": 0.25, "psnr": 20.0},
}  # fmt: skip
SPEED = {
    "schema": SCHEMA, "bench": "speed", "model": "linear [untrained]", "architecture": "linear",
    "model_sha256": "m", "untrained": True, "size": [256, 128], "p50": 0.002, "peak_mib": 300.5,
    "status": "ok", "provenance": {"device_name": "a CPU", "threads": 2}, "weights_sha256": None,
    "timestamp": "2026-01-02T00:00:00+00:00",
}  # fmt: skip


def store(root: Path, *files: list[dict[str, Any]]) -> Path:
    """A folder of results with one file for each list of rows."""
    for i, rows in enumerate(files):
        path = root / "results" / f"set-{i}" / "rows.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root / "results"


def test_scores_are_means_over_the_scenes_of_the_newest_data(tmp_path: Path) -> None:
    old = {**SCORE, "fingerprint": "old", "metrics": {"rmse": 9.0, "psnr": 9.0}}
    second = {**SCORE, "scene": "b", "metrics": {"rmse": 0.75, "psnr": "NaN"}}
    found = records.scores(read_store(store(tmp_path, [old, SCORE, second])), "linear")
    assert found == [
        {
            "model": "linear.cave", "weights_sha256": "w", "trained on": "cave", "data": "cave/valid",
            "protocol": "full-frame 0123456789ab", "scenes": 2, "rmse": 0.5, "psnr": None,
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [{"architecture": "poly"}, {"perturbation": "gamma"}, {"tta": True}, {"untrained": True},
     {"schema": "another/2"}, {"bench": "speed"}],
)  # fmt: skip
def test_other_networks_disturbed_input_and_random_weights_are_no_scores(tmp_path: Path, change) -> None:
    assert records.scores(read_store(store(tmp_path, [{**SCORE, **change}])), "linear") == []


def test_of_speed_the_newest_row_of_each_size_and_device_counts(tmp_path: Path) -> None:
    oom = {**SPEED, "size": [512, 512], "status": "OOM", "p50": None, "peak_mib": None}
    folder = store(tmp_path, [{**SPEED, "p50": 9.0}, SPEED, oom], [SCORE])
    first, second = records.timings(read_store(folder), "linear")
    assert first == {
        "model": "linear [untrained]", "size": "256x128", "device": "a CPU", "threads": 2, "p50 ms": 2.0,
        "peak MiB": 300.5, "status": "ok",
    }  # fmt: skip
    assert (second["status"], second["p50 ms"]) == ("OOM", None)


def test_torn_lines_and_an_absent_store_are_no_rows(tmp_path: Path) -> None:
    assert records.scores(read_store(tmp_path / "nowhere"), "linear") == []
    folder = store(tmp_path, [SCORE])
    (path,) = folder.rglob("*.jsonl")
    path.write_text(path.read_text() + '[1]\n{"schema": "hsrzoo.res')
    assert len(records.scores(read_store(folder), "linear")) == 1


def test_rows_stand_on_the_card(run_hsrzoo, tmp_path: Path) -> None:
    folder = store(tmp_path, [SCORE], [SPEED])
    facts = card("linear", "--store", str(folder))
    assert facts["scores"][0]["rmse"] == 0.25 and facts["speed"][0]["size"] == "256x128"
    shown = run_hsrzoo("show", "linear").stdout  # results is the folder that bench writes to
    assert "scores in results" in shown and "0.25" in shown and "linear [untrained]" in shown
