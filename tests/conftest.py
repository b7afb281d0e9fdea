"""Fixtures shared by all tests: where real data lies, the console script, a small band set."""

from __future__ import annotations

import gc
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import environment

environment.clean()  # before anything else is imported: libraries read variables when they are
# Looking for garbage among millions of objects took up to a third of the time.
gc.set_threshold(200_000, 50, 1000)

import browser  # noqa: E402
from forks import Forks, started  # noqa: E402
from hsrzoo.bands import BandSet  # noqa: E402

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[1]
BESIDE = ROOT.with_name("shared")
"""Large files that several checkouts may share lie here."""


LONGEST = (
    "docs/test_commands.py", "baselines/test_contract.py", "export/test_onnx.py", "examples/test_demo.py",
    "benchmark/test_workers.py", "mcga/test_contract.py", "baselines/test_parity.py",
    "examples/test_tutorials.py", "benchmark/test_site_scenes.py", "baselines/test_convert_official.py",
    "baselines/test_halo.py", "cli/test_two_processes.py", "cli/test_predict.py", "mcga/test_tiles.py",
    "mcga/test_search_triton.py", "training/test_queue.py",
)  # fmt: skip
"""Files that take longest, by time: they run first, so that no process is left with one in the end."""


def pytest_configure() -> None:
    environment.clean_warnings()


def pytest_sessionfinish() -> None:
    browser.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    first = {ROOT / "tests" / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path, len(first)))


REAL_DATA = {name: os.environ.get(name) for name in environment.READ_BY_TESTS}


@pytest.fixture(scope="session", autouse=True)
def imported_objects_stay() -> None:
    """No search for garbage among what was imported."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def real_data_only_where_asked_for() -> None:
    """HSRZOO_DATA is for the fixtures below; commands in tests look where each test tells them to.

    Not removed before: the processes of ``pytest -n`` inherit it.
    """
    for name in REAL_DATA:
        os.environ.pop(name, None)


def _shared(variable: str, name: str) -> Path:
    """The folder in ``variable``, else ``name`` in the folder beside the repository; skips without."""
    path = Path(REAL_DATA[variable] or BESIDE / name)
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


@pytest.fixture(scope="session")
def forks(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Processes that need not import torch: see :mod:`forks`."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if hasattr(pytestconfig, "workerinput") else own
    with started(Path(os.environ.get(environment.FORKS, shared))) as one:
        yield one


RunHsrzoo = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_hsrzoo(forks: Forks, tmp_path: Path) -> RunHsrzoo:
    """``run_hsrzoo("list", "--json", env={...})``: the console script in a process of its own.

    Its working folder is ``tmp_path``; standard output and error are kept apart as text.
    """

    def run(*arguments: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return forks.hsrzoo(*arguments, cwd=tmp_path, env={"NO_COLOR": "1", **(env or {})})

    return run


@pytest.fixture
def page() -> Iterator[Page]:
    """A page in a real browser, 1280 x 900; see :func:`browser.opened_page`."""
    with browser.opened_page() as opened:
        yield opened
