"""Waiting in tests: for an event, never for a time that a busy machine may need longer for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

LONG = 600.0
"""Seconds after which a test that hangs is given up: an idle machine needs less than a twentieth of it."""


class Process(Protocol):
    """subprocess.Popen, or forks.Running."""

    def poll(self) -> int | None: ...


def wait_until(holds: Callable[[], object], process: Process | None = None) -> None:
    """Return once ``holds()`` is true; AssertionError if ``process``, which should cause it, ends first."""
    end = time.monotonic() + LONG
    while not holds():
        assert process is None or process.poll() is None or holds(), "the process ended too early"
        assert time.monotonic() < end, f"nothing happened within {LONG:g} seconds"
        time.sleep(0.02)


def best_of(measure: Callable[[], float], below: float, tries: int = 10) -> float:
    """The least of up to ``tries`` measurements, which a busy machine can only make larger.

    The first one under ``below`` ends them.
    """
    best = measure()
    while best >= below and (tries := tries - 1) > 0:
        best = min(best, measure())
    return best
