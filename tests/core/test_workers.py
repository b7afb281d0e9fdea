"""Tasks on Ray: results, deaths, failures, addresses that do not answer."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from hsrzoo.errors import InputError, WorkersError
from hsrzoo.utils.workers import RETRIES, TaskFailure, Workers, connection, run_tasks
from ray_tasks import work
from waiting import LONG

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra ray")
TWO = Workers(count=2, threads=1)


def test_cores_are_shared_among_local_workers(monkeypatch) -> None:
    monkeypatch.setattr("hsrzoo.utils.workers.cores", lambda: 8)
    assert [Workers(count=n).threads_each for n in (1, 3, 8, 20)] == [8, 2, 1, 1]
    assert Workers(address="auto").threads_each == 1
    assert Workers(count=3, threads=4).resources() == {"num_cpus": 4, "num_gpus": 0}


def test_local_workers_share_the_gpus_there_are(monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    shares = [Workers(count=n, gpu=True).resources()["num_gpus"] for n in (1, 2, 3, 4, 5)]
    assert shares == [1, 1, 0.5, 0.5, pytest.approx(1 / 3)]
    assert Workers(address="auto", gpu=True).resources()["num_gpus"] == 1


@pytest.mark.parametrize("values", [{}, {"count": 2, "address": "auto"}, {"count": 0}])
def test_impossible_workers_are_refused(values) -> None:
    with pytest.raises(InputError):
        Workers(**values)


@needs_ray
def test_an_address_that_does_not_answer_is_told_at_once(monkeypatch) -> None:
    """Without asking Ray, which would try for a minute."""
    monkeypatch.setattr(
        "hsrzoo.utils.workers.subprocess.run", lambda *_, **__: pytest.fail("Ray was asked")
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        with pytest.raises(WorkersError, match="No Ray cluster answers at 127"):
            list(run_tasks(work, [], Workers(address=f"127.0.0.1:{taken.getsockname()[1]}")))


@needs_ray
def test_a_port_of_something_else_is_told_in_time(monkeypatch) -> None:
    monkeypatch.setattr("hsrzoo.utils.workers._ANSWER_SECONDS", 3.0)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(WorkersError, match="no answer within 3 seconds"):
            list(run_tasks(work, [], Workers(address=f"127.0.0.1:{other.getsockname()[1]}")))


@needs_ray
@pytest.mark.parametrize("address", ["here", ":6379", "host:", "host:port", "ray://host:10001"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(WorkersError, match="Not an address of a Ray cluster"):
        list(run_tasks(work, [], Workers(address=address)))


def test_without_ray_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(WorkersError, match=r"hsrzoo\[ray\]"):
        list(run_tasks(work, [], TWO))
    assert "RAY_USAGE_STATS_ENABLED" in os.environ


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    """One local Ray for all tests of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))  # where ray_tasks.py is
        with connection(TWO):
            yield


@needs_ray
def test_every_task_is_done_once_although_workers_are_killed(ray, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HSRZOO_PLUGINS", "nothing.py")
    monkeypatch.chdir(tmp_path)
    deaths = {"steady": 0, "frail": 1, "doomed": 1 + RETRIES, "last": 0}
    tasks = [{"name": name, "die": n, "folder": str(tmp_path)} for name, n in deaths.items()]
    found = list(run_tasks(work, tasks, TWO))
    assert sorted(i for i, _ in found) == [0, 1, 2, 3]
    results = dict(found)
    assert isinstance(results[2], TaskFailure) and f"died {1 + RETRIES} times" in results[2].error
    assert [results[i]["name"] for i in (0, 1, 3)] == ["steady", "frail", "last"]
    runs = {name: len((tmp_path / name).read_text()) for name in deaths}
    assert runs["frail"] == 2 and runs["doomed"] == 1 + RETRIES
    assert results[0]["folder"] == str(tmp_path) and results[0]["plugins"] == "nothing.py"


@needs_ray
def test_a_task_that_raises_fails_in_one_line_and_is_not_repeated(ray, tmp_path: Path) -> None:
    tasks = [{"name": "a", "fail": True}, {"name": "b", "break": True}]
    results = dict(run_tasks(work, [{**task, "folder": str(tmp_path)} for task in tasks], TWO))
    assert results[0] == TaskFailure("No such thing. Got a.")
    assert results[1] == TaskFailure("ValueError: two lines")
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == "."


@needs_ray
def test_tasks_have_the_threads_that_were_asked_for(ray, tmp_path: Path) -> None:
    tasks = [{"name": "t", "torch": True, "folder": str(tmp_path)}]
    for threads in (2, 1):  # in a process that imports torch, and in one that has done so
        (_, result), *_ = run_tasks(work, tasks, Workers(count=1, threads=threads))
        assert result["threads"] == threads


@needs_ray
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
print(sorted(result["name"] for _, result in run_tasks(work, tasks, Workers(address={address!r}))))
"""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    refusal, names = done.stdout.splitlines()
    assert "No machine of the cluster" in refusal and "Got 2 and 0" in refusal
    assert names == "['a', 'b', 'c']"
    assert [r["name"] for _, r in run_tasks(work, [{"name": "d", "folder": str(tmp_path)}], TWO)] == ["d"]
