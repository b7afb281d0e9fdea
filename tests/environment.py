"""The environment that all tests run in, in whatever shell they were started."""

from __future__ import annotations

import os
import re
import sys
import time
import warnings
from collections.abc import Iterable

READ_BY_TESTS = ("HSRZOO_DATA", "HSRZOO_PARITY")
"""Where real data lie; conftest.py hides them from hsrzoo itself."""
FORKS = "FORKS_OF_TESTS"
"""The folder of a :mod:`forks` server, for tests that run tests."""

CHANGES_RESULTS = re.compile(
    r"_?HSRZOO_.*|HF_.*|HUGGING_?FACE_.*|TRANSFORMERS_.*"  # hsrzoo and the Hub
    r"|(OMP|MKL|KMP|GOMP|OPENBLAS|BLIS|NUMEXPR|VECLIB)_.*"  # threads and how sums are made
    r"|ACCELERATE_.*|(LOCAL_|GROUP_|NODE_)?RANK|(LOCAL_)?WORLD_SIZE|MASTER_(ADDR|PORT)"  # torchrun
    r"|RAY_.*|TRITON_.*|TORCH_LOGS|GRADIO_.*|MPLBACKEND|ORT_.*"
    r"|NO_COLOR|FORCE_COLOR|CLICOLOR.*|PY_COLORS|COLUMNS|LINES|TTY_.*|COMP_.*"  # terminals
    r"|LANG|LANGUAGE|LC_.*|TZ"
    r"|(HTTPS?|ALL|NO|FTP)_PROXY|XDG_(DATA|CACHE|CONFIG)_HOME|GIT_(DIR|WORK_TREE|INDEX_FILE|CEILING.*)"
    r"|PIP_.*|PYTHONWARNINGS|PYTHONOPTIMIZE|PYTHONIOENCODING|PYTHONUTF8|PYTHONSAFEPATH",
    re.IGNORECASE,
)
FIXED = {"OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"}
"""One thread a process, as tests run in several; text is UTF-8, also in child processes."""


def settings_to_remove(names: Iterable[str]) -> list[str]:
    """Names of variables that could change what a test sees."""
    return [n for n in names if CHANGES_RESULTS.fullmatch(n) and n not in READ_BY_TESTS]


def clean() -> None:
    """Remove the user's settings from this process, before a library reads them."""
    for name in settings_to_remove(os.environ):
        del os.environ[name]
    os.environ.update(FIXED)
    # Otherwise every process would compile hsrzoo, and pytest all tests, again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    if hasattr(time, "tzset"):
        time.tzset()


def clean_warnings() -> None:
    """Python's own filters of warnings for those that PYTHONWARNINGS has set in this process."""
    if sys.warnoptions:
        sys.warnoptions.clear()
        warnings.resetwarnings()
        for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", kind)
