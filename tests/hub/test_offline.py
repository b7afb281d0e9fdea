"""What was pulled once works without a network; what was not says how to fetch it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from click.testing import CliRunner
from PIL import Image

import hsrzoo
from hsrzoo.bands import VISIBLE_31
from hsrzoo.cli.train import command as train_command
from hsrzoo_mcga.codebook.folder import Source, write
from hsrzoo_mcga.stage1.autoencoder import SpectralAutoencoder
from hsrzoo_mcga.stage1.task import split_state

MODEL = "linear.cave"
NOWHERE = "http://127.0.0.1:9"


def test_after_a_pull_all_commands_work_without_a_network(hub, run_hsrzoo, weights, tmp_path) -> None:
    commit = hub.put("lab/linear", weights(MODEL), tag="v1")
    env = hub.env(HF_ENDPOINT=NOWHERE, HF_HUB_OFFLINE="1")
    pulled = run_hsrzoo("pull", "lab/linear", env=hub.env())
    assert run_hsrzoo("pull", "lab/linear", env=env).stdout == pulled.stdout
    rgb = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(tmp_path / "photo.png")
    model = ("--model", "hf-hub:lab/linear", "--linear", "--device", "cpu")
    done = run_hsrzoo("predict", "photo.png", *model, "-o", "cube.npz", env=env)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "cube.npz") as written:
        assert np.array_equal(written["cube"], hsrzoo.load(MODEL, device="cpu")(rgb).cube)
        assert any(commit in str(written[key]) for key in written.files if key != "cube")
    shown = json.loads(run_hsrzoo("show", "hf-hub:lab/linear@main", "--json", env=env).stdout)
    assert shown["name"] == "linear" and shown["weights"][0]["name"] == f"hf-hub:lab/linear@{commit}"


def test_what_is_not_here_is_told_with_the_command_that_fetches_it(hub, run_hsrzoo, fake) -> None:
    hub.put("lab/a", fake(b"x"))
    offline = hub.env(HF_HUB_OFFLINE="1")
    done = run_hsrzoo("show", "hf-hub:lab/a@v1", env=offline)
    assert done.returncode == 2 and "HF_HUB_OFFLINE=0 hsrzoo pull lab/a@v1." in done.stderr
    listed = run_hsrzoo("list", "--hub", "lab", env=offline)
    assert listed.returncode == 2 and "HF_HUB_OFFLINE=1 forbids contacting the Hub" in listed.stderr
    assert hub.requests() == []


def test_without_an_answer_what_was_pulled_last_is_used_with_a_warning(hub, client, fake) -> None:
    commit = hub.put("lab/a", fake(b"x"))
    code = "from hsrzoo.hub import client as hub\nprint(hub.pull('lab/a', force={force}).name)"
    assert client(hub.env(), code.format(force=True)).stdout.strip() == commit
    down = hub.env(HF_ENDPOINT=NOWHERE)
    done = client(down, code.format(force=False))
    assert done.stdout.strip() == commit
    assert f"using the last pulled version of lab/a, commit {commit[:8]}." in done.stderr
    forced = client(down, code.format(force=True))
    assert forced.returncode == 1 and "The Hub does not answer" in forced.stderr
    offline = client({**down, "HF_HUB_OFFLINE": "1"}, code.format(force=True))
    assert "HF_HUB_OFFLINE=1 forbids contacting the Hub about lab/a" in offline.stderr


def test_pulled_codebooks_go_into_mixtures_and_start_a_training(
    hub, run_hsrzoo, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = codebooks(tmp_path / "made")
    commit = hub.put("lab/codes", files)
    pulled = run_hsrzoo("pull", "lab/codes", env=hub.env())
    assert pulled.returncode == 0, pulled.stderr
    env = hub.env(HF_ENDPOINT=NOWHERE, HF_HUB_OFFLINE="1")
    mixed = run_hsrzoo("codebook", "mix", "hf-hub:lab/codes", "--out", "mixture", env=env)
    assert mixed.returncode == 0, mixed.stderr
    tables = [path for path in files if path.startswith("codebooks/")]
    assert len(tables) == 2
    assert all(Path("mixture", path).read_bytes() == files[path] for path in tables)

    tiny = ("widths=[8,8]", "blocks=[1,1]", "stem=4", "head=8")
    train = (
        *("mcga-s2", "--dataset", "indian-pines", "--start", pulled.stdout.strip(), "--out", "run"),
        *("--steps", "1", "--batch", "1", "--patch", "16"), *(f"--arg={one}" for one in tiny),
    )  # fmt: skip
    result = CliRunner().invoke(train_command, train, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    config = json.loads(Path("run/weights/config.json").read_text())
    assert config["codebook"]["repository"] == {"repo": "lab/codes", "revision": commit}
    digests = {path: hashlib.sha256(files[path]).hexdigest() for path in tables}
    assert digests.items() <= config["codebook"]["sha256"].items()


def codebooks(folder: Path) -> dict[str, bytes]:
    """A repository of codebooks, as stage 1 writes them."""
    torch.manual_seed(0)
    codes, rest = split_state(SpectralAutoencoder(31, latent=8, n_codes=16))
    write(folder, codes, {"toy": rest}, [Source("toy", VISIBLE_31, 16, {"steps": 1})], 8)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
