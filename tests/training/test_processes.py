"""Training in a group of processes, as torchrun and ``accelerate launch`` start it."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from forks import Forks
from hsrzoo.errors import TrainingError
from hsrzoo.training import loop
from hsrzoo.training.loop import train

SCRIPT = Path(__file__).with_name("two_processes.py")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def runs(toys: ModuleType) -> ModuleType:
    """The module two_processes.py: what the group trains, to be trained here as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "toys", toys)
        spec = importlib.util.spec_from_file_location("training_two_processes", SCRIPT)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def group(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of two processes with one thread each, in folders pairs, codes and part."""
    out = tmp_path_factory.mktemp("group")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = forks.python(str(SCRIPT), out, port, cwd=out, env={"CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 0, done.stderr
    return out


def log_of(folder: Path) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if "seconds" not in k} for line in lines]


def require_close(group: list[dict[str, Any]], alone: list[dict[str, Any]]) -> None:
    """All figures of all steps agree within 1e-4 of their size."""
    assert [line.keys() for line in group] == [line.keys() for line in alone]
    for ours, theirs in zip(group, alone, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-7), f"step {ours['step']}"


@pytest.mark.parametrize("name", ["pairs", "codes"])
def test_two_processes_train_as_one_with_the_same_global_batch(
    runs: ModuleType, group: Path, tmp_path: Path, same_bits, name: str
) -> None:
    task, recipe = getattr(runs, name)()
    alone = train(task, recipe, tmp_path / "alone", progress=False).state_dict()
    curve = log_of(tmp_path / "alone")
    assert len(curve) == recipe.steps and curve[-1]["loss"] < 0.9 * curve[0]["loss"]
    assert sum(line.get("revived", line.get("revived_1", 0)) for line in curve) > 0
    require_close(log_of(group / name), curve)
    one, other = (torch.load(group / name / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert same_bits(one, other)
    assert all(torch.allclose(one[key], value, rtol=1e-3, atol=1e-4) for key, value in alone.items())
    record = json.loads((group / name / "record.json").read_text())
    assert record["processes"] == 2 and record["complete"]


def test_a_run_of_two_processes_goes_on_in_one_with_a_warning(
    runs: ModuleType, group: Path, tmp_path: Path
) -> None:
    task, recipe = runs.pairs()
    with pytest.warns(UserWarning, match="started with 2 processes and is resumed with 1"):
        train(task, recipe, group / "part", progress=False, resume=True)
    assert json.loads((group / "part" / "record.json").read_text())["processes_after_resuming"] == 1
    require_close(log_of(group / "part"), log_of(group / "pairs"))


def test_a_batch_that_cannot_be_shared_equally_is_refused_at_once(make_task, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(loop, "make_accelerator", lambda recipe: SimpleNamespace(num_processes=2))
    task, recipe = make_task(batch=3)
    with pytest.raises(TrainingError, match=r"batch of 3 .* 2 processes.*--batch 4"):
        train(task, recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_shares_are_the_slices_of_every_tensor_of_the_batch(make_task) -> None:
    task, _ = make_task()
    batch = {"x": (torch.arange(6), torch.arange(12).view(6, 2)), "scale": torch.tensor(3.0), "name": "n"}
    parts = [task.share(batch, process, 3) for process in range(3)]
    assert torch.equal(torch.cat([part["x"][0] for part in parts]), batch["x"][0])
    assert torch.equal(parts[1]["x"][1], torch.tensor([[4, 5], [6, 7]]))
    assert all((part["scale"], part["name"]) == (3.0, "n") for part in parts)
    assert task.share(batch, 0, 1) is batch
    with pytest.raises(TrainingError, match="cannot be shared equally by 4 processes"):
        task.share(batch, 0, 4)
