"""Tasks on Ray: threads, GPUs, addresses that do not answer. tests/benchmark/test_workers.py runs them."""

from __future__ import annotations

import os
import socket
import sys
from importlib.util import find_spec

import pytest

from hsrzoo.errors import InputError, WorkersError
from hsrzoo.utils.workers import Workers, run_tasks
from ray_tasks import work

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
    monkeypatch.setattr("hsrzoo.utils.workers._ANSWER_SECONDS", 0.2)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(WorkersError, match=r"no answer within 0\.2 seconds"):
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
