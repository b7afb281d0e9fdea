"""One cell of the speed benchmark: memory, multiply-accumulates, limits."""

from __future__ import annotations

import resource
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import hsrzoo
from hsrzoo.spec import RgbInput
from hsrzoo_benchmark.plan.models import ModelSetup
from hsrzoo_benchmark.speed import cell


def cell_request(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "setup": asdict(ModelSetup(name)), "sha256": hsrzoo.load(name, device="cpu").identity,
        "size": [32, 48], "device": "cpu", "threads": 1, "memory_limit_gib": None, **changes,
    }  # fmt: skip


def test_what_the_first_prediction_sets_up_is_not_counted_to_the_cell(save_model, monkeypatch) -> None:
    name = save_model("net")
    request, model = cell_request(name), hsrzoo.load(name, device="cpu")
    shapes, kept, predict = [], [], model.predict

    def lazy(rgb: np.ndarray) -> np.ndarray:
        if not shapes:
            kept.append(np.ones(2**25))  # 256 MiB
        shapes.append(rgb.shape)
        return predict(rgb)

    monkeypatch.setattr(model, "predict", lazy)
    monkeypatch.setattr(hsrzoo, "load", lambda *_, **__: model)
    found = cell.measure(request)
    assert shapes == [(3, 64, 64), (3, 32, 48)]
    assert found["loaded_mib"] > 256 and found["peak_mib"] - found["loaded_mib"] < 64
    assert found["macs"] == 3 * 5 * 32 * 48  # of the second prediction alone


def test_memory_is_read_before_macs_are_counted_and_without_the_limit(save_model, monkeypatch) -> None:
    name, order = save_model("net"), []
    request, model = cell_request(name, memory_limit_gib=64.0), hsrzoo.load(name, device="cpu")
    monkeypatch.setattr(hsrzoo, "load", lambda *_, **__: model)
    limit = lambda: resource.getrlimit(resource.RLIMIT_DATA)[0]  # noqa: E731
    before, resident, predict = limit(), cell.resident_mib, model.predict
    monkeypatch.setattr(cell, "resident_mib", lambda peak: order.append(("peak", peak)) or resident(peak))
    monkeypatch.setattr(model, "predict", lambda rgb: order.append(("limit", limit())) or predict(rgb))
    monkeypatch.setattr(cell, "count_macs", lambda *_: order.append(("macs", limit())) or 5)
    found = cell.measure(request)
    assert order == [
        ("limit", 64 * 2**30),
        ("peak", False),
        ("limit", 64 * 2**30),
        ("peak", True),
        ("macs", before),
    ]
    assert found["macs"] == 5 and found["cold_seconds"] >= 0


def test_macs_of_a_slow_network_are_counted_without_running_it(save_model) -> None:
    name, ran = save_model("net"), []
    model = hsrzoo.load(name, device="cpu")
    model.spec = replace(model.spec, input=RgbInput(multiple=16))
    model.module.register_forward_hook(lambda m, i, o: ran.append(type(o).__name__))
    padded = 3 * 5 * 32 * 48
    assert cell.count_macs(model, ModelSetup(name), (30, 48), 0.1) == padded
    assert cell.count_macs(model, ModelSetup(name), (30, 48), 9.0) == padded
    assert ran == ["Tensor", "FakeTensor"]

    def reads_values(module: Any, inputs: Any) -> None:  # and so has to run
        inputs[0].numpy()

    model.module.register_forward_pre_hook(reads_values)
    assert cell.count_macs(model, ModelSetup(name), (30, 48), 9.0) == padded
    assert ran == ["Tensor", "FakeTensor", "Tensor"]


def test_macs_of_files_and_of_tiles_are_not_counted(save_model) -> None:
    name = save_model("net")
    model = hsrzoo.load(name, device="cpu")
    assert cell.count_macs(model, ModelSetup(name, tile=16), (32, 48), 0.1) is None
    assert cell.count_macs(model, ModelSetup(name, runtime="onnx"), (32, 48), 0.1) is None


def test_a_gpu_s_limit_is_a_share_of_its_memory(monkeypatch) -> None:
    told: list[Any] = []
    properties = SimpleNamespace(total_memory=16 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(
        torch.cuda,
        "set_per_process_memory_fraction",
        lambda share, device: told.append((share, str(device))),
    )
    with cell.memory_limited(4.0, torch.device("cuda:1")):
        assert told == [(0.25, "cuda:1")]
    with cell.memory_limited(None, torch.device("cuda:1")):
        pass
    assert told == [(0.25, "cuda:1"), (1.0, "cuda:1")]
    with pytest.raises(MemoryError), cell.memory_limited(8.0, torch.device("cuda:1")):
        raise MemoryError
    assert told[2:] == [(0.5, "cuda:1"), (1.0, "cuda:1")]  # lifted after a failure too


def test_on_a_gpu_only_what_the_device_allocates_is_counted(save_model, monkeypatch) -> None:
    name, told = save_model("net"), []
    request, model = cell_request(name, device="cuda:1"), hsrzoo.load(name, device="cpu")
    monkeypatch.setattr(hsrzoo, "load", lambda *_, **__: model)
    for function, mib in (
        ("reset_peak_memory_stats", 0),
        ("memory_allocated", 3),
        ("max_memory_allocated", 7),
    ):
        monkeypatch.setattr(
            torch.cuda,
            function,
            lambda device, f=function, m=mib: told.append((f, str(device))) or m * 2**20,
        )
    found = cell.measure(request)
    assert (found["loaded_mib"], found["peak_mib"]) == (3.0, 7.0)
    assert told == [
        (f, "cuda:1") for f in ("reset_peak_memory_stats", "memory_allocated", "max_memory_allocated")
    ]
