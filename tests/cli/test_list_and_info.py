"""``hsrzoo list``, ``hsrzoo info`` and the printing of tables."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from hsrzoo.bands import BandSet
from hsrzoo.cli.output import print_table, to_json
from hsrzoo.registries import MODELS
from hsrzoo.spec import RgbInput, build_module
from hsrzoo.weights import save_folder

PLUGIN = """
from torch import nn
from hsrzoo.spec import ModelSpec

class Net(nn.Module):
    def __init__(self, bands):
        super().__init__()
        self.conv = nn.Conv2d(3, len(bands), 1)
    def forward(self, rgb):
        return self.conv(rgb)

SPEC = ModelSpec(name="plugin-net", build=Net, summary="One layer", source="A test", licence="CC0")
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "plugin.py"
    path.write_text(PLUGIN)
    return path


def test_list_gives_models_and_patterns_filter_them(run_hsrzoo) -> None:
    names = {row["name"] for row in json.loads(run_hsrzoo("list", "--json").stdout)}
    assert {"mcga-s2", "mst-plus-plus", "linear"} <= names
    found = json.loads(run_hsrzoo("list", "mcga-*", "--json").stdout)
    assert [row["name"] for row in found] == ["mcga-s1", "mcga-s2", "mcga-s3", "mcga-s4"]
    assert json.loads(run_hsrzoo("list", "nothing-*", "--json").stdout) == []


@pytest.mark.parametrize(
    ("option", "name"), [("--datasets", "cave"), ("--metrics", "sam"), ("--perturbations", "mixed-patch")]
)
def test_list_gives_the_other_kinds(run_hsrzoo, option: str, name: str) -> None:
    assert name in {row["name"] for row in json.loads(run_hsrzoo("list", option, "--json").stdout)}


def test_the_table_is_data_on_stdout(run_hsrzoo) -> None:
    done = run_hsrzoo("list", "lin*")
    assert "linear" in done.stdout and "floors:LINEAR" in done.stdout and done.stderr == ""


def test_plugin_files_appear_in_the_list_with_their_origin(run_hsrzoo, plugin: Path) -> None:
    plugin.write_text(
        "from hsrzoo.spec import ModelSpec\n"
        "SPEC = ModelSpec(name='plugin-net', build='x:y', summary='', source='')\n"
    )
    rows = json.loads(run_hsrzoo("--plugin", str(plugin), "list", "plugin-*", "--json").stdout)
    assert rows == [{"name": "plugin-net", "weights": "", "from": str(plugin)}]


def test_a_broken_file_of_the_environment_warns_and_the_list_goes_on(run_hsrzoo, plugin: Path) -> None:
    plugin.write_text("1 / 0")
    done = run_hsrzoo("list", "linear", "--json", env={"HSRZOO_PLUGINS": str(plugin)})
    assert done.returncode == 0 and json.loads(done.stdout)[0]["name"] == "linear"
    assert done.stderr.startswith("Warning: HSRZOO_PLUGINS:") and done.stderr.count("\n") == 1


def test_info_counts_parameters_and_macs(run_hsrzoo, plugin: Path) -> None:
    done = run_hsrzoo("--plugin", str(plugin), "info", "plugin-net", "--json")
    facts = json.loads(done.stdout)
    assert facts["parameters"] == 3 * 31 + 31
    assert facts["MACs at 256 x 256"] == 3 * 31 * 256 * 256
    assert facts["licence"] == "CC0" and facts["summary"] == "One layer" and facts["weights"] == []


def test_info_reads_a_local_folder_with_its_training_record(
    run_hsrzoo, tmp_path: Path, tiny_bands: BandSet
) -> None:
    spec = MODELS.get("linear")
    module = build_module(spec, tiny_bands, {})
    save_folder(tmp_path / "w", module, spec, tiny_bands, arguments={}, training={"steps": 12})
    done = run_hsrzoo("info", "local-dir:w")
    assert done.returncode == 0, done.stderr
    assert "steps=12" in done.stdout and "5 bands, 400-700 nm" in done.stdout


def test_info_tells_the_input_of_the_weights_beside_that_of_the_architecture(
    run_hsrzoo, tmp_path: Path, tiny_bands: BandSet
) -> None:
    spec = replace(MODELS.get("linear"), input=RgbInput(normalise="minmax-image", multiple=8, min_size=16))
    module = build_module(spec, tiny_bands, {})
    save_folder(tmp_path / "w", module, spec, tiny_bands, arguments={}, training={})
    facts = json.loads(run_hsrzoo("info", "local-dir:w", "--json").stdout)
    assert facts["input"] == "RGB in [0, 1], normalise none, multiple of 1, at least 1 pixels"
    (found,) = facts["weights"]
    assert found["input"] == "RGB in [0, 1], normalise minmax-image, multiple of 8, at least 16 pixels"


ROWS = [{"a": "x [red]", "b": 1.23456, "c": None}, {"a": "y, z", "b": float("nan"), "c": True}]


def test_json_is_strict_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(ROWS, ["a"], as_json=True)
    assert json.loads(capsys.readouterr().out) == [
        {"a": "x [red]", "b": 1.23456, "c": None},
        {"a": "y, z", "b": None, "c": True},
    ]
    assert json.loads(to_json({"x": [float("inf"), (1,)], 2: Path("p")})) == {"x": [None, [1]], "2": "p"}


def test_csv_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(ROWS, {"a": "A", "b": "B"}, as_csv=True)
    assert list(csv.reader(io.StringIO(capsys.readouterr().out))) == [
        ["a", "b"], ["x [red]", "1.23456"], ["y, z", "nan"]
    ]  # fmt: skip


def test_tables_keep_brackets_and_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([*ROWS, {"a": "w" * 300}], {"a": "Name", "b": "Value", "c": "Flag"}, title="T [b]")
    out = capsys.readouterr().out
    assert "x [red]" in out and "T [b]" in out and "w" * 300 in out
    assert "1.235" in out and "yes" in out and "Value" in out


def test_info_names_the_variants_and_refuses_others(run_hsrzoo) -> None:
    facts = json.loads(run_hsrzoo("info", "mst-plus-plus:reference", "--json").stdout)
    assert facts["variants"] == {"mst-plus-plus:reference": {"structure": "published"}}
    done = run_hsrzoo("info", "mst-plus-plus:referenz")
    assert done.returncode == 2 and "Nearest: reference" in done.stderr
