"""Tasks in several processes or on several machines: a thin layer on Ray.

Ray schedules the tasks, starts the processes and repeats a task whose process died. This module
only starts or joins Ray, and gives tasks the caller's folder, plugins and number of threads.
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
from typing import Any, TypeVar

from hsrzoo.errors import HsrzooError, InputError, WorkersError

T = TypeVar("T")

RETRIES = 3
"""How often a task is repeated if its process dies, before it counts as failed."""
_PASSED_ON = ("HSRZOO_PLUGINS", "HSRZOO_DATA", "HSRZOO_SEARCH")
"""Environment variables that every task needs."""
_THREADS_PER_CORE = 8
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
    """Tasks need a GPU: on this machine they share all GPUs, on a cluster each task has one."""

    def __post_init__(self) -> None:
        if (self.count is None) == (self.address is None):
            raise InputError(
                "Workers need either a count or an address", fix="Give --workers N or --ray ADDRESS"
            )
        if self.count is not None and self.count < 1:
            raise InputError("Too few workers", expected="1 or more", got=self.count)
        if self.count is not None and self.count * self.threads_each > most_threads():
            raise InputError(
                "The workers have too many threads for this machine",
                expected=f"at most {most_threads()} together",
                got=f"{self.count} workers of {self.threads_each} threads",
                fix="Give fewer --workers or --threads",
            )

    @property
    def threads_each(self) -> int:
        """torch threads of one task, at least 1."""
        if self.threads is not None:
            return self.threads
        return 1 if self.count is None else max(1, cores() // self.count)

    def resources(self) -> dict[str, float]:
        """Resources of one task, in the terms of Ray."""
        return {"num_cpus": self.threads_each, "num_gpus": self._gpu_share() if self.gpu else 0}

    def _gpu_share(self) -> float:
        if self.count is None:
            return 1.0
        import torch

        return 1 / max(1, -(-self.count // max(1, torch.cuda.device_count())))


@dataclass(frozen=True)
class TaskFailure:
    """In place of a result: the task raised, or its process died repeatedly."""

    error: str
    """One paragraph for the user."""


def run_tasks(
    function: Callable[[Any], Any], tasks: Sequence[Any], workers: Workers
) -> Iterator[tuple[int, Any]]:
    """Yield ``(i, function(tasks[i]))`` as the tasks finish, each exactly once, in any order.

    ``function`` must be importable where the tasks run; it can cache what it loads in its module, because
    the processes are reused. If it raises, or its process has died ``1 + RETRIES`` times, the result is a
    :class:`TaskFailure`. A task can run more than once and must be safe to repeat. Raises WorkersError
    without Ray, or if the cluster does not answer.
    """
    with connection(workers) as ray:
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
def connection(workers: Workers) -> Iterator[Any]:
    """The module ``ray``, connection; a Ray started here is stopped and its files are removed.

    An existing connection is used and left open.
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
    """The system's folder of temporary files, or /tmp if its path is too long: Ray adds 70 characters for
    sockets, whose paths are limited to 100."""
    usual = tempfile.gettempdir()
    return usual if len(usual) <= _LONGEST_ROOT or not os.path.isdir("/tmp") else "/tmp"


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def most_threads() -> int:
    """How many threads processes on this machine may be given together: far more would slow them down, and
    in the end leave the system none."""
    return _THREADS_PER_CORE * cores()


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray prints messages of its daemon on stdout, which is for data; we report failures ourselves.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")
    try:
        import ray
    except ImportError as error:
        raise WorkersError(
            "Ray is not installed", got=str(error), fix='pip install "hsrzoo[ray]"'
        ) from None
    return ray


def _start(ray: Any, workers: Workers, folder: str) -> None:
    """Start Ray on this machine with the requested number of processes."""
    try:
        ray.init(
            address="local",  # not the cluster in RAY_ADDRESS
            num_cpus=(workers.count or 1) * workers.threads_each,
            num_gpus=None if workers.gpu else 0,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=_OBJECT_STORE_BYTES,
            _temp_dir=folder,
        )
    except Exception as error:  # Ray raises the exceptions of its parts
        raise WorkersError(
            "Ray did not start", got=_one_line(error), fix="Run without --workers"
        ) from error


def _join(ray: Any, workers: Workers) -> None:
    """Join the cluster, after checking that it answers: ray.init would retry for two minutes and then end
    the process."""
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
                "Not an address of a Ray cluster", expected="HOST:PORT, or auto", got=address
            )
        try:
            socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise _no_answer(address, str(error)) from None
    # Something listens there; only Ray knows whether it is a compatible cluster.
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
        fix="If the cluster needs a token, set RAY_AUTH_MODE=token in the environment",
    )


def _call(
    function: Callable[[Any], Any], task: Any, folder: str, environment: Mapping[str, str], threads: int
) -> Any:
    """In the worker: set up the caller's environment, then run the task."""
    os.environ.update(environment, OMP_NUM_THREADS=str(threads))  # read by torch when it is imported
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    if os.path.isdir(folder):  # so that relative paths are those of the caller
        os.chdir(folder)
    return attempt(function, task)


def attempt(function: Callable[..., T], *arguments: Any) -> T | TaskFailure:
    """``function(*arguments)``, or a TaskFailure if it raises."""
    try:
        return function(*arguments)
    except HsrzooError as error:
        return TaskFailure(str(error))
    except Exception as error:
        return TaskFailure(_one_line(error))


def require_same(name: str, kind: str, expected: str | None, got: str | None) -> None:
    """InputError if a worker has opened other ``kind`` (weights, data) than the main process."""
    if got != expected:
        raise InputError(
            f"The {kind} of {name} differ on a worker",
            expected=f"fingerprint {expected}",
            got=got,
            fix=f"Give all machines the same {kind}, and do not change them during the run",
        )


def _result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.WorkerCrashedError:
        return TaskFailure(f"Its process died {1 + RETRIES} times.")
    except ray.exceptions.RayError as error:
        # Not an error of the task but, say, a machine without our packages; the last line says which.
        return TaskFailure(str(error).strip().splitlines()[-1])


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"
