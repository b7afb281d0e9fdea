"""The wheel and the source distribution: what is in them, and that a fresh environment can use them.

Built from the files under version control, without a network; what hsrzoo needs is seen in the environment
that runs the tests. The descriptions of the release (CITATION.cff, CHANGELOG.md) are checked beside them.
"""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email.message import Message
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from waiting import LONG

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
VERSION = PROJECT["project"]["version"]
FOLDERS = {
    path.parent.name: path.parent.relative_to(ROOT).as_posix()
    for where in PROJECT["tool"]["setuptools"]["packages"]["find"]["where"]
    for path in (ROOT / where).glob("hsrzoo*/__init__.py")
}
LOADED = "/mcga-s2.cave/"
"""The weights that the fresh environment uses."""
LIMIT = 100_000_000
"""Bytes that the Python Package Index takes in one file."""


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """Files under version control that are there."""
    done = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def built(tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of both: the source distribution from a copy of the tree, the wheel from the former.

    Weights that no test loads are empty in the copy: compressing them would take most of the time.
    """
    pytest.importorskip("build", reason="needs build")
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for name in tracked:
        if name.startswith(("records/", "runs/", "results/")):
            continue
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".safetensors") and LOADED not in name:
            (tree / name).touch()
        else:
            shutil.copyfile(ROOT / name, tree / name)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(tree)],
        capture_output=True, text=True, timeout=LONG,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def sdist(built: Path) -> Path:
    (path,) = built.glob("*.tar.gz")
    return path


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        return email.message_from_string(archive.read(f"hsrzoo-{VERSION}.dist-info/METADATA").decode())


def in_packages(tracked: list[str]) -> set[str]:
    """What a wheel should hold: all files of the packages but the READMEs that are for readers of the
    repository."""
    return {
        f"{package}/{name.removeprefix(f'{folder}/')}"
        for package, folder in FOLDERS.items()
        for name in tracked
        if name.startswith(f"{folder}/") and name != f"{folder}/README.md"
    }


def test_the_wheel_made_from_the_source_distribution_has_all_files_of_the_packages_and_no_others(
    wheel: Path, tracked: list[str]
) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    own = {name for name in names if not name.startswith(f"hsrzoo-{VERSION}.dist-info/")}
    assert own == in_packages(tracked)
    for part in ("weights/mcga-s2.cave/model.safetensors", "py.typed"):
        assert f"hsrzoo_mcga/{part}" in own
    assert {
        "hsrzoo/data/cie-1931.csv",
        "hsrzoo_benchmark/paper/reported.csv",
        "hsrzoo/viewer/page.html",
    } <= own
    assert {"hsrzoo_benchmark/studies/headline.toml", "hsrzoo_benchmark/site/page.html"} <= own
    notices = {
        f"hsrzoo-{VERSION}.dist-info/licenses/{n}"
        for n in ("LICENSE", "hsrzoo/data/LICENSE.colour-science")
    }
    assert notices <= names
    assert not [n for n in names if n.startswith(("tests", "records", "runs", "docs", "examples"))]


def test_the_source_distribution_tells_how_to_cite_it_and_what_changed(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "pyproject.toml"} <= names
    assert {"docs/results.md", "docs/tables.md", "examples/demo.py"} <= names  # the README leads there
    assert not [name for name in names if name.startswith(("tests/", "records/", "runs/"))]


def test_both_are_small_enough_for_the_package_index(sdist: Path) -> None:
    """The files before compression are what the wheel has and more."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    files = [path for path in map(ROOT.joinpath, names) if path.is_file()]
    assert len(files) > 500 and sum(path.stat().st_size for path in files) < LIMIT


def test_metadata_say_what_pyproject_says(metadata: Message) -> None:
    project = PROJECT["project"]
    assert metadata["Version"] == VERSION and metadata["Requires-Python"] == project["requires-python"]
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert str(metadata.get_payload()).strip() == (ROOT / "README.md").read_text().strip()
    needs = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert len(needs) == len(project["dependencies"])
    assert set(metadata.get_all("Provides-Extra", [])) == set(project["optional-dependencies"])
    assert metadata.get_all("Project-URL", []) == []  # there is no public page yet


@pytest.fixture(scope="module")
def fresh(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a new environment with the wheel, which sees this one's packages behind its own."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
        pytest.skip("needs pip")
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder, with_pip=False)
    (inside,) = folder.glob("lib/python*/site-packages")
    seen = dict.fromkeys(sysconfig.get_paths()[key] for key in ("purelib", "platlib"))
    (inside / "behind.pth").write_text(
        "\n".join(seen) + "\n"
    )  # as paths: an editable install is not followed
    install = ["install", "--quiet", "--no-deps", "--no-index", "--ignore-installed", str(wheel)]
    python = str(folder / "bin" / "python")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, *install], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "bin"


def test_a_fresh_environment_goes_from_a_photograph_to_a_page(fresh: Path, tmp_path: Path) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HSRZOO", "PYTHON"))}
    env |= {"OMP_NUM_THREADS": "1", "PATH": f"{fresh}{os.pathsep}{env['PATH']}"}

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=LONG)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = run(str(fresh / "python"), "-c", "import hsrzoo; print(hsrzoo.__file__)").strip()
    assert Path(where).is_relative_to(fresh.parent)
    assert run("hsrzoo", "--version") == f"hsrzoo {VERSION}\n"
    listed = run("hsrzoo", "list", "--pretrained")
    assert all(name in listed for name in PROJECT["project"]["entry-points"]["hsrzoo.weights"])

    picture = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "photo.png")
    run("hsrzoo", "predict", "photo.png", "--model", "mcga-s2", "-o", "photo.hdr")
    header = (tmp_path / "photo.hdr").read_text()
    assert re.search(r"bands\s*=\s*31\b", header) and "wavelength" in header
    assert (tmp_path / "photo.img").stat().st_size == 24 * 32 * 31 * 4
    run("hsrzoo", "view", "photo.hdr", "photo.png", "-o", "photo.html")
    assert (tmp_path / "photo.html").read_text().lstrip().lower().startswith("<!doctype html>")


def test_the_changelog_begins_with_this_version() -> None:
    headings = re.findall(r"^## \[(.+?)\] - (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0][0] == VERSION
    assert all(re.fullmatch(r"unreleased|\d{4}-\d\d-\d\d", date) for _, date in headings)


def test_the_citation_is_one_of_this_version() -> None:
    """The required fields of version 1.2.0 of the format, and what would be invented."""
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0" and cited["type"] == "software"
    assert cited["version"] == VERSION and cited["license"] == PROJECT["project"]["license"]
    assert cited["message"] and cited["abstract"] and cited["title"].startswith("hsrzoo")
    assert cited["authors"] == [{"name": "hsrzoo contributors"}]
    known = {"type", "title", "authors", "year", "notes", "doi", "license", "version"}
    known |= {"collection-title", "institution", "publisher"}
    kinds = {"article", "conference-paper", "data", "report"}
    for reference in cited["references"]:
        assert set(reference) <= known and reference["type"] in kinds and reference["title"]
        assert all(set(a) <= {"family-names", "name-particle", "name"} for a in reference["authors"])
        assert isinstance(reference["year"], int)
    told = (ROOT / "hsrzoo" / "datasets").glob("*.py")
    sources = "".join(path.read_text() for path in told)
    assert all(r["doi"] in sources for r in cited["references"] if "doi" in r)
