"""How many threads torch and onnxruntime use, and that they soon sleep while they wait.

On a busy machine threads that spin while they wait take the time of those that work: an image then takes
ten times as long as with one thread. OpenMP reads its settings when torch is loaded, so they are made
before.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

SETTINGS = {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "1"}
"""Of GNU's and LLVM's OpenMP: threads spin for microseconds (a millisecond with LLVM) before they sleep.
Without spinning an idle machine is slower by a tenth. Values that a user has set stay."""
_POLICY, _THREADS = "OMP_WAIT_POLICY", "OMP_NUM_THREADS"


def prepare_threads(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set up OpenMP, to be called before torch is imported; afterwards only the number of threads changes.

    The number is that of :func:`usable_cpus`; nothing that the user has set is changed.
    """
    count = None if _THREADS in environment else usable_cpus()
    if "torch" not in sys.modules:
        for name, value in SETTINGS.items() if _POLICY not in environment else ():
            environment.setdefault(name, value)
        if count is not None and count < (os.cpu_count() or 1):
            environment[_THREADS] = str(count)
    elif count is not None and sys.modules["torch"].get_num_threads() > count:
        sys.modules["torch"].set_num_threads(count)


def set_threads(count: int | None) -> None:
    """Let torch, imported or not yet, and models of onnxruntime that are loaded from now on use so many
    threads; None changes nothing."""
    torch = sys.modules.get("torch")
    if count is not None and torch is not None:
        torch.set_num_threads(count)
    elif count is not None:
        os.environ[_THREADS] = str(count)


def thread_count() -> int:
    """The threads that torch uses, or would use if it were imported."""
    if torch := sys.modules.get("torch"):
        return int(torch.get_num_threads())
    first = os.environ.get(_THREADS, "").partition(",")[0].strip()  # a list has one number for each level
    return int(first) if first.isdecimal() and int(first) > 0 else usable_cpus()


def usable_cpus(root: Path = Path("/")) -> int:
    """The CPUs that this process may use, 1 or more: by its affinity and, on Linux, by the quotas of its
    control group and those above it (rounded up). ``root``: of the file system."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    quotas = [quota for folder in _control_groups(root) if (quota := _quota(folder)) is not None]
    return max(1, min([count, *(-int(-quota // 1) for quota in quotas)]))


def _control_groups(root: Path) -> list[Path]:
    """Folders of the control groups of this process, from the mount point of each hierarchy down."""
    lines = _read(root / "proc/self/cgroup").splitlines()
    found = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        parts = Path(path.lstrip("/")).parts
        found += [top.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]
    return found


def _quota(folder: Path) -> float | None:
    """CPUs that a control group may use; None: any number."""
    words = _read(folder / "cpu.max").split()  # version 2: "max 100000" or "150000 100000"
    if not words:
        words = [_read(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    try:
        quota, period = map(float, words)
    except ValueError:
        return None
    return quota / period if quota > 0 and period > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
