"""Provenance: the commit is that of the checkout that holds the code, and of no other."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

from hsrzoo.models import complexity
from hsrzoo.utils import provenance


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "code.py").write_text("x = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    return tmp_path


def test_commit_and_dirty_flag_follow_the_working_tree(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert provenance.git_state(checkout / "package") == (commit, False)
    (checkout / "package" / "code.py").write_text("x = 2\n")
    assert provenance.git_state(checkout / "package") == (commit, True)


def test_new_sources_make_a_tree_dirty_and_other_files_do_not(checkout: Path) -> None:
    (checkout / "photo.png").write_bytes(b"x")
    assert provenance.git_state(checkout / "package")[1] is False
    (checkout / "new.py").write_text("x = 1\n")
    assert provenance.git_state(checkout / "package")[1] is True


def test_a_copy_installed_inside_somebodys_checkout_has_no_commit(checkout: Path) -> None:
    inner = checkout / ".venv" / "site-packages" / "package"
    inner.mkdir(parents=True)
    (inner / "code.py").write_text("x = 1\n")
    assert provenance.git_state(inner) == (None, None)


def test_outside_a_checkout_there_is_no_commit(tmp_path: Path) -> None:
    assert provenance.git_state(tmp_path / "nowhere") == (None, None)


def test_the_record_names_versions_device_and_threads() -> None:
    record = provenance.collect("cpu")
    assert record["torch"] == torch.__version__ and record["threads"] == torch.get_num_threads()
    assert record["device"] == "cpu" and record["device_name"]
    assert {"hsrzoo", "python", "numpy", "commit", "dirty", "processor"} <= record.keys()


def test_processors_of_one_name_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    core = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nstepping\t: 1\n"
    monkeypatch.setattr(Path, "read_text", lambda _: core + "\n" + core.replace("17", "18"))
    assert provenance.device_name("cpu") == "AMD EPYC"
    assert provenance.processor() == "family 25, model 17, stepping 1"
    monkeypatch.setattr(Path, "read_text", lambda _: "processor\t: 0\nCPU implementer\t: 0x41\n")
    assert provenance.processor() is None


def test_parameters_and_macs_match_hand_counts() -> None:
    module = torch.nn.Conv2d(3, 5, 3, padding=1)
    module.register_buffer("codes", torch.zeros(7, 2))
    module.bias.requires_grad_(False)
    assert complexity.size(module) == (3 * 5 * 9 + 5, 5, 14)
    assert complexity.macs(module, 8, 4) == 3 * 5 * 9 * 8 * 4
