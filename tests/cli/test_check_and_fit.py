"""``hsrzoo check`` and ``hsrzoo fit`` from the outside."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import hsrzoo
from hsrzoo.cli import check
from hsrzoo.cli.fit import command
from hsrzoo.contract.checks import CHECKS
from hsrzoo.datasets import open_dataset
from hsrzoo.errors import DivergedError, StoreError
from hsrzoo.registry import MODELS
from hsrzoo.spec import ModelSpec

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "plugin_one_file.py"

BROKEN = """
from torch import nn
from hsrzoo.spec import ModelSpec

class Wrong(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 31, 1)

    def forward(self, rgb):
        return self.layer(rgb)

SPEC = ModelSpec(name="wrong", build=lambda bands: Wrong(), summary="31 bands only", source="a test")
"""


def test_checks_are_rows_of_json():
    """As text, of the example plug-in: tests/examples/test_tutorials.py."""
    result = CliRunner().invoke(check.command, ["mean-spectrum", "--json"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [row["check"] for row in rows] == list(CHECKS)
    assert {row["result"] for row in rows} == {"ok"}


def test_broken_plugin_fails_with_a_sentence_and_exit_code_1(run_hsrzoo, tmp_path):
    plugin = tmp_path / "wrong.py"
    plugin.write_text(BROKEN)
    result = run_hsrzoo("--plugin", plugin, "check", "wrong")
    assert result.returncode == 1
    (line,) = [line for line in result.stdout.splitlines() if "FAILED" in line]
    assert "wrong depth. Expected 4. Got 31." in line
    assert "Traceback" not in result.stdout + result.stderr
    assert (
        result.stderr.startswith("First failure: bands: The cube for ") and result.stderr.count("\n") == 1
    )


@pytest.mark.parametrize("source", ["1 / 0", "import no_such_package", "def f(:", "raise SystemExit(0)"])
def test_plugin_that_raises_on_import_is_told_in_a_sentence(run_hsrzoo, tmp_path, source):
    plugin = tmp_path / "broken.py"
    plugin.write_text(source)
    result = run_hsrzoo("--plugin", plugin, "check", "anything")
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith(f"Error: The plugin file {plugin} cannot be imported. Got ")
    assert result.stderr.count("\n") == 1


def test_fit_writes_a_folder_that_loads(run_hsrzoo, tmp_path):
    result = run_hsrzoo("fit", "linear", "--dataset", "indian-pines", "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    model = hsrzoo.load(f"local-dir:{tmp_path / 'out'}", device="cpu")
    training = model.config["training"]
    assert (training["dataset"], training["split"]) == ("indian-pines", "train")
    assert training["fingerprint"] == open_dataset("indian-pines").fingerprint()
    assert training["command"] == "hsrzoo fit linear --dataset indian-pines --out out"
    bundled = hsrzoo.load("linear.indian-pines", device="cpu")
    assert np.allclose(model.module.matrix, bundled.module.matrix, rtol=1e-5)


def test_fit_passes_options_of_the_set_on_and_records_them(run_hsrzoo, tmp_path):
    result = run_hsrzoo("fit", "linear", "--dataset", "indian-pines", "--data-option", "bands=all")
    assert result.returncode == 0, result.stderr
    assert result.stderr == "Weights: linear.indian-pines (--model local-dir:linear.indian-pines)\n"
    config = json.loads((tmp_path / "linear.indian-pines/config.json").read_text())
    assert len(config["bands"]["centres_nm"]) == 200
    training = config["training"]
    assert training["dataset_info"] == open_dataset("indian-pines", bands="all").info
    assert training["command"] == "hsrzoo fit linear --dataset indian-pines --data-option bands=all"


def test_a_fit_that_is_not_finite_writes_no_weights(tmp_path, monkeypatch):
    def fit(module, dataset, split):
        torch.nn.init.constant_(module.weight, float("nan"))

    spec = ModelSpec("never-fitted", lambda bands: torch.nn.Conv2d(3, len(bands), 1), "s", "t", fit=fit)
    monkeypatch.setattr(MODELS, "get", lambda name: spec)
    result = CliRunner().invoke(
        command, ["never-fitted", "--dataset", "indian-pines", "--out", str(tmp_path / "out")]
    )
    assert isinstance(result.exception, DivergedError) and result.exception.exit_code == 1
    assert "not finite" in str(result.exception) and list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_fitted(tmp_path, monkeypatch):
    def fit(module, dataset, split):
        raise AssertionError("computed before the folder was tried")

    spec = ModelSpec("never-fitted", lambda bands: torch.nn.Conv2d(3, len(bands), 1), "s", "t", fit=fit)
    monkeypatch.setattr(MODELS, "get", lambda name: spec)
    (tmp_path / "file").write_text("in the way")
    arguments = ["never-fitted", "--dataset", "indian-pines", "--out", str(tmp_path / "file/out")]
    result = CliRunner().invoke(command, arguments)
    assert isinstance(result.exception, StoreError) and result.exception.exit_code == 2
    assert str(tmp_path / "file/out") in str(result.exception)


def test_messages_are_not_wrapped_where_there_is_no_terminal(run_hsrzoo, tmp_path):
    out = tmp_path / ("a-long-name-" * 8)
    result = run_hsrzoo("fit", "mean-spectrum", "--dataset", "indian-pines", "--out", out)
    assert result.stderr == f"Weights: {out} (--model local-dir:{out})\n"


def test_fit_of_a_network_points_to_train(run_hsrzoo):
    result = run_hsrzoo("fit", "hscnn-plus", "--dataset", "indian-pines")
    assert result.returncode == 2
    assert "hsrzoo train hscnn-plus --dataset indian-pines" in result.stderr
    assert "Traceback" not in result.stderr
