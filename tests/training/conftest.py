"""Toy tasks for the training tests; all on one CPU thread, so that sums have one order."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from hsrzoo.spec import Recipe

TOYS = Path(__file__).with_name("toys.py")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")  # bits are compared: also where there is a GPU
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def toys() -> ModuleType:
    """The module toys.py (not registered anywhere)."""
    spec = importlib.util.spec_from_file_location("training_toys", TOYS)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["training_toys"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def make_task(toys: ModuleType) -> Callable[..., Any]:
    """``make_task(steps=..., ...) -> (PairTask, Recipe)`` with equal initial weights every time."""
    from hsrzoo.training.pairs import PairTask

    def make(
        task: type = PairTask,
        spec: Any = toys.NET,
        data: Any = None,
        cache: bool | None = None,
        **fields: Any,
    ) -> tuple[Any, Recipe]:
        recipe = replace(toys.NET.recipe, **fields)
        torch.manual_seed(recipe.seed)
        data = data or toys.ToySet()
        return task(spec, toys.ToyNet(data.bands), data, recipe, cache=cache), recipe

    return make


def same_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """True if two state dicts hold the same bytes under the same names."""
    return one.keys() == other.keys() and all(
        one[key].numpy().tobytes() == other[key].numpy().tobytes() for key in one
    )


@pytest.fixture(name="same_bits")
def same_bits_fixture() -> Callable[..., bool]:
    return same_bits


def forget_fields(run: Path, *names: str) -> None:
    """Make ``run`` one of a version that did not write these fields of its recipe."""
    from hsrzoo.training.rundir import load_checkpoint

    config, checkpoint = run / "config.json", run / "checkpoint.pt"
    before, state = json.loads(config.read_text()), load_checkpoint(checkpoint)
    identity = json.loads(state["identity"])
    for recorded in (before, identity):
        for name in names:
            del recorded["recipe"][name]
    config.write_text(json.dumps(before))
    torch.save({**state, "identity": json.dumps(identity)}, checkpoint)


@pytest.fixture(name="forget_fields")
def forget_fields_fixture() -> Callable[..., None]:
    return forget_fields
