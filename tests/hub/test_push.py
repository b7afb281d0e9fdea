"""``hsrzoo push`` end to end: the real client in processes of their own against a Hub on loopback."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hsrzoo
import result_rows
from conftest import RunHsrzoo
from hsrzoo.hub.card import BEGIN, END
from hsrzoo.models.locate import folder_of
from hsrzoo.models.names import parse_name
from hsrzoo.models.weights import read_config
from push_worker import Result, Worker

HubServer = Any  # of this folder's conftest, which is no module to import
NAME, OTHER = "linear.indian-pines", "poly.indian-pines"
FOLDER = folder_of(parse_name(NAME))
TOKENS = ("hf_Alice", "hf_Bob", "hf_Nobody")
Push = Callable[..., Result]


@pytest.fixture
def push(worker: Worker, hub: HubServer, tmp_path: Path) -> Push:
    """``push("lab/x", "--public", name=..., user=...)`` runs in ``tmp_path``; no output holds a token."""

    def run(
        repo: str, *options: object, name: str = NAME, user: str | None = "alice", debug: bool = False
    ) -> Result:
        env = {"HF_TOKEN": hub.env(user)["HF_TOKEN"]}
        first = ["--debug"] if debug else []
        found = worker(tmp_path, env, *first, "push", name, repo, *options)
        assert not any(token in found.out + found.err for token in TOKENS)
        return found

    return run


def rows(name: str = NAME, value: float = 0.25, **changes: Any) -> list[dict[str, Any]]:
    """Rows of four scenes that belong to the weights called ``name``."""
    sha = read_config(folder_of(parse_name(name)))["weights_sha256"]
    identity = hsrzoo.load(name).identity
    changes = {"protocol_hash": "abcdef012345" + "0" * 52, "bench": "accuracy", **changes}
    changes |= {"weights_sha256": sha, "model_sha256": identity}
    return result_rows.rows(name, [value] * 4, **changes)


def files(hub: HubServer, repo: str, revision: str = "main") -> dict[str, str]:
    """Path -> sha256 of what a branch holds."""
    return {path: file["sha256"] for path, file in hub.commits(repo, revision)[0]["files"].items()}


def fetched(hub: HubServer, repo: str, path: str, revision: str = "main") -> str:
    """A file's text, asked for without the client."""
    address = f"{hub.url}/{repo}/resolve/{revision.replace('/', '%2F')}/{path}"
    token = hub.env()["HF_TOKEN"]
    with urllib.request.urlopen(
        urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})
    ) as f:
        return f.read().decode()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ------------------------------------------------------------------ what is pushed


def test_a_push_is_one_commit_in_a_private_repository_and_the_same_again_is_none(
    hub: HubServer, run_hsrzoo: RunHsrzoo, push: Push, tmp_path: Path
) -> None:
    result_rows.write(tmp_path / "results", rows(), rows(OTHER, value=0.5))
    first = run_hsrzoo("push", NAME, "lab/linear-pines", env=hub.env())
    assert first.returncode == 0, first.stderr
    history = hub.commits("lab/linear-pines")
    assert [commit["title"] for commit in history][1:] == ["initial commit"]
    assert first.stdout == f"{hub.url}/lab/linear-pines/commit/{history[0]['oid']}\n"
    assert "Created the private repository" in first.stderr
    assert hub.repo("lab/linear-pines")["private"] is True
    held = files(hub, "lab/linear-pines")
    assert sorted(held) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "results/full-frame_abcdef012345.jsonl",
    ]
    for name in ("config.json", "model.safetensors"):
        assert held[name] == sha256(FOLDER / name), "the bytes of the folder, unchanged"
    lines = fetched(hub, "lab/linear-pines", "results/full-frame_abcdef012345.jsonl").splitlines()
    assert [json.loads(line) for line in lines] == rows()
    card = fetched(hub, "lab/linear-pines", "README.md")
    assert "RMSE, full-frame, hash abcdef012345, mean of 4 scenes" in card

    again = push("lab/linear-pines")
    assert (again.code, again.out) == (0, first.stdout)
    assert "no commit" in again.err
    (tmp_path / "results").rename(tmp_path / "elsewhere")
    assert push("lab/linear-pines").out == first.stdout, "rows that are published stay without their store"
    assert len(hub.commits("lab/linear-pines")) == 2


def test_a_store_is_pushed_as_a_data_set_and_published_rows_stay(
    hub: HubServer, push: Push, tmp_path: Path
) -> None:
    dirty = {"commit": "0123456789abcdef", "dirty": True}
    mine = result_rows.rows("linear.cave", [0.1, 0.3])
    result_rows.write(tmp_path / "mine", mine, result_rows.rows("poly.cave", [0.5], provenance=dirty))
    first = push("lab/rows", "--dataset", name="mine")
    assert first.code == 0, first.err
    assert "Left out: 1 rows made by code" in first.err and "Rows: 2 in" in first.err
    assert hub.repo("datasets/lab/rows")["private"] is True
    (path,) = {path for path in files(hub, "datasets/lab/rows") if path.endswith(".jsonl")}
    lines = fetched(hub, "datasets/lab/rows", path).splitlines()
    assert [json.loads(line) for line in lines] == mine, "as they are stored"
    card = fetched(hub, "datasets/lab/rows", "README.md")
    assert f"config_name: {path.partition('/')[0]}" in card and "hf download lab/rows" in card
    assert "| cave/valid, full-frame | linear.cave | 2 | 0.2 |" in card
    assert "no commit" in push("lab/rows", "--dataset", name="mine").err

    result_rows.write(tmp_path / "theirs", result_rows.rows("linear.cave", [0.1, 0.3], day=2))
    assert push("lab/rows", "--dataset", name="theirs").code == 0
    assert len(fetched(hub, "datasets/lab/rows", path).splitlines()) == 4
    nothing = push("lab/rows-2", "--dataset", name="none")
    assert nothing.code == 2 and "holds no rows that can be published" in nothing.err


def test_the_pushed_model_gives_the_same_cube_elsewhere(
    hub: HubServer, push: Push, client: Callable[..., Any]
) -> None:
    url = push("lab/linear-pines").out.strip()
    code = """
import hsrzoo, numpy as np
rgb = np.random.default_rng(5).random((3, 9, 11), dtype=np.float32)
np.save("cube.npy", hsrzoo.load("hf-hub:lab/linear-pines@{}", device="cpu").predict(rgb)); print("done")
"""
    there = client(hub.env(home="elsewhere"), code.format(url.rpartition("/")[2]))
    assert there.stdout == "done\n", there.stderr
    rgb = np.random.default_rng(5).random((3, 9, 11), dtype=np.float32)
    here = hsrzoo.load(NAME, device="cpu").predict(rgb)
    cube = np.load(hub.folder.parent / "cube.npy")
    assert np.array_equal(cube, here)


def test_the_card_is_merged_and_keeps_what_its_owner_wrote(
    hub: HubServer, push: Push, client: Callable[..., Any], tmp_path: Path
) -> None:
    push("lab/a")
    edit = """
from huggingface_hub import HfApi, hf_hub_download
text = open(hf_hub_download("lab/a", "README.md")).read()
text = text.replace("---\\n", "---\\nlanguage: 'en'  # of the text\\n", 1)
text = text.replace("- linear\\n", "- linear\\n- field-work\\n", 1)
text = text.replace("# a", "# a, edited where push writes") + "\\n## Field notes\\n\\nTaken at noon.  \\n"
HfApi().upload_file(path_or_fileobj=text.encode(), path_in_repo="README.md", repo_id="lab/a")
"""
    assert client(hub.env(), edit).returncode == 0
    result_rows.write(tmp_path / "results", rows())
    assert push("lab/a").code == 0
    card = fetched(hub, "lab/a", "README.md")
    assert card.startswith("---\nlanguage: 'en'  # of the text\nlibrary_name: hsrzoo\n")
    assert "\n- field-work\n" in card
    assert "edited where push writes" not in card and "\n# a\n" in card
    assert card.endswith(f"{END}\n\n## Field notes\n\nTaken at noon.  \n")
    assert card.count(BEGIN) == 1
    assert "abcdef012345" in card, "the new figures are in"
    commits = len(hub.commits("lab/a"))
    push("lab/a")
    assert len(hub.commits("lab/a")) == commits


def test_rows_of_weights_that_are_replaced_go_in_the_same_commit(
    hub: HubServer, push: Push, tmp_path: Path
) -> None:
    store = result_rows.write(
        tmp_path / "rows", rows(), rows(condition=("gamma", "e=0.9"), protocol_hash="9" * 64)
    )
    push("lab/a", "--store", store)
    assert {path for path in files(hub, "lab/a") if path.startswith("results/")} == {
        "results/full-frame_abcdef012345.jsonl",
        "results/full-frame_gamma_e-0.9_999999999999.jsonl",
    }
    before = len(hub.commits("lab/a"))
    other = push("lab/a", "--store", store, name=OTHER)
    assert "deleted  results/full-frame_abcdef012345.jsonl" in other.err
    assert len(hub.commits("lab/a")) == before + 1
    assert sorted(files(hub, "lab/a")) == ["README.md", "config.json", "model.safetensors"]
    assert "abcdef012345" not in fetched(hub, "lab/a", "README.md")


def test_rows_of_uncommitted_code_stay_at_home(hub: HubServer, push: Push, tmp_path: Path) -> None:
    dirty = rows(provenance={"commit": "a", "dirty": True})
    found = push("lab/a", "--store", result_rows.write(tmp_path / "rows", dirty))
    assert "Left out: 4 rows made by code with changes that were not committed" in found.err
    assert not any(path.startswith("results/") for path in files(hub, "lab/a"))


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        (b"\xef\xbb\xbf---\r\nlanguage: en\r\n---\r\nMine.\r\n", None),
        (b"---\nlanguage: en\n---\n\xff\xfe", "is not UTF-8"),
        (f"{BEGIN}\nno end".encode(), "marked block is damaged"),
        (b"---\nlanguage: [en\n---\n", "cannot be read as YAML"),
    ],
)
def test_a_card_that_cannot_be_merged_is_not_overwritten(
    hub: HubServer, push: Push, card: bytes, expected: str | None
) -> None:
    hub.put("lab/a", {"README.md": card})
    found = push("lab/a")
    if expected is None:
        text = fetched(hub, "lab/a", "README.md")
        assert text.startswith("---\r\nlanguage: en\r\nlibrary_name: hsrzoo\r\n") and "Mine." in text
        assert "no commit" in push("lab/a").err
    else:
        assert found.code == 2 and expected in found.err
        assert files(hub, "lab/a") == {"README.md": hashlib.sha256(card).hexdigest()}


# ------------------------------------------------------------------ branches, pull requests, visibility


def test_a_pull_request_and_a_branch_leave_the_main_one_alone(hub: HubServer, push: Push) -> None:
    push("lab/a")
    (before, *_) = hub.commits("lab/a")
    request = push("lab/a", "--create-pr", name=OTHER)
    assert request.out == f"{hub.url}/lab/a/discussions/1\n"
    assert files(hub, "lab/a", "refs/pr/1")["config.json"] == sha256(
        folder_of(parse_name(OTHER)) / "config.json"
    )
    branch = push("lab/a", "--revision", "second", "--message", "Poly beside it", name=OTHER)
    assert branch.code == 0, branch.err
    newest = hub.commits("lab/a", "second")[0]
    assert (newest["title"], newest["parent"]) == ("Poly beside it", before["oid"])
    assert 'hsrzoo.load("hf-hub:lab/a@second")' in fetched(hub, "lab/a", "README.md", "second")
    assert hub.commits("lab/a")[0] == before
    again = push("lab/a", "--revision", "second", name=OTHER)
    assert "no commit" in again.err
    assert push("lab/a", "--revision", "x", "--create-pr").code == 2
    assert "'a b' is not a valid revision" in push("lab/a", "--revision", "a b").err


def test_visibility_is_chosen_once_and_never_changed(hub: HubServer, push: Push) -> None:
    assert "Created the public repository" in push("lab/open", "--public").err
    assert hub.repo("lab/open")["private"] is False
    assert "exists and is public" in push("lab/open", name=OTHER).err
    assert hub.repo("lab/open")["private"] is False
    push("lab/closed")
    assert "exists and stays private" in push("lab/closed", "--public", name=OTHER).err
    assert hub.repo("lab/closed")["private"] is True
    assert not hub.requests("PUT", "/settings")


def test_a_dry_run_says_what_would_be_pushed_and_writes_nothing(hub: HubServer, push: Push) -> None:
    found = push("lab/a", "--dry-run")
    assert (found.code, found.out) == (0, "")
    assert "Would create the private repository lab/a" in found.err
    assert "new      model.safetensors" in found.err
    push("lab/b")
    found = push("lab/b", "--dry-run", name=OTHER)
    assert "changed  config.json" in found.err and len(hub.commits("lab/b")) == 2
    writing = {r["path"] for r in hub.requests() if r["method"] not in ("GET", "HEAD")}
    assert not any("lab/a" in path for path in writing)
    assert not hub.requests("GET", "/lab/a/resolve")


# ------------------------------------------------------------------ what goes wrong


@pytest.mark.parametrize(
    ("user", "repo", "expected"),
    [
        ("wrong", "lab/a", "does not accept this token"),
        (None, "lab/a", "no token for the Hub"),
        ("bob", "lab/a", "has no permission for this on lab/a"),
        ("alice", "lab/my model", "is not the name of a repository on the Hub.*For example lab/my-model"),
        ("alice", "model", "is not the name of a repository"),
    ],
)
def test_who_may_not_push_is_told_so_and_nothing_is_made(
    hub: HubServer, push: Push, user: str | None, repo: str, expected: str
) -> None:
    found = push(repo, user=user, debug=True)
    assert (found.code, found.out) == (2, "")
    (said,) = (line for line in found.err.splitlines() if line.startswith("Error: "))
    assert re.search(expected, said)
    made = [r for r in hub.requests("POST") if r["status"] < 400]
    assert not made


def test_a_stranger_cannot_write_to_a_public_repository(hub: HubServer, push: Push) -> None:
    push("lab/open", "--public")
    found = push("lab/open", name=OTHER, user="bob")
    assert found.code == 2 and "This token has no permission for this on lab/open" in found.err
    assert len(hub.commits("lab/open")) == 2


def test_an_upload_that_breaks_off_leaves_no_commit_and_the_next_one_succeeds(
    hub: HubServer, push: Push
) -> None:
    hub.fault("drop", "/_lfs/", method="PUT", after=100, times=50)
    found = push("lab/a", debug=True)
    assert (found.code, found.out) == (2, "")
    assert "Error: The upload to lab/a was interrupted." in found.err
    assert [commit["files"] for commit in hub.commits("lab/a")] == [{}]
    hub.mend()
    assert push("lab/a").code == 0
    assert files(hub, "lab/a")["model.safetensors"] == sha256(FOLDER / "model.safetensors")
    hub.fault("drop", "/commit/", method="POST", times=50)
    assert push("lab/a", name=OTHER).code == 2
    hub.mend()
    assert len(hub.commits("lab/a")) == 2, "the commit was not made in part"


def test_a_commit_that_came_in_between_is_not_overwritten(
    hub: HubServer, push: Push, client: Callable[..., Any]
) -> None:
    push("lab/a")
    code = """
from hsrzoo.hub import client, push
from hsrzoo.errors import HubError
before = client.state("lab/a")
client.commit("lab/a", {"README.md": b"Somebody else's.\\n"}, "theirs")
try:
    push.publish(push.Target("lab/a"), {"config.json": b"{}"}, {}, "ours", before)
except HubError as error:
    print(error)
"""
    found = client(hub.env(), code)
    assert "lab/a changed in the meantime" in found.stdout, found.stderr
    assert hub.commits("lab/a")[0]["title"] == "theirs"


def test_a_hub_that_is_down_is_told_so(run_hsrzoo: RunHsrzoo, hub: HubServer) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    found = run_hsrzoo("push", NAME, "lab/a", env={**hub.env(), "HF_ENDPOINT": nobody})
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("Error: The Hub does not answer")
    assert found.stderr.count("\n") == 1


def test_no_token_is_in_anything_that_was_written_or_pushed(
    hub: HubServer, push: Push, tmp_path: Path, worker_home: Path
) -> None:
    result_rows.write(tmp_path / "results", rows(OTHER))
    for name, user in ((NAME, "alice"), (OTHER, "bob"), (OTHER, "wrong"), (OTHER, "alice")):
        push("lab/a", name=name, user=user, debug=True)
    assert len(hub.commits("lab/a")) == 3
    texts = [
        path.read_bytes()
        for folder in (tmp_path, worker_home)
        for path in folder.rglob("*")
        if path.is_file()
    ]
    texts += [
        fetched(hub, "lab/a", path).encode() for path in files(hub, "lab/a") if "safetensors" not in path
    ]
    assert len(texts) > 5
    assert not any(token.encode() in text for token in TOKENS for text in texts)
