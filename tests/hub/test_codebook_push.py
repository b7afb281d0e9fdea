"""``hsrzoo codebook push``, and models that are linked to their codebooks' repository."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import hsrzoo
from hsrzoo.bands import VISIBLE_31
from hsrzoo.errors import WeightsError
from hsrzoo.hub.front_matter import parse, split
from hsrzoo.models.weights import read_config, save_folder
from hsrzoo.spec import build_module
from hsrzoo.utils.provenance import command_line
from hsrzoo_mcga.codebook.folder import CodebookFolder, Source, mix, write
from hsrzoo_mcga.codebook.push import read_complete
from hsrzoo_mcga.plugin import MCGA_S2
from hsrzoo_mcga.stage1.autoencoder import SpectralAutoencoder
from hsrzoo_mcga.stage1.task import split_state
from hsrzoo_mcga.stage2.build import start
from make_fixtures import make_cave_tree
from push_worker import Result, Worker

HubServer = Any  # of this folder's conftest, which is no module to import
TINY = {"widths": (8, 8), "blocks": (1, 1), "stem": 4, "head": 8}
Run = Callable[..., Result]


@pytest.fixture
def run(worker: Worker, hub: HubServer, tmp_path: Path) -> Run:
    """``run("codebook", "push", ...)`` as alice, in ``tmp_path``."""

    def call(*arguments: object) -> Result:
        return worker(tmp_path, {"HF_TOKEN": hub.env()["HF_TOKEN"]}, *arguments)

    return call


def make_books(path: Path, source: str = "cave", **record: Any) -> CodebookFolder:
    """A tiny codebook folder of one source on 31 bands."""
    torch.manual_seed(len(source))
    codes, rest = split_state(SpectralAutoencoder(31, latent=8, n_codes=16))
    figures = {"rmse_all": 0.0298, "usage_1": 0.75}
    known = {"dataset": source, "split": "train", "scenes": ["a", "b"], "steps": 3, "figures": figures}
    record = {**known, "figures_on": "training scenes", "complete": True, **record}
    write(path, codes, {source: rest}, [Source(source, VISIBLE_31, 16, record)], 8)
    return CodebookFolder.read(path)


def make_model(path: Path, books: Path) -> Path:
    """A tiny untrained mcga-s2 that took over ``books``, as a run of stage 2 writes it."""
    taken = start(books, VISIBLE_31, TINY)
    arguments = {**taken.arguments, **TINY}
    torch.manual_seed(0)
    module = build_module(MCGA_S2, VISIBLE_31, arguments)
    module.load_state_dict(dict(taken.state), strict=False)
    training = {"dataset": "cave", "split": "train", "steps": 1, "complete": True}
    save_folder(
        path, module, MCGA_S2, VISIBLE_31, arguments=arguments, training=training, codebook=taken.record
    )
    return path


def held(hub: HubServer, repo: str) -> dict[str, str]:
    """Path -> sha256 of what the main branch holds."""
    return {path: file["sha256"] for path, file in hub.commits(repo)[0]["files"].items()}


def pulled(hub: HubServer, client: Callable[..., Any], repo: str) -> Path:
    """The repository as a machine has it that pulled it."""
    found = client(hub.env(home="elsewhere"), f"from hsrzoo.hub.client import pull; print(pull('{repo}'))")
    assert found.returncode == 0, found.stderr
    return Path(found.stdout.strip())


def test_codebooks_are_pushed_once_with_card_and_figures(
    hub: HubServer, run: Run, client: Callable[..., Any], tmp_path: Path
) -> None:
    books = make_books(tmp_path / "run" / "codebook")
    first = run("codebook", "push", "run", "lab/books")
    assert (first.code, first.out) == (
        0,
        f"{hub.url}/lab/books/commit/{hub.commits('lab/books')[0]['oid']}\n",
    )
    assert hub.repo("lab/books")["private"] is True
    names = ["codebooks/1.safetensors", "codebooks/2.safetensors", "autoencoders/cave.safetensors"]
    assert sorted(held(hub, "lab/books")) == sorted(
        ["README.md", "config.json", "results/stage1.jsonl", *names]
    )
    again = run("codebook", "push", "run/codebook", "lab/books")
    assert again.out == first.out and "no commit" in again.err

    there = pulled(hub, client, "lab/books")
    for name in ("config.json", *names):
        assert (there / name).read_bytes() == (books.path / name).read_bytes()
    (row,) = (json.loads(line) for line in (there / "results/stage1.jsonl").read_text().splitlines())
    assert row == {"schema": "hsrzoo.stage1/1", "source": "cave", **books.sources[0].record}
    head, body = split((there / "README.md").read_text())
    metadata = parse(head)
    assert metadata["library_name"] == "hsrzoo" and metadata["license"] == "mit"
    assert "codebook" in metadata["tags"] and "base_model" not in metadata
    assert "| cave | training scenes | 0.0298 | 0.75 |" in body
    assert f"| codebooks/1.safetensors | {books.sha256['codebooks/1.safetensors']} |" in body


def test_a_mixture_takes_codebooks_from_the_hub(hub: HubServer, run: Run, tmp_path: Path) -> None:
    first, other = make_books(tmp_path / "a"), make_books(tmp_path / "b", source="arad")
    run("codebook", "push", "a", "lab/books")
    found = run("codebook", "mix", "hf-hub:lab/books@main", "b", "--out", "mixed")
    assert found.code == 0, found.err
    expected = mix([first, other], tmp_path / "expected")
    mixed = CodebookFolder.read(tmp_path / "mixed")
    assert mixed.sha256 == expected.sha256
    assert mixed.sources == expected.sources


def test_a_model_started_from_the_hub_is_pushed_with_a_link_to_its_codebooks(
    hub: HubServer, run: Run, client: Callable[..., Any], tmp_path: Path
) -> None:
    make_cave_tree(tmp_path / "data")
    books = make_books(tmp_path / "books")
    run("codebook", "push", "books", "lab/books")
    tiny = [f"--arg={key}={json.dumps(value)}" for key, value in TINY.items()]
    trained = run(
        "train", "mcga-s2", "--dataset", "cave", "--start", "hf-hub:lab/books", "--out", "run",
        "--steps", 2, "--batch", 2, "--patch", 16, "--data-root", tmp_path / "data", *tiny,
    )  # fmt: skip
    assert trained.code == 0, trained.err
    weights = tmp_path / "run" / "weights"
    before = {path: path.read_bytes() for path in weights.iterdir()}
    assert run("push", f"local-dir:{weights}", "lab/model").code == 0
    assert {path: path.read_bytes() for path in weights.iterdir()} == before, "the folder stays as it was"

    there = pulled(hub, client, "lab/model")
    config = read_config(there)
    link = {"repo": "lab/books", "revision": hub.commits("lab/books")[0]["oid"], "sha256": books.sha256}
    assert config.pop("codebook_repository") == link
    assert config == read_config(weights)
    head, body = split((there / "README.md").read_text())
    metadata = parse(head)
    assert metadata["base_model"] == "lab/books"
    assert f"| codebook repository | lab/books at {link['revision']} |" in body
    pushed, local = hsrzoo.load(f"local-dir:{there}"), hsrzoo.load(f"local-dir:{weights}")
    assert pushed.identity == local.identity
    run("push", "hf-hub:lab/model", "lab/copy")
    copied, original = held(hub, "lab/copy"), held(hub, "lab/model")
    assert copied["config.json"] == original["config.json"], "a copy on the Hub keeps the link"


def test_a_recorded_command_keeps_addresses_of_the_hub_and_no_folders(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    typed = [
        "/usr/bin/hsrzoo",
        "train",
        "mcga-s2",
        "--start",
        "hf-hub:lab/books@v1",
        "--out",
        "/home/me/run",
    ]
    monkeypatch.setattr("sys.argv", typed)
    assert command_line() == "hsrzoo train mcga-s2 --start hf-hub:lab/books@v1 --out run"


def test_codebooks_can_be_named_and_must_be_those_of_the_model(
    hub: HubServer, run: Run, tmp_path: Path
) -> None:
    make_books(tmp_path / "books")
    make_books(tmp_path / "others", source="arad")
    model = f"local-dir:{make_model(tmp_path / 'model', tmp_path / 'books')}"
    assert (
        "There is no repository lab/books" in run("push", model, "lab/model", "--codebook", "lab/books").err
    )
    run("codebook", "push", "others", "lab/others")
    later = run("push", model, "lab/model", "--codebook", "lab/others@v9")
    assert "There is no revision lab/others@v9" in later.err
    wrong = run("push", model, "lab/model", "--codebook", "lab/others")
    assert (
        wrong.code == 2 and "does not hold the codebooks that these weights were trained with" in wrong.err
    )
    none = run("push", "linear.indian-pines", "lab/model", "--codebook", "lab/others")
    assert none.code == 2 and "linear has no codebooks" in none.err
    assert not hub.requests("POST", "lab/model")

    run("codebook", "push", "books", "lab/books")
    linked = run("push", model, "lab/model", "--codebook", "lab/books")
    assert linked.code == 0, linked.err
    again = run("push", model, "lab/model")
    assert again.out == linked.out and "no commit" in again.err, "the link stays without being named again"
    run("push", "linear.indian-pines", "lab/model")
    sha = held(hub, "lab/model")["config.json"]
    own = (
        Path(hsrzoo.__file__).parents[1]
        / "baselines/hsrzoo_baselines/weights/linear.indian-pines/config.json"
    )
    assert sha == hashlib.sha256(own.read_bytes()).hexdigest(), "and goes with other weights"


def test_other_codebooks_take_the_place_of_earlier_ones_but_not_of_a_model(
    hub: HubServer, run: Run, tmp_path: Path
) -> None:
    make_books(tmp_path / "books")
    make_books(tmp_path / "others", source="arad")
    run("codebook", "push", "books", "lab/books")
    replaced = run("codebook", "push", "others", "lab/books")
    assert "deleted  autoencoders/cave.safetensors" in replaced.err
    assert {p for p in held(hub, "lab/books") if p.startswith("auto")} == {"autoencoders/arad.safetensors"}
    run("push", "linear.indian-pines", "lab/model")
    for pushed, repo in ((["codebook", "push", "books"], "model"), (["push", "linear.cave"], "books")):
        found = run(*pushed, f"lab/{repo}")
        assert found.code == 2 and f"lab/{repo} has other contents" in found.err
    assert (len(hub.commits("lab/model")), len(hub.commits("lab/books"))) == (2, 3)


def test_folders_that_are_damaged_or_unfinished_are_not_pushed(
    hub: HubServer, run: Run, tmp_path: Path
) -> None:
    make_books(tmp_path / "early", complete=False, steps_done=1)
    with pytest.raises(WeightsError, match=r"cave was not trained to its end\. Got 1 steps"):
        read_complete(tmp_path / "early")
    books = make_books(tmp_path / "books")
    with open(books.path / "codebooks/1.safetensors", "ab") as file:
        file.write(b"more")
    found = run("codebook", "push", "books", "lab/books")
    assert found.code == 2 and "is not the file that was saved" in found.err
    assert run("codebook", "push", tmp_path, "lab/books").code == 2
    assert not hub.requests("POST")


def test_tables_must_hold_all_codes_of_the_configuration(tmp_path: Path) -> None:
    books = make_books(tmp_path / "books")
    config = json.loads((books.path / "config.json").read_text())
    config["sources"][0]["n_codes"] = 17
    (books.path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"Expected 17 codes at every scale\. Got 16"):
        read_complete(tmp_path / "books")
