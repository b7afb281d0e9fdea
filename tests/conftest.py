"""Fixtures shared by all tests: where real data lies, the console script, a small band set."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from browser import opened_page
from hsrzoo.bands import BandSet

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[1]
BESIDE = ROOT.with_name("shared")
"""Large files that several checkouts may share lie here."""


def _shared(variable: str, name: str) -> Path:
    """The folder in ``variable``, else ``name`` in the folder beside the repository; skips without."""
    path = Path(os.environ.get(variable) or BESIDE / name)
    if not path.is_dir():
        pytest.skip(f"needs a folder: set {variable}")
    return path.resolve()


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Real scenes (cave, ...); HSRZOO_DATA, or a folder beside the repository."""
    return _shared("HSRZOO_DATA", "data")


@pytest.fixture(scope="session")
def parity_root() -> Path:
    """Inputs and outputs of the original networks; HSRZOO_PARITY, or a folder beside the repository."""
    return _shared("HSRZOO_PARITY", "parity")


@pytest.fixture
def tiny_bands() -> BandSet:
    """Five bands, 400-700 nm in steps of 75: enough for the colour metrics, small enough for tests."""
    return BandSet.regular(400, 700, 75)


RunHsrzoo = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_hsrzoo(tmp_path: Path) -> RunHsrzoo:
    """``run_hsrzoo("list", "--json", env={...})``: the console script in a process of its own.

    Its working folder is ``tmp_path``; standard output and error are kept apart as text.
    """
    script = Path(sys.executable).with_name("hsrzoo")

    def run(
        *arguments: str, env: dict[str, str] | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(script), *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run


@pytest.fixture
def page() -> Iterator[Page]:
    """A page in a real browser, 1280 x 900; see :func:`browser.opened_page`."""
    with opened_page() as opened:
        yield opened
