"""Runs on Ray workers: the rows of a run in one process, each once, though workers are killed."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from hsrzoo.errors import InputError, WorkersError
from hsrzoo.utils.workers import TaskFailure, Workers, connection
from hsrzoo_benchmark import command
from hsrzoo_benchmark.plan.models import RunModes
from hsrzoo_benchmark.run import workers as distributed
from hsrzoo_benchmark.session import Options, compute, open_session, run_bench

ONE_THREAD = Workers(count=2, threads=1)
pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra ray")
VARYING = ("seconds", "timestamp", "provenance")


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    """One local Ray for the tests below."""
    with connection(ONE_THREAD):
        yield


@pytest.fixture
def two_threads() -> Iterator[None]:
    """As many as workers do not have, so that rows tell where they were made."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def options(tmp_path: Path, models: list[str], **changes: Any) -> Options:
    defaults: dict[str, Any] = {
        "dataset": "toy",
        "benches": ("accuracy", "mixed-patch"),
        "metrics": ("rmse", "psnr"),
        "data_options": {"scenes": "4"},
        "store": tmp_path / "results",
        "data_root": tmp_path,
        "as_json": True,
    }
    return Options(models=tuple(models), **{**defaults, **changes})


def rows_of(store: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for path in store.rglob("*.jsonl") for line in path.read_text().splitlines()]
    return sorted(rows, key=lambda row: (row["model"], row["protocol_hash"], row["scene"]))


def without(rows: list[dict[str, Any]], *keys: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in keys} for row in rows]


def test_an_address_without_ray_ends_the_command_before_a_row(tmp_path: Path, save_model) -> None:
    call = ["--model", save_model("net"), "--dataset", "toy", "--data-root", str(tmp_path)]
    call += ["--store", str(tmp_path / "results"), "--device", "cpu"]
    both = CliRunner().invoke(command.bench, [*call, "--workers", "2", "--ray", "auto"])
    assert both.exit_code == 2 and "--workers and --ray exclude each other" in both.output
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = CliRunner().invoke(command.bench, [*call, "--ray", address])
    assert isinstance(result.exception, WorkersError) and address in str(result.exception)
    assert rows_of(tmp_path / "results") == []


def test_speed_alone_has_no_use_for_workers() -> None:
    call = ["--model", "never-loaded", "--bench", "speed"]
    for where in (["--workers", "2"], ["--ray", "auto"]):
        result = CliRunner().invoke(command.bench, [*call, *where])
        assert result.exit_code == 2 and "leave out --workers and --ray" in result.output


def test_files_exported_for_the_run_are_refused_on_a_cluster_before_they_are_made(tmp_path: Path) -> None:
    cluster = Workers(address="head:6379")
    run = options(tmp_path, ["mst-plus-plus"], workers=cluster, ways=RunModes(runtimes=("torch", "onnx")))
    with pytest.raises(InputError, match="files of this machine alone"):
        run_bench(run, None)
    assert rows_of(tmp_path / "results") == []
    for name, ways, workers in (
        ("mst-plus-plus", run.ways, ONE_THREAD),  # here the workers see the files
        ("mst-plus-plus", RunModes(), cluster),
        ("onnx:/shared/net.onnx", RunModes(runtimes=("onnx",)), cluster),  # a file that the user made
    ):
        distributed.check(replace(run, models=(name,), ways=ways), workers)


def test_killed_workers_leave_every_row_once_as_one_process_makes_them(
    ray, two_threads, tmp_path: Path, save_model, toy_env, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("HSRZOO_PLUGINS", toy_env["HSRZOO_PLUGINS"])
    models = [save_model("good"), save_model("worse", offset=0.05)]
    assert run_bench(options(tmp_path, models, store=tmp_path / "alone"), None) == 0
    alone, expected = json.loads(capsys.readouterr().out), rows_of(tmp_path / "alone")

    deadly = {"scenes": "4", "deadly": "scene-1=1"}
    assert run_bench(options(tmp_path, models, data_options=deadly, workers=ONE_THREAD), None) == 0
    assert json.loads(capsys.readouterr().out) == alone  # and Ray has put nothing between
    assert len((tmp_path / "read-scene-1").read_text()) == 2
    found = rows_of(tmp_path / "results")
    assert without(found, *VARYING) == without(expected, *VARYING)
    assert {row["provenance"]["threads"] for row in found} == {1}


def test_failures_on_workers_are_told_as_in_one_process(
    ray, tmp_path: Path, save_model, toy_env, monkeypatch
) -> None:
    monkeypatch.setenv("HSRZOO_PLUGINS", toy_env["HSRZOO_PLUGINS"])
    broken = {"scenes": "2", "broken": "scene-1"}
    outcomes = []
    for workers in (None, ONE_THREAD):
        run = options(tmp_path, [save_model("net")], data_options=broken, workers=workers)
        outcomes.append(compute(open_session(replace(run, store=tmp_path / str(workers)))))
    assert outcomes[0] == outcomes[1]
    (failure,) = outcomes[0].failures
    assert (failure.scene, failure.what, failure.error) == ("scene-1", "reading", "scene-1 is truncated.")


def opening_of(run: Options) -> distributed.Opening:
    session = open_session(run)
    assert session.source is not None
    return distributed.Opening(
        tuple(session.setups.values()),
        tuple(model.identity for model in session.models),
        "cpu",
        "toy",
        run.data_root,
        tuple(run.data_options.items()),
        session.source.split,
        session.source.fingerprint,
    )


def test_other_weights_or_files_on_a_worker_are_refused(tmp_path: Path, save_model) -> None:
    opening = opening_of(options(tmp_path, [save_model("net")]))
    source, models = distributed._open(opening)
    assert (source.split, models[0].identity) == (opening.split, opening.identities[0])
    with pytest.raises(InputError, match="data of toy differ on a worker"):
        distributed._open(replace(opening, fingerprint="toy-2"))
    save_model("net", offset=0.5)
    distributed._open.cache_clear()
    with pytest.raises(InputError, match="The weights of "):
        distributed._open(opening)


def test_a_scene_that_kills_every_worker_is_named_and_computed_next_time(
    tmp_path: Path, save_model, monkeypatch
) -> None:
    def run_tasks(function: Any, tasks: list[Any], _: Workers) -> Iterator[tuple[int, Any]]:
        for i in (2, 0, 1, 3):  # in any order
            yield i, TaskFailure("Its process died 4 times.") if i == 1 else function(tasks[i])

    monkeypatch.setattr(distributed, "run_tasks", run_tasks)
    run = options(tmp_path, [save_model("net")], workers=ONE_THREAD)
    session = open_session(run)
    outcome = compute(session)
    (failure,) = outcome.failures
    assert (failure.scene, failure.what, failure.lost) == (
        "scene-1",
        "scoring on a worker",
        len(session.cells),
    )
    assert outcome.computed == 3 * len(session.cells) == len(rows_of(tmp_path / "results"))
    monkeypatch.undo()
    assert compute(open_session(replace(run, workers=None))).computed == len(session.cells)


def test_nothing_missing_needs_no_ray(tmp_path: Path, save_model, monkeypatch, capsys) -> None:
    run = options(tmp_path, [save_model("net")], benches=("accuracy",))
    assert run_bench(run, None) == 0

    def refuse(*_: object) -> None:
        raise AssertionError("tasks without need")

    monkeypatch.setattr(distributed, "run_tasks", refuse)
    assert run_bench(replace(run, workers=ONE_THREAD), None) == 0
