"""Threads are as many as the machine grants, and soon sleep while they wait."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from hsrzoo.utils import threads
from hsrzoo.utils.threads import prepare_threads, set_threads, thread_count, usable_cpus


def _machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    for name, content in {"proc/self/cgroup": groups, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),  # a share of a CPU counts as one
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "20000 100000\n"}, 1),
        (
            "0::/a/b\n",
            {"sys/fs/cgroup/a/cpu.max": "200000 100000", "sys/fs/cgroup/a/b/cpu.max": "max 1"},
            2,
        ),
        (
            "5:cpu,cpuacct:/job\n4:memory:/\n",
            {
                "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000\n",
            },
            4,
        ),
        (
            "5:cpu:/\n",
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
            8,
        ),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "nonsense"}, 8),
        ("", {}, 8),
    ],
)
def test_quotas_of_control_groups_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, files: dict[str, str], expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert usable_cpus(_machine(tmp_path, groups, files)) == expected


def test_settings_are_made_before_torch_is_loaded_and_never_over_the_user_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "usable_cpus", lambda: 3)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    fresh: dict[str, str] = {}
    prepare_threads(fresh)
    assert fresh == {**threads.SETTINGS, "OMP_NUM_THREADS": "3"}
    own = {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "7"}
    prepare_threads(own)
    assert own == {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "7"}
    own = {"GOMP_SPINCOUNT": "5", "KMP_BLOCKTIME": "0", "OMP_NUM_THREADS": "7"}
    prepare_threads(own)
    assert own == {"GOMP_SPINCOUNT": "5", "KMP_BLOCKTIME": "0", "OMP_NUM_THREADS": "7"}


def test_of_torch_that_is_loaded_the_number_alone_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cpus", lambda: 3)
    asked: list[int] = []
    torch = SimpleNamespace(get_num_threads=lambda: 8, set_num_threads=asked.append)
    monkeypatch.setitem(sys.modules, "torch", torch)
    fresh: dict[str, str] = {}
    prepare_threads(fresh)
    assert (fresh, asked) == ({}, [3])
    prepare_threads({"OMP_NUM_THREADS": "7"})
    torch.get_num_threads = lambda: 2
    prepare_threads(fresh)
    assert asked == [3]


def test_a_number_is_set_and_known_with_and_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cpus", lambda: 3)
    monkeypatch.setenv("OMP_NUM_THREADS", "7,2")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert thread_count() == 7
    set_threads(None)
    assert thread_count() == 7
    set_threads(5)
    assert (os.environ["OMP_NUM_THREADS"], thread_count()) == ("5", 5)
    for unset in ("", "many", "0"):
        monkeypatch.setenv("OMP_NUM_THREADS", unset)
        assert thread_count() == 3
    asked: list[int] = []
    torch = SimpleNamespace(get_num_threads=lambda: 8, set_num_threads=asked.append)
    monkeypatch.setitem(sys.modules, "torch", torch)
    set_threads(1)
    assert (asked, thread_count()) == ([1], 8)
