"""The tutorial pages, followed to the letter: every file is written, every command run, in order.

In a fresh environment of their own, into which the tutorials' packages are really installed; it sees
hsrzoo and what it needs in the environment that runs the tests, so that nothing is downloaded.
"""

from __future__ import annotations

import os
import re
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from waiting import LONG

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "plugins"
BLOCK = re.compile(r"(?:`(?P<file>[\w.]+)`:\n\n)?```(?P<kind>python|toml|sh)\n(?P<text>.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> dict[str, str]:
    """Variables of a shell in an environment that knows hsrzoo, and in which pip stays offline."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    (inside,) = folder.glob("lib/python*/site-packages")
    for old in inside.glob("setuptools*"):  # Python 3.11 brings one from before PEP 639; the tests' is new
        shutil.rmtree(old)
    lines = [f"import site; site.addsitedir({path!r})" for path in site.getsitepackages()]
    (inside / "zz-hsrzoo.pth").write_text("\n".join(lines) + "\n")
    script = folder / "bin" / "hsrzoo"
    script.write_text(f"#!{python}\nfrom hsrzoo.cli.main import main\nmain()\n")
    script.chmod(0o755)
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith(("HSRZOO", "PYTHON"))},
        "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip's own spelling of: do not isolate
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "COLUMNS": "200",
    }


def script_of(page: Path) -> str:
    """One shell script that does what the page says."""
    parts = ["set -eu"]
    for block in BLOCK.finditer(page.read_text()):
        if block["kind"] == "sh":
            parts.append(block["text"])
        else:
            assert block["file"], f"a block of {page.name} without a file name"
            parts.append(f"cat > {block['file']} <<'END_OF_FILE'\n{block['text']}END_OF_FILE")
    return "\n".join(parts)


@pytest.mark.skipif(sys.platform == "win32", reason="the pages are written for a POSIX shell")
@pytest.mark.parametrize(
    ("page", "rows"),
    [
        ("model", ["local-dir:runs/tiny-net-indian-pines/weights", "linear.indian-pines", "tiny-net"]),
        ("dataset", ["poly.cave", "linear.cave", "test: 2"]),
        ("metric", ["sid ↓", "poly.indian-pines"]),
        ("perturbation", ["vignette weak", "vignette strong"]),
    ],
)
def test_page_followed_to_the_letter_ends_in_rows(tmp_path, fresh, page, rows):
    done = subprocess.run(
        ["bash", "-c", script_of(PAGES / f"{page}.md")],
        cwd=tmp_path,
        env=fresh,
        capture_output=True,
        text=True,
        timeout=LONG,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # the last command ran without --plugin: only the installed package can have answered
    assert all(row in done.stdout for row in rows), done.stdout


@pytest.mark.parametrize("page", ["model", "dataset", "metric", "perturbation"])
def test_page_shows_the_example_as_it_is(page):
    name = "plugin" if page == "model" else page
    example = (ROOT / "examples" / f"{name}_one_file.py").read_text()
    assert f"```python\n{example}```" in (PAGES / f"{page}.md").read_text()


def test_the_model_example_is_short():
    assert len((ROOT / "examples" / "plugin_one_file.py").read_text().splitlines()) < 60
