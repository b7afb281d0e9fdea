"""Runs on Ray workers: the rows of a run in one process, each once, though workers are killed.

Also all other tests that need a running Ray: they share one, because its start and what its processes
import take most of their time.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from hsrzoo.bands import BandSet
from hsrzoo.cli.predict import command as predict
from hsrzoo.errors import InputError, WorkersError
from hsrzoo.io import load_cube
from hsrzoo.models.weights import save_folder
from hsrzoo.registry import MODELS
from hsrzoo.spec import build_module
from hsrzoo.utils.workers import TaskFailure, Workers, connection, run_tasks
from hsrzoo_benchmark import command
from hsrzoo_benchmark.plan.models import RunModes
from hsrzoo_benchmark.run import workers as distributed
from hsrzoo_benchmark.session import Options, compute, open_session, run_bench
from ray_tasks import work
from waiting import LONG

TESTS = Path(__file__).parents[1]
DEADLY = TESTS / "cli" / "deadly_plugin.py"
ONE_THREAD = Workers(count=2, threads=1)
pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra ray")
VARYING = ("seconds", "timestamp", "provenance")


def options(tmp_path: Path, models: list[str], **changes: Any) -> Options:
    defaults: dict[str, Any] = {
        "dataset": "toy",
        "benches": ("accuracy", "mixed-patch"),
        "metrics": ("rmse", "mrae"),
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


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    """One local Ray for the tests below. It prints nothing, and leaves neither files nor processes."""
    before = set(psutil.Process().children(recursive=True))
    temporary, local = tempfile.mkdtemp(dir="/tmp"), connection(ONE_THREAD)  # short, as Ray needs it
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS))  # where ray_tasks.py is
        patch.setattr(tempfile, "tempdir", temporary)
        assert printed_by(local.__enter__) == ""
    yield
    started = set(psutil.Process().children(recursive=True)) - before
    assert started and os.listdir(temporary)
    assert printed_by(lambda: local.__exit__(None, None, None)) == ""
    os.rmdir(temporary)
    assert not [p for p in psutil.process_iter(["cmdline"]) if temporary in str(p.info["cmdline"])]
    psutil.wait_procs(started, timeout=LONG)
    assert not [p for p in started if p.is_running()]


def printed_by(action: Callable[[], object]) -> str:
    """What ``action`` writes to standard output and error, also outside Python."""
    with tempfile.TemporaryFile("w+") as file:
        kept = [os.dup(number) for number in (1, 2)]
        try:
            for number in (1, 2):
                os.dup2(file.fileno(), number)
            with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                action()
        finally:
            for number, old in enumerate(kept, 1):
                os.dup2(old, number)
                os.close(old)
        file.seek(0)
        return file.read()


@pytest.fixture
def two_threads() -> Iterator[None]:
    """As many as workers do not have, so that rows tell where they were made."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_every_task_is_done_once_although_workers_are_killed(ray, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HSRZOO_PLUGINS", "nothing.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hsrzoo.utils.workers.RETRIES", 1)
    deaths = {"steady": 0, "frail": 1, "doomed": 2, "last": 0}
    tasks = [{"name": name, "die": n, "folder": str(tmp_path)} for name, n in deaths.items()]
    found = list(run_tasks(work, tasks, ONE_THREAD))
    assert sorted(i for i, _ in found) == [0, 1, 2, 3]
    results = dict(found)
    assert isinstance(results[2], TaskFailure) and "died 2 times" in results[2].error
    assert [results[i]["name"] for i in (0, 1, 3)] == ["steady", "frail", "last"]
    runs = {name: len((tmp_path / name).read_text()) for name in deaths}
    assert runs["frail"] == 2 and runs["doomed"] == 2
    assert results[0]["folder"] == str(tmp_path) and results[0]["plugins"] == "nothing.py"


def test_a_task_that_raises_fails_in_one_line_and_is_not_repeated(ray, tmp_path: Path) -> None:
    tasks = [{"name": "a", "fail": True}, {"name": "b", "break": True}]
    results = dict(run_tasks(work, [{**task, "folder": str(tmp_path)} for task in tasks], ONE_THREAD))
    assert results[0] == TaskFailure("No such thing. Got a.")
    assert results[1] == TaskFailure("ValueError: two lines")
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == "."


def test_tasks_have_the_threads_that_were_asked_for(ray, tmp_path: Path) -> None:
    tasks = [{"name": "t", "torch": True, "folder": str(tmp_path)}]
    for threads in (2, 1):  # in a process that imports torch, and in one that has done so
        (_, result), *_ = run_tasks(work, tasks, Workers(count=1, threads=threads))
        assert result["threads"] == threads


def test_a_running_cluster_is_joined_by_address_and_left_running(ray, tmp_path: Path) -> None:
    import ray as running

    address = running.get_runtime_context().gcs_address
    code = f"""
from ray_tasks import work
from hsrzoo.errors import WorkersError
from hsrzoo.utils import workers
from hsrzoo.utils.workers import Workers, run_tasks
workers._ANSWER_SECONDS = 1800.0
tasks = [{{"name": name, "folder": {str(tmp_path)!r}}} for name in "abc"]
try:
    next(run_tasks(work, tasks, Workers(address={address!r}, threads=99)))
except WorkersError as error:
    print(error)
workers._require_answer = lambda address: None  # it has answered
print(sorted(result["name"] for _, result in run_tasks(work, tasks, Workers(address={address!r}))))
"""
    env = {**os.environ, "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    refusal, names = done.stdout.splitlines()
    assert "No machine of the cluster" in refusal and "Got 2 and 0" in refusal
    assert names == "['a', 'b', 'c']"
    assert [
        r["name"] for _, r in run_tasks(work, [{"name": "d", "folder": str(tmp_path)}], ONE_THREAD)
    ] == ["d"]


@pytest.mark.long  # every task is done once: above; a bench that is killed goes on: test_runs.py
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


def test_predict_on_a_killed_worker_changes_no_byte_and_ray_says_nothing(
    ray, tmp_path: Path, monkeypatch, capfd
) -> None:
    photographs, alone, out = (tmp_path / name for name in ("photographs", "alone", "cubes"))
    photographs.mkdir()
    random = np.random.default_rng(0)
    for name in "abd":
        Image.fromarray(random.integers(0, 256, (40, 52, 3), dtype=np.uint8)).save(
            photographs / f"{name}.png"
        )
    (photographs / "c.png").write_bytes(b"no image")
    monkeypatch.setenv("HSRZOO_PLUGINS", str(DEADLY))
    call = ["-o", alone, "--model", deadly_model(tmp_path / "net")]
    assert run_predict(photographs, *call).exit_code == 1
    counter = tmp_path / "runs"
    call = ["-o", out, "--model", deadly_model(tmp_path / "deadly", counter=str(counter), deadly=5)]
    capfd.readouterr()
    done = run_predict(photographs, *call, "--workers", 1, "--threads", 1)
    assert capfd.readouterr() == ("", "")
    assert done.exit_code == 1, done.stderr
    own = ("Failed: ", "Other scenes", "The weights were", "3 of 4 images")
    rest = [line for line in done.stderr.splitlines() if not line.startswith(own)]
    assert len(rest) == 6 and all(": Input: " in x or "40 x 52 pixels" in x for x in rest), done.stderr
    assert done.stdout == "" and done.stderr.count("Failed:") == 1
    assert f"Failed: {photographs / 'c.png'}" in done.stderr and "3 of 4 images done" in done.stderr
    # 12 tiles an image; the killed process had begun five
    assert len(counter.read_text()) > 3 * 12
    assert sorted(p.name for p in out.iterdir()) == ["a.tif", "b.tif", "d.tif"]
    for path in out.iterdir():
        cube, _ = load_cube(path)
        assert np.array_equal(cube, load_cube(alone / path.name)[0])


def run_predict(*arguments: object) -> Result:
    words = [*map(str, arguments), "--device", "cpu", "--format", "tiff", "--tile", "16"]
    return CliRunner().invoke(predict, words)


def deadly_model(folder: Path, **arguments: object) -> str:
    """The name of a network with known weights that can kill its process: see deadly_plugin.py."""
    spec, bands = MODELS.get("deadly-net"), BandSet.regular(400, 700, 100)
    torch.manual_seed(0)
    module = build_module(spec, bands, {})
    save_folder(folder, module, spec, bands, arguments=arguments, training={"dataset": "toy"})
    return f"local-dir:{folder}"
