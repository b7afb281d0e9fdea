"""The distribution holds what it needs: packages, data, entry points, weights, two commands."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from hsrzoo.colour.responses import response_names
from hsrzoo.models.names import parse_name
from hsrzoo.models.parts import stored
from hsrzoo.models.weights import read_config

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = {
    path.parent.name: path.parent
    for where in PROJECT["tool"]["setuptools"]["packages"]["find"]["where"]
    for path in (ROOT / where).glob("hsrzoo*/__init__.py")
}
ENTRY_POINTS = [
    (group, name, value)
    for group, entries in PROJECT["project"]["entry-points"].items()
    for name, value in entries.items()
]


def source_of(module: str) -> Path:
    """The file of a dotted module name, by the folders of the packages."""
    top, *rest = module.split(".")
    base = FOLDERS[top].joinpath(*rest)
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def tracked() -> list[Path]:
    """Files under version control."""
    done = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_every_folder_with_modules_is_a_package() -> None:
    assert len(FOLDERS) == 4
    for folder in FOLDERS.values():
        for path in folder.rglob("*.py"):
            assert (path.parent / "__init__.py").is_file(), f"{path.parent} lacks __init__.py"


def test_every_data_file_goes_into_the_wheel() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    covered = {
        path for name, globs in patterns.items() for glob in globs for path in FOLDERS[name].glob(glob)
    }
    ours = [p for p in tracked() if any(p.is_relative_to(f) for f in FOLDERS.values())]
    # a package's README is for readers of the repository
    left_out = [p for p in ours if p.suffix != ".py" and p.name != "README.md" and p not in covered]
    assert [str(p.relative_to(ROOT)) for p in left_out] == []


@pytest.mark.parametrize(
    ("group", "name", "value"), [e for e in ENTRY_POINTS if e[0] != "hsrzoo.weights"], ids=lambda x: str(x)
)
def test_entry_points_lead_to_something(group: str, name: str, value: str) -> None:
    module, _, attribute = value.partition(":")
    tree = ast.parse(source_of(module).read_text())
    bound: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign):
            bound.update(t.id for t in node.targets if isinstance(t, ast.Name))
            bound.update(e.id for t in node.targets if isinstance(t, ast.Tuple) for e in t.elts)  # type: ignore
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            bound.add(node.target.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            bound.add(node.name)
    assert attribute in bound


def test_tables_of_others_travel_with_their_notice() -> None:
    notice = (ROOT / "hsrzoo/data/LICENSE.colour-science").read_text()
    assert "Copyright 2013 Colour Developers" in notice and "Redistribution and use" in notice
    assert (ROOT / "hsrzoo/data/LICENSE.colour-science") in {
        path for glob in PROJECT["project"]["license-files"] for path in ROOT.glob(glob)
    }


WEIGHTS = PROJECT["project"]["entry-points"].get("hsrzoo.weights", {})


def test_declared_weights_and_folders_of_weights_agree() -> None:
    folders = {
        (path.parent.name, top)
        for top, folder in FOLDERS.items()
        for path in folder.glob("weights/*/config.json")
    }
    assert folders == set(WEIGHTS.items())


@pytest.mark.parametrize("name", sorted(WEIGHTS))
def test_bundled_weights_are_whole(name: str) -> None:
    folder = FOLDERS[WEIGHTS[name]] / "weights" / name
    config = read_config(folder)
    assert config["architecture"] == parse_name(name).arch
    assert config["weights_sha256"] == stored(folder, config).sha256
    assert config["training"] and (folder / "README.md").stat().st_size > 100
    assert config["training"]["dataset_info"]["response"] in response_names()


def test_default_weights_are_bundled() -> None:
    from hsrzoo.registry import MODELS

    defaults = {f"{n}.{MODELS.get(n).default_tag}" for n in MODELS.names() if MODELS.get(n).default_tag}
    assert defaults - set(WEIGHTS) == set()


def test_the_installed_version_is_this_one() -> None:
    assert version("hsrzoo") == PROJECT["project"]["version"]


def test_tracked_files_are_small() -> None:
    sizes = {str(p.relative_to(ROOT)): p.stat().st_size for p in tracked()}
    assert {name: size for name, size in sizes.items() if size > 20_000_000} == {}
    tensors = {name: size for name, size in sizes.items() if name.endswith(".safetensors")}
    assert sum(tensors.values()) < 60_000_000
    assert (
        max(size for name, size in tensors.items() if name.endswith("/uncertainty.safetensors")) < 300_000
    )


def test_no_file_names_a_machine_or_a_package_host() -> None:
    # put together here, so that this file does not hold them itself
    words = ["/ro" + "ot/", "/wo" + "rk/", "/tm" + "p/w/", "pypi" + ".org", "files.python" + "hosted"]
    pattern = re.compile("|".join(map(re.escape, words)))
    suffixes = {".py", ".toml", ".md", ".txt", ".csv", ".json", ""}
    texts = {p: p.read_text(encoding="utf-8", errors="replace") for p in tracked() if p.suffix in suffixes}
    for path in tracked():
        if path.suffix == ".safetensors":
            with path.open("rb") as file:  # its metadata: the length of the header, the header
                texts[path] = file.read(int.from_bytes(file.read(8), "little")).decode()
    found = [
        f"{p.relative_to(ROOT)}: {match.group()}"
        for p, text in texts.items()
        if (match := pattern.search(text))
    ]
    assert found == []


def test_the_readme_gives_the_two_commands_and_ci_runs_the_second() -> None:
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    assert "make bench" in readme and "make test" in readme
    # one row means nothing: beside it stand the network it is compared with and two floors
    models = "--model mcga-s2 --model mst-plus-plus --model linear --model mean-spectrum"
    assert f"bench {models} --dataset indian-pines" in makefile
    ci = ROOT / ".ci" / "run"
    assert os.access(ci, os.X_OK) and "make test" in ci.read_text()


def test_the_makefile_and_the_lock_file_name_what_pyproject_names() -> None:
    project, makefile = PROJECT["project"], (ROOT / "Makefile").read_text()
    extras = re.search(r"^EXTRAS \?= (.+)$", makefile, re.MULTILINE)
    assert extras and set(extras[1].split(",")) == set(project["optional-dependencies"]) - {"chart"}
    groups = PROJECT["dependency-groups"]
    wanted = [*project["dependencies"], *groups["test"], *groups["lint"]]
    wanted += [line for lines in project["optional-dependencies"].values() for line in lines]
    lock = (ROOT / "requirements.lock").read_text()
    locked = set(re.findall(r"^([\w.-]+)==", lock, re.MULTILINE))
    names = {re.match(r"[\w.-]+", line)[0].lower() for line in wanted}  # type: ignore[index]
    assert names - locked == set(), "run make lock"
    assert "://" not in lock


def test_workflows_pin_actions_and_test_the_versions_that_the_metadata_name() -> None:
    folder = ROOT / ".github" / "workflows"
    texts = {path.name: path.read_text() for path in folder.glob("*.yml")}
    assert set(texts) == {"tests.yml", "lint.yml", "docs.yml", "release.yml"}
    uses = [
        line.split("uses: ")[1] for text in texts.values() for line in text.splitlines() if "uses: " in line
    ]
    assert uses and all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", one) for one in uses)
    named = re.search(r"python: \[(.+)\]", texts["tests.yml"])
    assert named is not None
    versions = re.findall(
        r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text()
    )
    assert named[1].replace('"', "").split(", ") == versions
    assert PROJECT["project"]["requires-python"] == f">={versions[0]}"


def test_contributing_stays_short() -> None:
    """The map of the tree and the call paths apart, which grow with the code."""
    parts = (ROOT / "CONTRIBUTING.md").read_text().split("\n## ")
    rest = [part for part in parts if not part.startswith(("Map\n", "Call paths\n"))]
    assert len(rest) == len(parts) - 2
    assert len("\n## ".join(rest).splitlines()) < 60


def test_the_table_of_baselines_has_every_network_with_its_count() -> None:
    import torch

    from hsrzoo.bands import VISIBLE_31
    from hsrzoo.registry import MODELS
    from hsrzoo.spec import build_module

    table = (ROOT / "baselines" / "README.md").read_text()
    models = PROJECT["project"]["entry-points"]["hsrzoo.models"]
    ours = [n for n, v in models.items() if v.startswith("hsrzoo_baselines") and "floors" not in v]
    assert len(ours) > 15
    for name in ours:
        with torch.device("meta"):
            count = sum(p.numel() for p in build_module(MODELS.get(name), VISIBLE_31, {}).parameters())
        (row,) = (line for line in table.splitlines() if line.startswith(f"| `{name}` |"))
        assert f"| {count:,} / " in row
