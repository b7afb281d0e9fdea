"""Tasks in several processes or on several machines: a thin layer on Ray.

Ray schedules the tasks, starts the processes and repeats a task whose process died. Here stands only
how we start or join it, and what a task finds: the caller's folder, plugins and number of threads.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hsrzoo.errors import HsrzooError, InputError, WorkersError

RETRIES = 3
"""How often a task is repeated whose process died; then it has failed."""
_PASSED_ON = ("HSRZOO_PLUGINS", "HSRZOO_DATA", "HSRZOO_SEARCH")
"""Variables of the environment that a task needs wherever it runs."""
_CONNECT_SECONDS, _ANSWER_SECONDS = 5.0, 12.0
_LONGEST_ROOT = 16
_OBJECT_STORE_BYTES = 128 * 2**20
"""Results are rows and file names; Ray itself would reserve a third of the memory."""


@dataclass(frozen=True)
class Workers:
    """Where tasks run: ``count`` processes on this machine, or the Ray cluster at ``address``."""

    count: int | None = None
    address: str | None = None
    """``HOST:PORT`` of a running cluster, or ``auto`` for the one on this machine."""
    threads: int | None = None
    """torch threads of each task; by default cores / count here, and one on a cluster."""
    gpu: bool = False
    """Tasks need a GPU: here they share those there are, on a cluster each has one."""

    def __post_init__(self) -> None:
        if (self.count is None) == (self.address is None):
            raise InputError(
                "Workers are either started or joined", fix="Give --workers N or --ray ADDRESS"
            )
        if self.count is not None and self.count < 1:
            raise InputError("Too few workers", expected="1 or more", got=self.count)

    @property
    def threads_each(self) -> int:
        """torch threads of one task, at least 1."""
        if self.threads is not None:
            return self.threads
        return 1 if self.count is None else max(1, cores() // self.count)

    def resources(self) -> dict[str, float]:
        """What Ray is told that one task takes."""
        return {"num_cpus": self.threads_each, "num_gpus": self._gpu_share() if self.gpu else 0}

    def _gpu_share(self) -> float:
        if self.count is None:
            return 1.0
        import torch

        return 1 / max(1, -(-self.count // max(1, torch.cuda.device_count())))


@dataclass(frozen=True)
class TaskFailure:
    """In place of a result: the task raised, or its process died again and again."""

    error: str
    """One paragraph for the user."""


def run_tasks(
    function: Callable[[Any], Any], tasks: Sequence[Any], workers: Workers
) -> Iterator[tuple[int, Any]]:
    """Yield ``(i, function(tasks[i]))`` as the tasks finish, each exactly once, in any order.

    ``function`` must be importable where the tasks run; it can keep what it loads in a module's
    cache, as the processes live on. Where it raises, or its process has died ``1 + RETRIES`` times,
    the result is a :class:`TaskFailure`. A task can run more than once, so what it does by itself
    must bear repeating. Raises WorkersError without Ray and where the cluster does not answer.
    """
    with connected(workers) as ray:
        remote = ray.remote(_call).options(
            max_retries=RETRIES, name=getattr(function, "__name__", "task"), **workers.resources()
        )
        passed_on = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
        where = (os.getcwd(), passed_on, workers.threads_each)
        numbers = {remote.remote(function, task, *where): i for i, task in enumerate(tasks)}
        waiting = list(numbers)
        while waiting:
            done, waiting = ray.wait(waiting, num_returns=1)
            for reference in done:
                yield numbers.pop(reference), _result(ray, reference)


@contextmanager
def connected(workers: Workers) -> Iterator[Any]:
    """The module ``ray``, connected; a Ray started here is stopped and its files are removed.

    A connection that the caller has already is used and left as it is.
    """
    ray = _import_ray()
    if ray.is_initialized():
        yield ray
        return
    folder = None
    try:
        if workers.address is not None:
            _join(ray, workers)
        else:
            folder = tempfile.mkdtemp(prefix="hsrzoo-ray-", dir=_temporary_root())
            _start(ray, workers, folder)
        yield ray
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _temporary_root() -> str:
    """The system's folder of temporary files; /tmp where its name is too long for Ray, which puts
    sockets 70 characters deeper, whose paths may have 100."""
    usual = tempfile.gettempdir()
    return usual if len(usual) <= _LONGEST_ROOT or not os.path.isdir("/tmp") else "/tmp"


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray prints what its daemon says on stdout, where our data goes; failures are reported by us.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")
    try:
        import ray
    except ImportError as error:
        raise WorkersError(
            "Ray is not installed", got=str(error), fix='pip install "hsrzoo[ray]"'
        ) from None
    return ray


def _start(ray: Any, workers: Workers, folder: str) -> None:
    """A Ray of our own on this machine, with as many processes as were asked for."""
    try:
        ray.init(
            address="local",  # never the one that RAY_ADDRESS names
            num_cpus=(workers.count or 1) * workers.threads_each,
            num_gpus=None if workers.gpu else 0,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=_OBJECT_STORE_BYTES,
            _temp_dir=folder,
        )
    except Exception as error:  # Ray raises whatever its parts raise
        raise WorkersError(
            "Ray did not start", got=_one_line(error), fix="Run without --workers"
        ) from error


def _join(ray: Any, workers: Workers) -> None:
    """Join the cluster at the address, once it is known to answer: ray.init itself would try for
    two minutes and then end the process."""
    address = str(workers.address)
    _require_answer(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise _not_joined(address, _one_line(error)) from error
    wanted, kinds = workers.resources(), (("CPU", "num_cpus"), ("GPU", "num_gpus"))
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(node.get(kind, 0) >= wanted[key] for kind, key in kinds) for node in nodes):
        raise WorkersError(
            f"No machine of the cluster at {address} can run a task",
            expected=f"{wanted['num_cpus']} cores and {wanted['num_gpus']:g} GPUs on one machine",
            got="; ".join(f"{node.get('CPU', 0):g} and {node.get('GPU', 0):g}" for node in nodes) or "none",
            fix="Lower --threads, or choose --device cpu",
        )


def _require_answer(address: str) -> None:
    host, colon, port = address.rpartition(":")
    if address != "auto":
        if not colon or not host or "/" in host or not port.isdigit():
            raise WorkersError(
                "This is no address of a Ray cluster", expected="HOST:PORT, or auto", got=address
            )
        try:
            socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise _no_answer(address, str(error)) from None
    # Something listens there. Whether it is a Ray that this version can talk to, Ray must say.
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address],
            capture_output=True,
            text=True,
            timeout=_ANSWER_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise _no_answer(address, f"no answer within {_ANSWER_SECONDS:g} seconds") from None
    if done.returncode:
        raise _not_joined(address, (done.stderr.strip().splitlines() or ["nothing"])[-1])


def _no_answer(address: str, got: str) -> WorkersError:
    return WorkersError(
        f"No Ray cluster answers at {address}",
        expected="a cluster started by `ray start --head`",
        got=got,
        fix="Check the address, or use --workers N on this machine",
    )


def _not_joined(address: str, got: str) -> WorkersError:
    return WorkersError(
        f"The Ray cluster at {address} cannot be joined",
        expected="a running cluster of the same versions of Ray and Python",
        got=got,
        fix="Clusters that ask for a token are joined with RAY_AUTH_MODE=token in the environment",
    )


def _call(
    function: Callable[[Any], Any], task: Any, folder: str, environment: Mapping[str, str], threads: int
) -> Any:
    """What runs in the worker: the caller's surroundings, then the task."""
    os.environ.update(environment, OMP_NUM_THREADS=str(threads))  # read by torch when it is imported
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    if os.path.isdir(folder):  # relative paths mean there what they mean here
        os.chdir(folder)
    try:
        return function(task)
    except HsrzooError as error:
        return TaskFailure(str(error))
    except Exception as error:
        return TaskFailure(_one_line(error))


def _result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.WorkerCrashedError:
        return TaskFailure(f"Its process died {1 + RETRIES} times.")
    except ray.exceptions.RayError as error:
        # Not the task's own error but, say, a machine without our packages: Ray tells it at length.
        return TaskFailure(str(error).strip().splitlines()[-1])


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"
