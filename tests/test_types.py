"""Types are checked from one package to the next: a wrong call between them is reported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CALLS = """\
from hsrzoo.utils.files import sha256_of_file
from hsrzoo_baselines.recipes import toolbox
from hsrzoo_benchmark.statistics.intervals import Interval
from hsrzoo_mcga.plugin import MCGA_S2

sha256_of_file(1)
toolbox("fast")
Interval("low", 1.0)
MCGA_S2.build()
"""


def test_a_wrong_call_into_any_package_is_reported(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="needs mypy")
    config, file = tmp_path / "pyproject.toml", tmp_path / "calls.py"
    # As the project's own check, but without the sources of libraries, which take most of its time.
    libraries = ["torch.*", "numpy.*", "click.*", "PIL.*", "rich.*", "huggingface_hub.*", "tifffile.*"]
    skip = f'\n[[tool.mypy.overrides]]\nmodule = {libraries}\nfollow_imports = "skip"\n'
    config.write_text((ROOT / "pyproject.toml").read_text(encoding="utf-8") + skip, encoding="utf-8")
    file.write_text(CALLS)
    options = ["--config-file", str(config), "--cache-dir", str(tmp_path / "cache")]
    command = [sys.executable, "-m", "mypy", *options, str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    wrong = [line for line in done.stdout.splitlines() if "calls.py:" in line and " error: " in line]
    lines = {int(line.rpartition("calls.py:")[2].split(":")[0]) for line in wrong}
    assert lines == {6, 7, 8, 9}, done.stdout + done.stderr
