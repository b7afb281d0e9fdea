"""``hsrzoo data``: exit codes, what is printed, and the choice of the data root."""

from __future__ import annotations

import hashlib
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from hsrzoo.cli.data import command
from hsrzoo.datasets import data_root as root_of
from hsrzoo.datasets import open_dataset
from hsrzoo.errors import DatasetMissingError
from hsrzoo.registry import DATASETS
from hsrzoo.spec import DatasetSpec
from make_fixtures import make_arad_tree, make_cave_tree


def invoke(*arguments, **kwargs):
    return CliRunner().invoke(command, list(map(str, arguments)), **kwargs)


def test_list_tells_present_from_absent(tmp_path):
    make_cave_tree(tmp_path)
    make_arad_tree(tmp_path, height=8, width=8)
    (tmp_path / "arad/split_txt/train_list.txt").unlink()
    done = invoke("list", "--data-root", tmp_path, "--json")
    rows = {row["name"]: row["state"] for row in json.loads(done.stdout)}
    assert rows["cave"] == "present" and rows["indian-pines"] == "present"
    assert rows["folder"] == "absent" and rows["arad"] == "incomplete"


def test_list_survives_a_broken_data_set(tmp_path, monkeypatch):
    def broken(root):
        raise ValueError("a plugin's mistake")

    for name, opener in (("spoilt", broken), ("vanished", "no_such_package:open")):
        spec = DatasetSpec(name, opener, "t", "w", "l")
        monkeypatch.setitem(DATASETS._values, name, spec)
    done = invoke("list", "--data-root", tmp_path, "--json")
    rows = {row["name"]: row["state"] for row in json.loads(done.stdout)}
    assert done.exit_code == 0
    assert (rows["spoilt"], rows["vanished"], rows["indian-pines"]) == ("broken", "broken", "present")


def test_verify_prints_the_facts(tmp_path):
    make_cave_tree(tmp_path)
    done = invoke("verify", "cave", "--data-root", tmp_path, "--json")
    facts = json.loads(done.stdout)
    assert done.exit_code == 0
    assert facts["scenes"] == {"train": 2, "valid": 2} and facts["shapes"] == {"31 x 24 x 32": 4}
    assert facts["centres_nm"] == [400.0 + 10 * i for i in range(31)] and facts["problems"] == []
    table = invoke("verify", "cave", "--data-root", tmp_path)
    assert facts["fingerprint"] in table.stdout and "400-700 nm" in table.stdout


def test_the_checksum_is_of_the_bytes_wherever_the_files_lie(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    make_cave_tree(one)
    make_cave_tree(other)
    (other / "cave").rename(other / "inner")
    (other / "cave").mkdir()
    (other / "inner").rename(other / "cave" / "unpacked")
    told = invoke("verify", "cave", "--data-root", one)
    assert re.search(r"Compare with others: cave, \d+ files, checksum [0-9a-f]{16}\n", told.stderr)
    printed = [invoke("verify", "cave", "--data-root", root, "--json").stdout for root in (one, other)]
    facts = list(map(json.loads, printed))
    assert facts[0]["checksum"] == facts[1]["checksum"] and facts[0]["checksum"] in told.stdout
    path, digest = next(iter(facts[0]["files"].items()))
    assert hashlib.sha256((one / "cave" / path).read_bytes()).hexdigest() == digest
    file = one / "cave" / path
    file.write_bytes(file.read_bytes() + b"x")
    changed = json.loads(invoke("verify", "cave", "--data-root", one, "--json").stdout)
    assert changed["checksum"] != facts[0]["checksum"]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (
            "cave",
            ["Size: 32 scenes of 512 x 512", "Mirrors (not checked): https://", "--data-root '{root}'"],
        ),
        ("enmap", ["Then run: hsrzoo data verify enmap --data-option 'path={root}/enmap'"]),
        ("icvl", ["Size: 202 scenes", "Then run: hsrzoo data verify icvl --data-root '{root}'"]),
    ],
)
def test_a_missing_set_says_what_to_expect_and_what_to_run_next(tmp_path, name, parts):
    root = tmp_path / "my data"
    with pytest.raises(DatasetMissingError) as error:
        open_dataset(name, root)
    assert [part for part in parts if part.format(root=root) not in str(error.value)] == []


def test_sizes_that_are_computed_follow_from_the_shape():
    shape = r"^(\d+) .*?(\d+) x (\d+) pixels and (\d+) bands, (\d+) GB as (float32|int16) by its shape"
    found = [re.search(shape, DATASETS.get(name).size.replace("public ", "")) for name in DATASETS.names()]
    products = [match.groups() for match in found if match]
    assert len(products) == 4
    for *shape, stated, dtype in products:
        count = math.prod(map(int, shape)) * (4 if dtype == "float32" else 2)
        assert round(count / 1e9) == int(stated), shape


def test_verify_leaves_with_one_when_a_file_is_damaged(tmp_path):
    make_cave_tree(tmp_path)
    (tmp_path / "cave/train/cd_ms/cd_ms/cd_ms_31.png").write_bytes(b"")
    done = invoke("verify", "cave", "--data-root", tmp_path, "--json")
    assert done.exit_code == 1
    assert "cd_ms_31.png" in json.loads(done.stdout)["problems"][0]


def test_verify_has_no_range_where_no_scene_could_be_read(tmp_path):
    make_cave_tree(tmp_path)
    for file in (tmp_path / "cave").rglob("*_31.png"):
        file.write_bytes(b"")
    facts = json.loads(invoke("verify", "cave", "--data-root", tmp_path, "--json").stdout)
    assert facts["cube range"] is None and facts["rgb range"] is None and facts["shapes"] == {}
    lines = invoke("verify", "cave", "--data-root", tmp_path).stdout.splitlines()
    assert [line.split() for line in lines if "range" in line] == [
        ["cube", "range", "none"], ["rgb", "range", "none"]
    ]  # fmt: skip


def test_verify_passes_options_on(tmp_path):
    done = invoke("verify", "indian-pines", "--data-option", "bands=all", "--json")
    assert json.loads(done.stdout)["bands"] == "200 bands, 400.02-2498.96 nm"
    assert invoke("verify", "indian-pines", "--data-option", "bands").exit_code == 2


def test_absent_raises_with_exit_code_two(tmp_path):
    done = invoke("verify", "cave", "--data-root", tmp_path)
    assert isinstance(done.exception, DatasetMissingError) and done.exception.exit_code == 2


def test_the_console_script_prints_one_paragraph(run_hsrzoo, tmp_path):
    done = run_hsrzoo("data", "verify", "arad", "--data-root", tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert "Traceback" not in done.stderr and str(tmp_path / "arad") in done.stderr


def test_list_imports_no_torch(monkeypatch):
    monkeypatch.delenv("HSRZOO_DATA", raising=False)  # opening a set that is there may read a .mat file
    code = (
        "import sys; from click.testing import CliRunner; from hsrzoo.cli.data import command; "
        "r = CliRunner().invoke(command, ['list', '--json']); "
        "print(r.exit_code, [m for m in ('torch', 'timm', 'tensorly', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0 []"


def test_the_root_is_the_option_then_the_variable_then_the_platforms_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HSRZOO_DATA", str(tmp_path / "variable"))
    assert root_of(tmp_path / "option") == tmp_path / "option"
    assert root_of(None) == tmp_path / "variable"
    monkeypatch.delenv("HSRZOO_DATA")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert root_of() == tmp_path / "xdg" / "hsrzoo"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert root_of() == Path.home() / ".local" / "share" / "hsrzoo"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert root_of() == Path.home() / "Library" / "Application Support" / "hsrzoo"


@pytest.mark.parametrize("relative", ["data", "./data"])
def test_a_relative_root_becomes_absolute(tmp_path, monkeypatch, relative):
    monkeypatch.chdir(tmp_path)
    assert root_of(relative) == tmp_path / "data"
