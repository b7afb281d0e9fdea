"""Speed: order of the runs, how many there are, ratios, memory, OOM, what is stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hsrzoo_benchmark import speed, speed_cell
from hsrzoo_benchmark.session import Options, SpeedOptions, run_bench
from hsrzoo_benchmark.speed import Settings, choose_reference, summarise, time_in_turn

import hsrzoo
from hsrzoo.errors import InputError


class Clock:
    """A clock that only models move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(speed.time, "perf_counter", lambda: self.now)


class Model:
    """Takes ``seconds`` a prediction, as the clock has it; writes its name into ``log``."""

    def __init__(self, name: str, seconds: float, clock: Clock, log: list[str]) -> None:
        self.name, self.seconds, self.clock, self.log = name, seconds, clock, log

    def predict(self, rgb: Any) -> None:
        self.log.append(self.name)
        self.clock.now += self.seconds


def test_models_are_timed_in_turn(monkeypatch) -> None:
    clock, log = Clock(monkeypatch), []
    models = [Model("a", 0.5, clock, log), Model("b", 0.5, clock, log)]
    times = time_in_turn(models, (8, 8), 30.0)  # type: ignore[arg-type]
    assert times == [pytest.approx([0.5] * 10), pytest.approx([0.5] * 10)]
    assert log == ["a"] * 2 + ["b"] * 2 + ["a", "b"] * 10  # two warm-up runs each


@pytest.mark.parametrize(
    ("seconds", "cap", "runs"),
    [
        (1.0, 30.0, 10),  # 10 runs take more than 5 s
        (0.1, 30.0, 50),  # 10 runs take 1 s: it goes on until 5 s
        (4.0, 30.0, 8),  # 8 runs reach the cap
        (60.0, 30.0, 3),  # so slow that the least number of runs is all there is
        (0.1, 2.0, 20),  # the cap is shorter than 5 s
    ],
)
def test_number_of_runs(monkeypatch, seconds: float, cap: float, runs: int) -> None:
    clock = Clock(monkeypatch)
    times = time_in_turn([Model("a", seconds, clock, [])], (8, 8), cap)  # type: ignore[list-item]
    assert isinstance(times[0], list)
    assert abs(len(times[0]) - runs) <= 1  # sums of 0.1 are not exact


def test_a_model_that_fails_leaves_the_others(monkeypatch) -> None:
    clock = Clock(monkeypatch)

    class Broken(Model):
        def predict(self, rgb: Any) -> None:
            raise MemoryError

    models = [Broken("a", 1, clock, []), Model("b", 1.0, clock, [])]
    failed, good = time_in_turn(models, (8, 8), 30.0)  # type: ignore[arg-type]
    assert isinstance(failed, MemoryError) and good == pytest.approx([1.0] * 10)


def row(**changes: Any) -> dict[str, Any]:
    base = {
        "status": "ok", "size": [500, 1000], "run": "r", "p50": 0.25, "p90": 0.5, "runs": 4,
        "seconds": [0.2, 0.2, 0.3, 0.9], "peak_mib": 300.0, "loaded_mib": 100.0, "macs": 3e9,
    }  # fmt: skip
    return {**base, **changes}


def test_figures_of_a_row() -> None:
    found = summarise(row(), row(seconds=[0.1, 0.1]))
    assert found == {
        "status": "ok",
        "p50_ms": 250.0,
        "p90_ms": 500.0,
        "images_s": 4.0,
        "megapixels_s": 2.0,
        "peak_mib": 300.0,
        "growth_mib": 200.0,
        "gmacs": 3.0,
        "time_ratio": 2.0,  # over the two rounds that both ran
    }


def test_no_ratio_across_runs_or_to_oom() -> None:
    assert "time_ratio" not in summarise(row(), row(run="another"))
    assert "time_ratio" not in summarise(row(), row(status="OOM"))
    assert summarise(row(status="OOM"), row()) == {"status": "OOM"}


def test_reference_is_mst_plus_plus_or_the_first_or_the_wanted() -> None:
    class Named:
        def __init__(self, name: str, arch: str) -> None:
            self.name, self.spec = name, type("Spec", (), {"name": arch})

    models: list[Any] = [Named("a.x", "a"), Named("mst-plus-plus.cave", "mst-plus-plus")]
    assert choose_reference(models, None) == "mst-plus-plus.cave"
    assert choose_reference(models[:1], None) == "a.x"
    assert choose_reference(models, "a") == "a.x"
    with pytest.raises(InputError, match="reference"):
        choose_reference(models, "b")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, expected: bool) -> None:
    assert speed_cell.is_out_of_memory(error) is expected


def cell_request(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "model": name, "sha256": hsrzoo.load(name, device="cpu").identity, "size": [32, 48],
        "device": "cpu", "threads": 1, "memory_limit_gib": None, **changes,
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
    found = speed_cell.measure(request)
    assert shapes == [(3, 64, 64), (3, 32, 48)]
    assert found["loaded_mib"] > 256 and found["peak_mib"] - found["loaded_mib"] < 64
    assert found["macs"] == 3 * 5 * 32 * 48  # of the second prediction alone


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
    found = speed_cell.measure(request)
    assert (found["loaded_mib"], found["peak_mib"]) == (3.0, 7.0)
    assert told == [
        (f, "cuda:1") for f in ("reset_peak_memory_stats", "memory_allocated", "max_memory_allocated")
    ]


def options(tmp_path: Path, models: list[str], **changes: Any) -> Options:
    return Options(
        models=tuple(models), dataset=None, benches=(), metrics=None, data_options={},
        store=tmp_path / "results", **changes,
    )  # fmt: skip


def test_rows_oom_and_a_second_run(tmp_path: Path, save_model, toy_env, monkeypatch, capsys) -> None:
    monkeypatch.setenv("HSRZOO_PLUGINS", toy_env["HSRZOO_PLUGINS"])
    small, hungry = save_model("small"), save_model("hungry", hunger_gib=64.0)
    timing = SpeedOptions(sizes=((32, 48),), speed_seconds=0.01, memory_limit=2.0)
    assert run_bench(options(tmp_path, [small, hungry], as_json=True), timing) == 0
    figures = {(f["model"], f["metric"]): f["mean"] for f in json.loads(capsys.readouterr().out)}
    assert figures[hungry, "status"] == "OOM"
    # 1x1 convolution: 3 x 5 multiplications a pixel
    assert figures[small, "gmacs"] == pytest.approx(3 * 5 * 32 * 48 / 1e9)
    assert figures[small, "time_ratio"] == 1.0
    assert 50 < figures[small, "peak_mib"] < 2048
    assert figures[small, "megapixels_s"] == pytest.approx(figures[small, "images_s"] * 32 * 48 / 1e6)
    files = {p: p.read_bytes() for p in (tmp_path / "results").rglob("*.jsonl")}
    assert len(files) == 2

    monkeypatch.setattr(speed, "in_child", lambda *_: pytest.fail("measured again"))
    assert run_bench(options(tmp_path, [small, hungry]), timing) == 0
    assert {p: p.read_bytes() for p in (tmp_path / "results").rglob("*.jsonl")} == files
    assert "OOM" in capsys.readouterr().out


def test_a_new_companion_is_measured_together_with_the_old_model(
    tmp_path: Path, save_model, monkeypatch
) -> None:
    monkeypatch.setattr(
        speed,
        "in_child",
        lambda *_: {"status": "ok", "peak_mib": 1.0, "loaded_mib": 1.0, "macs": 1},
    )
    first, second = save_model("first"), save_model("second")
    timing = SpeedOptions(sizes=((8, 8),), speed_seconds=0.01)
    for models, rows in (([first], 1), ([first, second], 3), ([second], 3)):
        assert run_bench(options(tmp_path, models), timing) == 0
        lines = [
            json.loads(line)
            for p in (tmp_path / "results").rglob("*.jsonl")
            for line in p.read_text().splitlines()
        ]
        assert len(lines) == rows
    assert len({line["run"] for line in lines}) == 2


def test_killed_child_is_oom_and_a_broken_one_a_failure(
    tmp_path: Path, save_model, monkeypatch, capsys
) -> None:
    name = save_model("net")

    def child(code: int, stderr: str) -> Any:
        done = type("Done", (), {"returncode": code, "stdout": "", "stderr": stderr})
        return lambda *_, **__: done

    monkeypatch.setattr(speed.subprocess, "run", child(-9, ""))
    timing = SpeedOptions(sizes=((8, 8),), speed_seconds=0.01)
    assert run_bench(options(tmp_path, [name], as_csv=True), timing) == 0
    assert ",OOM," in capsys.readouterr().out
    monkeypatch.setattr(speed.subprocess, "run", child(1, "KeyError: 'x'"))
    other = SpeedOptions(sizes=((8, 9),), speed_seconds=0.01)
    assert run_bench(options(tmp_path, [name]), other) == 1
    assert "KeyError: 'x'" in capsys.readouterr().err


def test_settings_default_to_the_four_sizes() -> None:
    assert Settings(threads=1).sizes == ((256, 256), (512, 512), (1024, 1024), (482, 512))
