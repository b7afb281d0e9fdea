"""Pulling from the Hub with the real client: what arrives, where it is used, what is not fetched twice."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import hsrzoo
from hsrzoo.errors import HubError
from hsrzoo.hub.client import origin_of, require_repo
from waiting import wait_until

FORWARD = """
import numpy as np
import torch
import hsrzoo
torch.set_num_threads(1)
rgb = np.random.default_rng(0).random((20, 24, 3), dtype=np.float32)
for i, name in enumerate({names!r}):
    model = hsrzoo.load(name, device="cpu")
    np.save(f"cube-{{i}}.npy", model(rgb).cube)
    print(model.name)
"""


def fetched(hub) -> list[str]:
    """Paths of all contents that the server has sent."""
    gets = [r for r in hub.requests("GET") if "/resolve/" in r["path"] or "/_lfs/" in r["path"]]
    return [r["path"] for r in gets if r.get("status") in (200, 206)]


def test_weights_pulled_elsewhere_give_the_same_cube_bit_for_bit(hub, client, weights, tmp_path) -> None:
    linear = hub.put("lab/linear-cave", weights("linear.cave"))
    mcga = hub.put("lab/mcga", weights("mcga-s2.cave"), revision="next")
    pairs = {
        "hf-hub:lab/linear-cave": "linear.cave",
        f"hf-hub:lab/linear-cave@{linear}": "linear.cave",
        "hf-hub:lab/mcga@next": "mcga-s2.cave",
        "hf-hub:lab/mcga@next:permuted": "mcga-s2.cave:permuted",
    }
    done = client(hub.env(home="elsewhere"), FORWARD.format(names=list(pairs)))
    assert done.returncode == 0, done.stderr
    pinned = f"hf-hub:lab/mcga@{mcga}"  # the name keeps the commit
    assert done.stdout.split() == [*[f"hf-hub:lab/linear-cave@{linear}"] * 2, pinned, f"{pinned}:permuted"]
    rgb = np.random.default_rng(0).random((20, 24, 3), dtype=np.float32)
    torch.set_num_threads(1)
    for i, name in enumerate(pairs.values()):
        assert np.array_equal(
            np.load(tmp_path / f"cube-{i}.npy"), hsrzoo.load(name, device="cpu")(rgb).cube
        )


def test_pull_prints_the_folder_and_fetches_only_what_is_of_use(hub, run_hsrzoo, weights) -> None:
    files = weights("linear.cave") | {
        "results/cave.jsonl": b"{}\n",
        "results/photo.png": b"x",
        "notes.txt": b"x",
    }
    commit = hub.put("lab/linear", files)
    done = run_hsrzoo("pull", "lab/linear", env=hub.env())
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.rstrip("\n"))
    assert folder.name == commit and commit in done.stderr
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    kept = ("README.md", "config.json", "model.safetensors", "results/cave.jsonl")
    kept += ("uncertainty.safetensors",)
    assert found == {path: files[path] for path in kept}
    assert origin_of(folder) == {"repo": "lab/linear", "revision": commit}

    before = fetched(hub)
    again = run_hsrzoo("pull", f"lab/linear@{commit}", env=hub.env())
    assert again.stdout == done.stdout and fetched(hub) == before

    forced = run_hsrzoo("pull", "--force", "lab/linear", env=hub.env())
    assert forced.stdout == done.stdout and len(fetched(hub)) == 2 * len(before)


def test_branches_and_tags_are_followed_and_commits_stay(hub, client, fake) -> None:
    first = hub.put("lab/a", fake(b"one"), tag="v1.0")
    code = """
from hsrzoo.hub import client as hub
for revision in (None, "v1.0", {commit!r}, "refs/pr/1"):
    folder = hub.pull("lab/a", revision)
    print(folder.name, (folder / "model.safetensors").read_text())
"""
    proposed = hub.put("lab/a", fake(b"three"), revision="refs/pr/1")
    assert client(hub.env(), code.format(commit=first)).stdout.split()[:6] == [first, "one"] * 3
    second = hub.put("lab/a", fake(b"two"))
    done = client(hub.env(), code.format(commit=first))
    assert done.stdout.split() == [second, "two", *[first, "one"] * 2, proposed, "three"], done.stderr


def test_a_commit_that_is_here_is_used_without_asking(hub, client, fake) -> None:
    commit = hub.put("lab/a", fake(b"one"))
    code = f"from hsrzoo.hub import client as hub\nprint(hub.pull('lab/a', '{commit}'))"
    first = client(hub.env(), code)
    asked = len(hub.requests())
    assert client(hub.env("wrong"), code).stdout == first.stdout
    assert len(hub.requests()) == asked > 0


def test_list_hub_shows_what_this_token_may_see_of_this_zoo(hub, run_hsrzoo, fake) -> None:
    hub.put("lab/secret", fake(b"one"))
    hub.put("lab/open", fake(b"two"), private=False)
    hub.put("lab/other-library", {"README.md": b"---\nlibrary_name: timm\n---\n"}, private=False)
    hub.put("bob/his", fake(b"three"), private=False)
    done = run_hsrzoo("list", "--hub", "lab", "--json", env=hub.env())
    rows = json.loads(done.stdout)
    assert [(row["name"], row["private"], row["tags"]) for row in rows] == [
        ("lab/open", False, ["cave"]), ("lab/secret", True, ["cave"])
    ]  # fmt: skip
    assert all(row["updated"][:2] == "20" and row["downloads"] == 7 for row in rows)
    table = run_hsrzoo("list", "--hub", "lab", env=hub.env("bob")).stdout
    assert "lab/open" in table and "secret" not in table
    nobody = run_hsrzoo("list", "--hub", "nobody", "--json", env=hub.env())
    assert nobody.stdout == "[]\n" and "No repository of hsrzoo by nobody" in nobody.stderr


def test_a_dropped_connection_is_taken_up_where_it_broke_off(hub, client, fake) -> None:
    data = os.urandom(16 << 20)
    hub.put("lab/large", fake(data))
    hub.fault("drop", "/_lfs/", after=12 << 20)
    done = client(hub.env(), "from hsrzoo.hub import client as hub\nprint(hub.pull('lab/large'))")
    assert done.returncode == 0, done.stderr
    assert (Path(done.stdout.strip()) / "model.safetensors").read_bytes() == data
    first, second = hub.requests("GET", "/_lfs/")
    assert first["range"] is None and second["range"] == f"bytes={10 << 20}-"
    assert done.stderr == ""  # neither bars nor addresses with signatures


def test_a_killed_download_leaves_nothing_that_is_used_and_goes_on_with_the_next_call(
    hub, client, forks, fake, tmp_path
) -> None:
    data = os.urandom(1 << 20)
    hub.put("lab/large", fake(data))
    hub.fault("stall", "/_lfs/", after=1 << 19)
    code = "from hsrzoo.hub import client as hub\nprint(hub.pull('lab/large'))"
    home = Path(hub.env()["HF_HOME"])
    with forks.running("-c", code, cwd=tmp_path, env=hub.env(), log=tmp_path / "log") as killed:
        wait_until(
            lambda: (
                {p.name for p in home.glob("hub/*/snapshots/*/*")} == {"README.md", "config.json"}
                and any(r["sent"] for r in hub.requests("GET", "/_lfs/"))
            ),
            killed,
        )
    offline = client(hub.env(HF_HUB_OFFLINE="1"), code)
    assert "lab/large is not (or not completely) on this machine" in offline.stderr
    small = [path for path in fetched(hub) if "/_lfs/" not in path]
    done = client(hub.env(), code)
    assert (Path(done.stdout.strip()) / "model.safetensors").read_bytes() == data, done.stderr
    assert [path for path in fetched(hub) if "/_lfs/" not in path] == small  # whole files were kept


def test_a_commit_holds_all_or_nothing_and_none_is_made_of_nothing(hub, client) -> None:
    code = """
from pathlib import Path
from hsrzoo.hub import client as hub
from hsrzoo.errors import HubError
print(hub.whoami(), hub.head("lab/a"))
hub.create_repo("lab/a", private=True)
Path("x").write_bytes(b"weights")
files = {"README.md": b"# A card", "sub/x.safetensors": Path("x"), "old.jsonl": b"{}"}
one = hub.commit("lab/a", files, "first", parent=hub.head("lab/a"))
first = hub.head("lab/a")
assert hub.commit("lab/a", files, "again") == one and one.endswith(f"/commit/{first}")
assert hub.head("lab/a") == first
two = hub.commit("lab/a", {"README.md": b"# Another"}, "second", delete=["old.jsonl"], parent=first)
try:
    hub.commit("lab/a", {"README.md": b"# Too late"}, "third", parent=first)
except HubError as error:
    print(error)
print(hub.read_file("lab/a", "README.md"), hub.read_file("lab/a", "old.jsonl", first))
print(hub.read_file("lab/a", "old.jsonl"), hub.head("lab/a", "nowhere"))
hub.commit("lab/a", {"new": b"1"}, "on a branch", revision="next")
print(hub.commit("lab/a", {"new": b"2"}, "proposed", create_pr=True))
"""
    done = client(hub.env(), code)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "alice None" and lines[1].startswith("lab/a changed in the meantime")
    assert lines[2:4] == ["b'# Another' b'{}'", "None None"]
    assert lines[4] == f"{hub.url}/lab/a/discussions/1"
    assert [c["title"] for c in hub.commits("lab/a")] == ["second", "first", "initial commit"]
    assert set(hub.commits("lab/a")[0]["files"]) == {"README.md", "sub/x.safetensors"}
    assert hub.repo("lab/a")["private"] and "new" not in hub.commits("lab/a")[0]["files"]
    assert [c["title"] for c in hub.commits("lab/a", "next")][:2] == ["on a branch", "second"]
    assert [c["title"] for c in hub.commits("lab/a", "refs/pr/1")][:2] == ["proposed", "second"]


@pytest.mark.parametrize(
    ("text", "better"),
    [
        ("my lab/some net", "my-lab/some-net"), ("lab/a--b", "lab/a-b"), ("lab/.hidden", "lab/hidden"),
        ("lab/x.git", "lab/x"), ("lab/a..b", "lab/a-b"), ("lab/été", "lab/t"), (" lab/a", "lab/a"),
    ],
)  # fmt: skip
def test_names_that_no_repository_can_have_are_refused_with_one_that_can(text: str, better: str) -> None:
    with pytest.raises(HubError, match=f"For example {better}\\.$"):
        require_repo(text)
    assert require_repo(better) == better


@pytest.mark.parametrize("text", ["", "lab", "lab/", "/a", "a/b/c", "lab/" + "x" * 100, "lab/a\n", "../.."])
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(
        HubError, match=r"is not the name of a repository.*Expected ORG/NAME of letters, digits"
    ):
        require_repo(text)


def test_names_of_one_letter_and_with_all_signs_are_allowed() -> None:
    for name in ("a/b", "org-1/m.c_g-a", "A/x_", "lab/" + "x" * 92):
        assert require_repo(name) == name
