"""What is checked before anything is sent: weights that are not what they say are not pushed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hsrzoo
from hsrzoo.errors import HsrzooError, InputError, UnknownNameError, WeightsError
from hsrzoo.models import push
from hsrzoo.models.locate import folder_of
from hsrzoo.models.names import parse_name
from hsrzoo.models.push import checked_weights
from hsrzoo.models.tensors import load_tensors, save_tensors
from hsrzoo.registry import Registry
from hsrzoo.utils.files import CONFIG, TENSORS, sha256_of_file

NAME = "linear.indian-pines"
Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(folder_of(parse_name(NAME)), tmp_path / "weights")


def edit(folder: Path, change: Change) -> None:
    config = json.loads((folder / CONFIG).read_text())
    change(config)
    (folder / CONFIG).write_text(json.dumps(config))


def test_good_weights_are_told_by_the_sha256_of_file_and_model(folder: Path) -> None:
    found = checked_weights(f"local-dir:{folder}")
    assert found.folder == folder
    assert found.identity.weights_sha256 == sha256_of_file(folder / TENSORS)
    assert (
        found.identity.model_sha256
        == hsrzoo.load(NAME).identity
        == checked_weights(NAME).identity.model_sha256
    )


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("mcga-s2.cave:counts-2", InputError, "is not pushed.*their variant counts-2"),
        ("onnx:model.onnx", InputError, "is not pushed.*an exported file"),
        ("mcga-s1", WeightsError, "no trained weights for mcga-s1"),
        ("linaer.cave", UnknownNameError, "no model named .linaer.. Nearest: linear"),
        ("some/folder", UnknownNameError, "write local-dir:some/folder"),
        ("local-dir:nowhere", WeightsError, "does not exist"),
    ],
)
def test_names_without_weights_of_their_own_are_refused(
    name: str, kind: type[HsrzooError], expected: str
) -> None:
    with pytest.raises(kind, match=expected):
        checked_weights(name)


def test_weights_of_a_plugin_are_pushed_with_what_others_need(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = checked_weights(f"local-dir:{folder}")
    assert push._config_bytes(weights, None) == (folder / CONFIG).read_bytes()
    monkeypatch.setattr(Registry, "requires", lambda self, name: "pip install my-nets==1.0")
    weights = checked_weights(f"local-dir:{folder}")
    pushed = json.loads(push._config_bytes(weights, None))
    assert pushed == {**json.loads((folder / CONFIG).read_text()), "requires": "pip install my-nets==1.0"}
    edit(folder, lambda c: c.update(requires="pip install my-nets==0.9"))  # as the weights were made
    weights = checked_weights(f"local-dir:{folder}")
    assert push._config_bytes(weights, None) == (folder / CONFIG).read_bytes()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c.update(licence=" "), "nothing under licence"),
        (lambda c: c.update(training={}), "nothing under training"),
        (lambda c: c.update(training={"weights": "random"}), "random weights"),
        (lambda c: c["training"].update(complete=False, steps_done=7), "not trained to its end.*7 steps"),
        (lambda c: c.pop("source"), "is incomplete"),
    ],
)
def test_a_configuration_that_says_too_little_is_refused(
    folder: Path, change: Change, expected: str
) -> None:
    edit(folder, change)
    with pytest.raises(WeightsError, match=expected):
        checked_weights(f"local-dir:{folder}")


def test_tensors_that_are_not_those_of_the_configuration_are_refused(folder: Path) -> None:
    tensors = load_tensors(folder / TENSORS)
    save_tensors(folder / TENSORS, {k: v + 1 for k, v in tensors.items()}, {})
    with pytest.raises(WeightsError, match=r"is not the file that its config\.json describes"):
        checked_weights(f"local-dir:{folder}")


def test_weights_that_give_no_numbers_are_refused(folder: Path) -> None:
    tensors = load_tensors(folder / TENSORS)
    save_tensors(folder / TENSORS, {k: torch.full_like(v, 3e38) for k, v in tensors.items()}, {})
    edit(folder, lambda c: c.update(weights_sha256=sha256_of_file(folder / TENSORS)))
    with pytest.raises(WeightsError, match="not finite"):
        checked_weights(f"local-dir:{folder}")


def test_another_cube_from_the_clean_folder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = push.load

    def load(name: str, **how: Any) -> Any:
        model = real(name, **how)
        if name.startswith("local-dir:"):
            with torch.no_grad():
                weights = next(
                    p
                    for p in [*model.module.parameters(), *model.module.buffers()]
                    if p.is_floating_point()
                )
                weights += 1e-6
        return model

    monkeypatch.setattr(push, "load", load)
    with pytest.raises(
        WeightsError, match="gives another cube when its files are loaded from a clean folder"
    ):
        checked_weights(NAME)


def test_the_probe_is_no_multiple_of_what_networks_ask_for() -> None:
    assert all(side % 4 for side in push.PROBE)
    rgb = np.random.default_rng(0).random((3, *push.PROBE), dtype=np.float32)
    assert hsrzoo.load(NAME, device="cpu").predict(rgb).shape == (31, *push.PROBE)
