"""The tutorial pages, followed to the letter: every file is written, every command run, in order.

In a fresh environment of their own, into which the tutorials' packages are really installed; it sees
hsrzoo and what it needs in the environment that runs the tests, so that nothing is downloaded.
"""

from __future__ import annotations

import os
import re
import shlex
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from forks import Forks
from waiting import LONG

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "plugins"
BLOCK = re.compile(r"(?:`(?P<file>[\w.]+)`:\n\n)?```(?P<kind>python|toml|sh)\n(?P<text>.*?)```", re.DOTALL)


INSTALL = """
import sys, zipfile
from setuptools.build_meta import build_wheel
zipfile.ZipFile(build_wheel(sys.argv[1])).extractall(sys.argv[2])
"""
"""What ``pip install .`` does, without what takes pip seconds: asking what else has to be installed."""


NOT_RUN = re.compile(r"<!-- test: not run.*?```.*?```", re.DOTALL)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Path:
    """A new virtual environment that sees hsrzoo, pip and the other packages of this one."""
    pytest.importorskip("pip", reason="needs pip")
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder, with_pip=False)
    lines = [f"import site; site.addsitedir({path!r})" for path in site.getsitepackages()]
    (packages_of(folder) / "zz-hsrzoo.pth").write_text("\n".join(lines) + "\n")
    return folder


def packages_of(environment: Path) -> Path:
    (inside,) = environment.glob("lib/python*/site-packages")
    return inside


def follow(
    page: Path, folder: Path, environment: Path, forks: Forks, changes: dict[str, str] | None
) -> str:
    """Do what the page says in ``folder``; what its commands print. Without ``changes`` pip itself runs."""
    env = {"PYTHONPATH": str(packages_of(environment)), "COLUMNS": "200"}
    pip = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    text = NOT_RUN.sub("", page.read_text())
    for before, after in (changes or {}).items():
        assert before in text, f"{before} is not on {page.name}"
        text = text.replace(before, after)
    printed = ""
    for block in BLOCK.finditer(text):
        if block["kind"] != "sh":
            assert block["file"], f"a block of {page.name} without a file name"
            (folder / block["file"]).write_text(block["text"])
            continue
        for line in block["text"].replace("\\\n", " ").splitlines():
            program, *arguments = shlex.split(line)
            if program == "mkdir":
                (folder / arguments[0]).mkdir()
            elif program == "cd":
                folder = folder / arguments[0]
            elif program == "hsrzoo":
                done = forks.hsrzoo(*arguments, cwd=folder, env=env)
            elif line == "python -m pip install ." and changes is not None:
                done = forks.python("-c", INSTALL, folder, packages_of(environment), cwd=folder)
            else:
                assert program == "python", line
                command = [environment / "bin" / "python", *arguments]
                variables = {**os.environ, **pip}
                done = subprocess.run(
                    command, cwd=folder, env=variables, capture_output=True, text=True, timeout=LONG
                )
            if program in ("hsrzoo", "python"):
                assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
                printed += done.stdout
    return printed


MODEL_ROWS = ["local-dir:runs/tiny-net-indian-pines/weights", "linear.indian-pines", "tiny-net"]
FEW_STEPS = {"--steps 500": "--steps 2"}


@pytest.mark.skipif(sys.platform == "win32", reason="the pages are written for a POSIX shell")
@pytest.mark.parametrize(
    ("page", "rows", "changes"),
    [
        ("model", MODEL_ROWS, FEW_STEPS),
        pytest.param("model", MODEL_ROWS, None, marks=pytest.mark.long),
        ("dataset", ["poly.cave", "linear.cave", "test: 2"], {}),
        ("metric", ["sid ↓", "poly.indian-pines"], {}),
        ("perturbation", ["vignette weak", "vignette strong"], {}),
    ],
)
def test_page_followed_to_the_letter_ends_in_rows(tmp_path, fresh, forks, page, rows, changes):
    printed = follow(PAGES / f"{page}.md", tmp_path, fresh, forks, changes)
    # the last command ran without --plugin: only the installed package can have answered
    assert all(row in printed for row in rows), printed


@pytest.mark.parametrize("page", ["model", "dataset", "metric", "perturbation"])
def test_page_shows_the_example_as_it_is(page):
    name = "plugin" if page == "model" else page
    example = (ROOT / "examples" / f"{name}_one_file.py").read_text()
    assert f"```python\n{example}```" in (PAGES / f"{page}.md").read_text()


def test_the_model_example_is_short():
    assert len((ROOT / "examples" / "plugin_one_file.py").read_text().splitlines()) < 60
