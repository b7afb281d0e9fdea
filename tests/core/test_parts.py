"""Folders that leave tensors to bundled weights are the same weights as those that hold them all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors import safe_open

import hsrzoo
from hsrzoo.cli.ensemble import command
from hsrzoo.errors import HsrzooError, InputError, WeightsError
from hsrzoo.models.parts import size_of, stored
from hsrzoo.models.push import checked_weights
from hsrzoo.models.weights import read_config

TWO = ("linear.indian-pines", "pixel-mlp.indian-pines")
RGB = np.random.default_rng(1).random((3, 12, 20), dtype=np.float32)


def joined(folder: Path, *arguments: str) -> Path:
    done = CliRunner().invoke(command, [*TWO, "-o", str(folder), *arguments])
    if isinstance(done.exception, HsrzooError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return folder


def changed(folder: Path, **fields: object) -> str:
    config = json.loads((folder / "config.json").read_text())
    config["parts"][0] |= fields
    (folder / "config.json").write_text(json.dumps(config))
    return f"local-dir:{folder}"


def test_a_folder_with_parts_is_the_same_model_in_a_small_file(tmp_path):
    whole, parts = joined(tmp_path / "whole"), joined(tmp_path / "parts", "--refer")
    with safe_open(parts / "model.safetensors", "np") as file:
        assert list(file.keys()) == ["shares"]
    models = [hsrzoo.load(f"local-dir:{folder}", device="cpu") for folder in (whole, parts)]
    assert models[0].identity == models[1].identity is not None
    assert np.array_equal(models[0].predict(RGB), models[1].predict(RGB))
    found = stored(parts, read_config(parts))
    assert found.sha256 == hashlib.sha256((whole / "model.safetensors").read_bytes()).hexdigest()
    assert found.size == size_of(parts, read_config(parts))


def test_what_is_pushed_holds_all_tensors(tmp_path):
    whole, parts = joined(tmp_path / "whole"), joined(tmp_path / "parts", "--refer")
    pushed, expected = (checked_weights(f"local-dir:{folder}") for folder in (parts, whole))
    assert pushed.tensors == (whole / "model.safetensors").read_bytes()
    assert "parts" not in pushed.config and pushed.completed and not expected.completed
    assert pushed.identity == expected.identity


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weights_sha256": "0" * 64}, "linear.indian-pines is not what .* was made with"),
        ({"weights": "local-dir:/tmp"}, "not bundled.*local-dir"),
        ({"weights": "linear"}, "not bundled"),
        ({"prefix": "members.1."}, "not what its config.json describes"),
    ],
)
def test_other_parts_than_those_it_was_made_with_are_refused(tmp_path, fields, message):
    name = changed(joined(tmp_path / "parts", "--refer"), **fields)
    with pytest.raises(WeightsError, match=message):
        hsrzoo.load(name, device="cpu")


@pytest.mark.parametrize(
    ("arch", "message"), [("linear", "linear is no ensemble"), ("mcga-plus", "mcga-s2 and pixel-mlp")]
)
def test_an_ensemble_with_a_name_has_members_of_its_own(tmp_path, arch, message):
    with pytest.raises(InputError, match=message):
        joined(tmp_path / "out", "--arch", arch)
