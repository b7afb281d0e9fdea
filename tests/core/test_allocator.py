"""What the C library does with freed memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hsrzoo.utils import allocator

FAULTS = """
import resource, sys
import numpy as np
from hsrzoo.utils.allocator import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory({})
for run in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [np.ones(5 << 20, np.float32) for _ in range(6)]  # 20 MiB each
    del arrays
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Page faults of the last of some passes that allocate and free 120 MiB."""
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(allocator._glibc() is None, reason="needs glibc")
def test_freed_memory_is_used_again_without_page_faults() -> None:
    assert faults("kept") < 0.1 * faults("not kept")


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_what_the_user_has_set_stays(name: str) -> None:
    assert not allocator.keep_freed_memory({name: "1"})


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "_glibc", lambda: None)
    assert not allocator.keep_freed_memory({})
    allocator.give_back_freed_memory()
