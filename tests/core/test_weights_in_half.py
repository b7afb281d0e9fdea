"""scripts/weights_in_half.py: rounds once, keeps the record of what was rounded, or touches nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from files_as_modules import SCRIPTS, import_file
from hsrzoo.bands import BandSet
from hsrzoo.models.tensors import load_tensors
from hsrzoo.models.weights import save_folder
from hsrzoo.spec import ModelSpec
from hsrzoo.utils.files import sha256_of_file

SCRIPT = SCRIPTS / "weights_in_half.py"
SPEC = ModelSpec("tiny", lambda bands: nn.Conv2d(3, len(bands), 1), "toy", "tests")


@pytest.fixture
def in_half():
    return import_file(SCRIPT).main


@pytest.fixture
def folder(tmp_path: Path, tiny_bands: BandSet) -> Path:
    torch.manual_seed(0)
    save_folder(tmp_path, SPEC.build(tiny_bands), SPEC, tiny_bands, arguments={}, training={"steps": 1})
    return tmp_path


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_weights_are_rounded_and_say_of_what(folder, in_half):
    before, tensors = (
        sha256_of_file(folder / "model.safetensors"),
        load_tensors(folder / "model.safetensors"),
    )
    in_half(folder)
    found = load_tensors(folder / "model.safetensors")
    assert all(torch.equal(found[key], value.half()) for key, value in tensors.items())
    config = json.loads((folder / "config.json").read_text())
    assert config["weights_sha256"] == sha256_of_file(folder / "model.safetensors") != before
    assert config["training"]["stored"] == {"dtype": "float16", "rounded_from_sha256": before}
    card = (folder / "README.md").read_text()
    assert f"rounded from sha256 {before} |" in card and f"| sha256 | {config['weights_sha256']} |" in card


def test_a_second_time_nothing_changes(folder, in_half):
    in_half(folder)
    once = content(folder)
    with pytest.raises(SystemExit, match="rounded already"):
        in_half(folder)
    assert content(folder) == once


@pytest.mark.parametrize(("spoil", "told"), [("large", "beyond the range"), ("card", "no table")])
def test_what_cannot_be_rounded_is_left_as_it_was(folder, in_half, tiny_bands, spoil, told):
    if spoil == "large":
        module = SPEC.build(tiny_bands)
        nn.init.constant_(module.weight, 1e6)
        save_folder(folder, module, SPEC, tiny_bands, arguments={}, training={})
    else:
        (folder / "README.md").write_text("words")
    before = content(folder)
    with pytest.raises(SystemExit, match=told):
        in_half(folder)
    assert content(folder) == before


def test_half_precision_without_a_record_is_refused(folder, in_half):
    in_half(folder)
    config = json.loads((folder / "config.json").read_text())
    del config["training"]["stored"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(SystemExit, match="no weights in float32"):
        in_half(folder)


def test_without_folders_it_says_how_it_is_used(forks, tmp_path):
    done = forks.python(str(SCRIPT), cwd=tmp_path)
    assert done.returncode == 1 and "Usage: python scripts/weights_in_half.py FOLDER" in done.stderr
