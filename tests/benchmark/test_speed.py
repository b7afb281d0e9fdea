"""Speed: order of the runs, how many there are, ratios, memory, OOM, what is stored."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from forks import Forks
from hsrzoo.errors import InputError, is_out_of_memory
from hsrzoo.results import SpeedRow
from hsrzoo_benchmark.plan.models import ModelSetup, RunModes
from hsrzoo_benchmark.run import scores
from hsrzoo_benchmark.run.scores import provenance_of
from hsrzoo_benchmark.session import Options, run_bench
from hsrzoo_benchmark.speed import cell as speed_cell
from hsrzoo_benchmark.speed import timing as speed
from hsrzoo_benchmark.speed.ratios import choose_references, ratios, summarise
from hsrzoo_benchmark.speed.timing import SpeedOptions, time_in_turn
from hsrzoo_benchmark.tables import terminal


class Clock:
    """A clock that only models move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(speed.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(speed.time, "process_time", lambda: 2 * self.now)  # two threads


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
    assert times == [[pytest.approx((0.5, 1.0))] * 10] * 2
    assert log == ["a"] * 2 + ["b"] * 2 + ["a", "b"] * 10  # two warm-up runs each


@pytest.mark.parametrize(
    ("seconds", "cap", "runs"),
    [
        (1.0, 30.0, 10),  # 10 runs take more than 5 s
        (0.1, 30.0, 50),  # 10 runs take 1 s: it goes on until 5 s
        (4.0, 30.0, 8),  # 8 runs reach the cap
        (20.0, 30.0, 3),  # so slow that the least number of runs is all there is
        (60.0, 30.0, 1),  # a run of a minute is enough by itself
        (60.0, 100.0, 2),  # unless there is time for more
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

    class LoadFailure(Model):
        def predict(self, rgb: Any) -> None:
            raise MemoryError

    models = [LoadFailure("a", 1, clock, []), Model("b", 1.0, clock, [])]
    failed, good = time_in_turn(models, (8, 8), 30.0)  # type: ignore[arg-type]
    assert isinstance(failed, MemoryError) and good == [pytest.approx((1.0, 2.0))] * 10


def test_a_model_known_to_be_slow_warms_up_on_a_small_image(monkeypatch) -> None:
    clock, shapes = Clock(monkeypatch), []

    class Slow(Model):
        def predict(self, rgb: Any) -> None:
            shapes.append(rgb.shape[1:])
            self.clock.now += 70.0 if rgb.shape[1] > 64 else 0.1

    models = [Slow("a", 0, clock, []), Model("b", 1.0, clock, [])]
    slow, other = time_in_turn(models, (96, 80), 30.0, long=[True, False])  # type: ignore[arg-type]
    assert slow == [pytest.approx((70.0, 140.0))] and other == [pytest.approx((1.0, 2.0))] * 10
    assert shapes == [(64, 64), (64, 64), (96, 80)]


def row(**changes: Any) -> SpeedRow:
    base = {
        "bench": "speed", "model": "net", "architecture": "net", "weights_sha256": None,
        "model_sha256": None, "provenance": {}, "timestamp": "2026-01-01",
        "status": "ok", "size": [500, 1000], "run": "r", "p50": 0.25, "p90": 0.5, "runs": 4,
        "cpu_p50": 0.45, "seconds": [0.2, 0.2, 0.3, 0.9],
        "peak_mib": 300.0, "loaded_mib": 100.0, "macs": 3 * 10**9,
    }  # fmt: skip
    return SpeedRow.from_json({**base, **changes})


def test_figures_of_a_row() -> None:
    assert summarise(row()) == {
        "status": "ok",
        "p50_ms": 250.0,
        "p90_ms": 500.0,
        "cpu_ms": 450.0,
        "images_s": 4.0,
        "megapixels_s": 2.0,
        "peak_mib": 300.0,
        "growth_mib": 200.0,
        "gmacs": 3.0,
    }
    assert "gmacs" not in summarise(row(macs=None)) and "cpu_ms" not in summarise(row(cpu_p50=None))
    on_gpu = summarise(row(device_p50=0.125, bandwidth=136e9, bands=31))
    assert on_gpu["device_megapixels_s"] == 4.0
    assert on_gpu["bound_megapixels_s"] == 1000.0  # 136 bytes a pixel: 3 + 31 floats


def test_ratios_to_a_reference() -> None:
    reference = row(seconds=[0.1, 0.1], peak_mib=600.0, loaded_mib=200.0)
    assert ratios(row(), reference) == {
        "time_ratio": 2.0,  # over the two rounds that both ran
        "speedup": 0.5,
        "memory_ratio": 0.5,
        "growth_ratio": 0.5,
    }
    assert "growth_ratio" not in ratios(row(), row(loaded_mib=300.0))


def test_no_ratio_across_runs_or_to_oom() -> None:
    assert ratios(row(), row(run="another")) == {}
    assert ratios(row(), row(status="OOM")) == ratios(row(status="OOM"), row()) == ratios(row(), None) == {}
    assert summarise(row(status="OOM")) == {"status": "OOM"}


MST = [
    ("a.x", "a"),
    ("mst-plus-plus.cave:reference", "mst-plus-plus"),
    ("mst-plus-plus.cave", "mst-plus-plus"),
    ("mst-plus-plus.cave [bf16]", "mst-plus-plus"),
]


@pytest.mark.parametrize(
    ("models", "wanted", "expected"),
    [
        (MST, (), ["mst-plus-plus.cave:reference", "mst-plus-plus.cave"]),
        (MST[2:], (), ["mst-plus-plus.cave"]),
        (MST[:1], (), ["a.x"]),
        (MST, ("a",), ["a.x"]),
        (MST, ("mst-plus-plus",), ["mst-plus-plus.cave"]),  # not the variant
        (MST, ("mst-plus-plus:reference", "a.x"), ["mst-plus-plus.cave:reference", "a.x"]),
        (MST, ("mst-plus-plus.cave [bf16]",), ["mst-plus-plus.cave [bf16]"]),
        (MST[3:], ("mst-plus-plus",), ["mst-plus-plus.cave [bf16]"]),
        (MST, ("a", "a.x"), ["a.x"]),
        ([("local-dir:/some/net [onnx]", "a")], ("a",), ["local-dir:/some/net [onnx]"]),
    ],
)
def test_references(models: list[tuple[str, str]], wanted: tuple[str, ...], expected: list[str]) -> None:
    assert choose_references(dict(models), wanted) == expected


def test_a_reference_that_is_not_there_is_an_error() -> None:
    for name in ("b", "mst-plus-plus.cave:other", "a:x"):
        with pytest.raises(InputError, match="reference"):
            choose_references(dict(MST), (name,))
    with pytest.raises(InputError):  # the only one there is a variant
        choose_references(dict(MST[1:2]), ("mst-plus-plus",))


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
    assert is_out_of_memory(error) is expected


def options(tmp_path: Path, models: list[str], **changes: Any) -> Options:
    return Options(
        models=tuple(models), dataset=None, benches=(), data_options={},
        store=tmp_path / "results", **changes,
    )  # fmt: skip


def test_rows_oom_and_a_second_run(
    tmp_path: Path, save_model, toy_env, forks: Forks, monkeypatch, capsys
) -> None:
    def child(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert command[:3] == [sys.executable, "-m", speed_cell.__name__]
        return forks.python(str(speed_cell.__file__), command[3], cwd=tmp_path)

    processes = SimpleNamespace(run=child, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr(speed, "subprocess", processes)
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


CELL = {"status": "ok", "peak_mib": 1.0, "loaded_mib": 1.0, "macs": 1}


def test_rows_of_another_way_of_measuring_are_measured_anew(
    tmp_path: Path, save_model, monkeypatch
) -> None:
    name, asked = save_model("net"), []
    monkeypatch.setattr(speed, "in_child", lambda *_: asked.append(1) or CELL)
    timing = SpeedOptions(sizes=((8, 8),), speed_seconds=0.01)
    assert run_bench(options(tmp_path, [name]), timing) == 0
    (path,) = (tmp_path / "results").rglob("*.jsonl")
    stored = json.loads(path.read_text())
    assert stored["execution"]["precision"] == "fp32" and stored["provenance"]["dtype"] == "float32"
    del stored["method"], stored["execution"], stored["bands"]  # as rows were before
    path.write_text(json.dumps(stored) + "\n")
    assert run_bench(options(tmp_path, [name]), timing) == 0
    assert len(asked) == 2 and len(path.read_text().splitlines()) == 2


def test_times_of_another_cap_search_or_version_are_measured_anew(
    tmp_path: Path, save_model, monkeypatch
) -> None:
    monkeypatch.delenv("HSRZOO_SEARCH", raising=False)
    monkeypatch.setattr(speed, "in_child", lambda *_: CELL)
    timing, run = SpeedOptions(sizes=((8, 8),), speed_seconds=0.01), options(tmp_path, [save_model("net")])

    def rows(timing: SpeedOptions = timing) -> list[dict[str, Any]]:
        assert run_bench(run, timing) == 0
        (path,) = (tmp_path / "results").rglob("*.jsonl")
        return [json.loads(line) for line in path.read_text().splitlines()]

    assert len(rows()) == len(rows()) == 1
    assert len(rows(replace(timing, speed_seconds=0.02))) == 2
    monkeypatch.setenv("HSRZOO_SEARCH", "torch")
    stored = rows()
    assert len(stored) == len(rows()) == 3
    assert [(row["cap_seconds"], row["search"]) for row in stored] == [
        (0.01, None),
        (0.02, None),
        (0.01, "torch"),
    ]
    collected = provenance_of("cpu")
    for i, key in enumerate(("hsrzoo", "torch")):
        other = {**collected, key: "0.0"}
        monkeypatch.setattr(scores, "provenance_of", lambda _, found=other: found)
        assert len(rows()) == len(rows()) == 4 + i


def test_times_of_another_commit_are_used_and_the_commit_is_told(
    tmp_path: Path, save_model, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(speed, "in_child", lambda *_: CELL)
    timing, run = SpeedOptions(sizes=((8, 8),), speed_seconds=0.01), options(tmp_path, [save_model("net")])
    collected = provenance_of("cpu")
    old, new = ({**collected, "commit": letter * 40, "dirty": letter == "a"} for letter in "ab")
    monkeypatch.setattr(scores, "provenance_of", lambda _: old)
    assert run_bench(run, timing) == 0
    assert "with the code of" not in capsys.readouterr().err
    monkeypatch.setattr(scores, "provenance_of", lambda _: new)
    assert run_bench(run, timing) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "0 rows computed" in told
    assert f"the code of commit {'a' * 12} with changes; it is now commit {'b' * 12}." in told
    assert terminal.commits_note([row(provenance={"commit": None})], new) == [
        f"Times were measured with the code of no known commit; it is now commit {'b' * 12}."
    ]


def test_times_are_kept_where_the_device_alone_cannot_be_timed(
    tmp_path: Path, save_model, monkeypatch, capsys
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("CUDA error: misaligned address")

    monkeypatch.setattr(speed, "in_child", lambda *_: CELL)
    monkeypatch.setattr(speed.bandwidth, "on_device", fail)
    timing, run = SpeedOptions(sizes=((8, 8),), speed_seconds=0.01), options(tmp_path, [save_model("net")])
    assert run_bench(run, timing) == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "1 rows computed" in told and "on the device alone. RuntimeError: CUDA error" in told
    (path,) = (tmp_path / "results").rglob("*.jsonl")
    stored = json.loads(path.read_text())
    assert stored["p50"] > 0 and "device_p50" not in stored and "bandwidth" not in stored


def test_precisions_are_timed_in_one_run_and_stored_apart(tmp_path: Path, save_model, monkeypatch) -> None:
    name, asked = save_model("net"), []
    cell = {"status": "ok", "peak_mib": 1.0, "loaded_mib": 1.0, "macs": 1}
    monkeypatch.setattr(speed, "in_child", lambda setup, *_: asked.append(setup) or cell)
    timing = SpeedOptions(sizes=((8, 8),), speed_seconds=0.01)
    both = options(tmp_path, [name], ways=RunModes(precisions=("fp32", "bf16")))
    assert run_bench(both, timing) == 0
    assert asked == [ModelSetup(name), ModelSetup(name, precision="bf16")]
    rows = [json.loads(path.read_text()) for path in (tmp_path / "results").rglob("*.jsonl")]
    assert {(row["model"], row["provenance"]["dtype"]) for row in rows} == {
        (name, "float32"),
        (f"{name} [bf16]", "bfloat16"),
    }
    assert len({row["run"] for row in rows}) == 1


def test_a_child_that_never_ends_is_a_failure(tmp_path: Path, save_model, monkeypatch, capsys) -> None:
    def stuck(command: Any, **how: Any) -> None:
        raise speed.subprocess.TimeoutExpired(command, how["timeout"])

    monkeypatch.setattr(speed.subprocess, "run", stuck)
    timing = SpeedOptions(sizes=((8, 8),), speed_seconds=0.01)
    assert run_bench(options(tmp_path, [save_model("net")]), timing) == 1
    assert "took more than 1800 s" in capsys.readouterr().err


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
    assert SpeedOptions().sizes == ((256, 256), (512, 512), (1024, 1024), (482, 512))
