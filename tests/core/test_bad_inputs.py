"""Bad inputs of every kind that hsrzoo reads: one paragraph for each, no traceback, no bare exception.

Each valid input is changed in one place at a time, and then read and used as commands do. An input may also
be accepted, as many fields are only shown; what may not happen is an exception of another kind.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

import result_rows
from hsrzoo.bands import BandSet
from hsrzoo.cli import records, show
from hsrzoo.cli.errors import run
from hsrzoo.cli.options import parse_bands
from hsrzoo.hub import card
from hsrzoo.hub.evaluation import evaluations
from hsrzoo.hub.push import Target
from hsrzoo.hub.rows import Identity, collect
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.models.tensors import load_tensors
from hsrzoo.models.weights import input_of, load_module, read_config, save_folder
from hsrzoo.prediction.caveats import caveats
from hsrzoo.results import read_store
from hsrzoo.spec import ModelSpec, Recipe
from hsrzoo.training.queue import read_queue, read_state
from hsrzoo.training.recipe import override
from hsrzoo.training.rundir import RunDir, as_started, load_checkpoint, require_same_run
from hsrzoo_mcga.codebook import push
from hsrzoo_mcga.codebook.folder import Source, write
from hsrzoo_mcga.stage1.autoencoder import SpectralAutoencoder
from hsrzoo_mcga.stage1.report import report_source
from hsrzoo_mcga.stage1.task import split_state
from hsrzoo_mcga.stage2.build import start
from mutations import MISSING, mutated

BANDS = BandSet.regular(400, 700, 150)


class Attempts:
    """Calls that may fail in one paragraph; the names of those that failed otherwise."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys, self.made, self.refused = capsys, 0, 0
        self.bad: list[str] = []

    def __call__(self, what: str, call: Callable[[], object]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = run(lambda: [call(), None][1], debug=lambda: False)
        message = self.capsys.readouterr().err
        self.made, self.refused = self.made + 1, self.refused + bool(code)
        if (
            code not in (0, 1, 2)
            or "An unexpected " in message
            or "Traceback" in message
            or message.count("\n") > 1
        ):
            self.bad.append(f"{what}: {message}")

    def require(self, made: int, refused: int) -> None:
        """All ended in one paragraph, and there were at least so many."""
        assert self.bad == []
        assert (self.made >= made, self.refused >= refused) == (True, True), (self.made, self.refused)


@pytest.fixture
def attempt(capsys: pytest.CaptureFixture[str]) -> Attempts:
    return Attempts(capsys)


class Net(nn.Module):
    def __init__(self, bands: BandSet, width: int = 4, depth: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(depth)))
        self.last = nn.Sequential(nn.Conv2d(3, width, 1), nn.Conv2d(width, len(bands), 1))

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        return self.last(self.layers(rgb))


SPEC = ModelSpec("net", Net, "a test network", "here")


def test_config_files_of_weights(tmp_path: Path, attempt: Attempts) -> None:
    training = {
        "dataset": "cave", "split": "train", "scenes": ["a", "b"], "fingerprint": "f", "steps": 10,
        "dataset_info": {"response": "nikon-d5100", "encoding": "linear"}, "wall_seconds": 1.5,
        "recipe": {"consistency": False}, "provenance": {"commit": "abc"}, "complete": True,
    }  # fmt: skip
    codebook = {
        "sources": ["a"],
        "stage1": [{"wall_seconds": 2.0}],
        "sha256": {"codebooks/1.safetensors": "0"},
    }
    arguments = {"width": 4, "depth": 1}
    save_folder(
        tmp_path, Net(BANDS), SPEC, BANDS, arguments=arguments, training=training, codebook=codebook
    )
    config = json.loads((tmp_path / "config.json").read_text())
    rgb = np.full((3, 5, 4), 0.5, np.float32)

    def use() -> None:
        found = read_config(tmp_path)
        module, sha = load_module(tmp_path, SPEC, found)
        spec = ModelSpec("net", Net, "", "", input=input_of(found, tmp_path))
        model = Reconstructor(
            module, spec, BANDS, name="net", config=found, weights_sha256=sha, device="cpu"
        )
        model.predict(rgb)
        caveats(model)
        card.model_block("n", "a/n@main", found, [], None)
        card.model_metadata("n", found, [], None)
        show._print_facts({"training": found["training"], "codebook": found["codebook"]})

    for what, changed in mutated(config):
        (tmp_path / "config.json").write_text(json.dumps(changed))
        attempt(what, use)
    attempt.require(made=500, refused=250)


def test_rows(tmp_path: Path, attempt: Attempts) -> None:
    protocol = {
        "metrics": [["rmse", "1", "r"]], "bands": {"centres_nm": [500.0], "widths_nm": None},
        "value_range": [0, 1], "severity_value": None, "tta_settings": {}, "resampled_from": None,
    }  # fmt: skip
    (good, other) = result_rows.rows("net.cave", [0.1, 0.2], protocol=protocol)
    identity = Identity(good["weights_sha256"], good["model_sha256"])

    def use(changed: dict[str, Any]) -> None:
        stored = read_store(result_rows.write(tmp_path, [changed], [other]))
        records.scores(stored, "net")
        json.dumps([row.to_json() for row in stored.scores])
        figures = collect([tmp_path], identity).figures
        card.figure_table(figures)
        evaluations("n", figures)

    for what, changed in mutated(good, wrong=(MISSING, None, [], "x", -1, 0, 1.5, {"a": None})):
        attempt(what, lambda changed=changed: use(changed))
        for path in tmp_path.rglob("*.jsonl"):
            path.unlink()
    attempt.require(made=300, refused=0)  # a row that cannot be read is skipped with a warning


def test_cards(attempt: Attempts) -> None:
    theirs = {
        "license": "mit", "tags": ["a"], "base_model": ["a/b"], "library_name": "x", "pipeline_tag": "y",
        "model-index": [{"name": "n", "results": [{"task": {"type": "t"}}]}],
    }  # fmt: skip
    config = {"architecture": "net", "licence": "MIT", "source": "s"}
    ours = card.model_metadata("n", config, [], card.CodebookLink("a/b", "0" * 40, {}))
    for what, changed in mutated(theirs):
        text = f"---\n{yaml.safe_dump(changed)}---\nText\n"
        attempt(what, lambda text=text: card.merge(text, ours, "block"))
    for head in ("a: [", "a: &a [*a]", "- x", "\x07", "a: 2020-99-99", "? [1]\n: x", "a:\n\t- b", "a: *b"):
        attempt(head, lambda head=head: card.merge(f"---\n{head}\n---\n", ours, "block"))
    attempt.require(made=100, refused=7)


def as_toml(value: Any) -> str:
    """A value of JSON as TOML, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {as_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return "nan" if value != value else json.dumps(value)


def test_queues(tmp_path: Path, attempt: Attempts) -> None:
    good = {
        "values": {"data": "--dataset cave"},
        "job": [
            {"name": "a", "after": [], "commands": ["fit linear {data} --out {runs}/{job}"]},
            {"name": "b", "after": ["a"], "commands": ["list"]},
        ],
    }
    file = tmp_path / "queue.toml"
    wrong = (
        MISSING,
        [],
        {},
        "x",
        "",
        "..",
        "a/b",
        "{x}",
        "{",
        "{job:>999999999}",
        -1,
        10**15,
        float("nan"),
        True,
    )
    for what, changed in mutated(good, depth=4, wrong=wrong):
        file.write_text("".join(f"{key} = {as_toml(item)}\n" for key, item in changed.items()))
        attempt(what, lambda: read_queue(file, tmp_path))
    for text in ("=", "[", "\0", "a = " + "[" * 3000, "[[job]]", "job = [[]]"):
        file.write_text(text)
        attempt(text, lambda: read_queue(file, tmp_path))
    file.write_text('[[job]]\nname = "a"\ncommands = ["list"]\n')
    (job,) = read_queue(file, tmp_path)
    for what, changed in mutated({"done": [["list"]], "seconds": [1.5], "failed": None}):
        (tmp_path / "a.json").write_text(json.dumps(changed))
        attempt(what, lambda: read_state(job, tmp_path))
    attempt.require(made=200, refused=140)


def test_recipes(attempt: Attempts) -> None:
    names = [*vars(Recipe()), "nothing", ""]
    for name in names:
        for text in ("", "x", "-1", "nan", "inf", "1e999", "null", "[1]", ",", "1,2,3", "true"):
            attempt(f"{name}={text}", lambda name=name, text=text: override(Recipe(), {name: text}))
    attempt.require(made=250, refused=220)


def test_codebooks(tmp_path: Path, attempt: Attempts) -> None:
    torch.manual_seed(0)
    net = SpectralAutoencoder(len(BANDS), latent=8, n_codes=4)
    codes, rest = split_state(net)
    record = {
        "steps": 1, "dataset": "cave", "split": "train", "scenes": ["a"], "figures": {"rmse": 0.1},
        "figures_on": "valid", "mask": "by-band", "options": {}, "complete": True,
    }  # fmt: skip
    write(tmp_path / "b", codes, {"one": rest}, [Source("one", BANDS, 4, record)], 8)
    config = json.loads((tmp_path / "b" / "config.json").read_text())

    def use() -> None:
        folder = push.read_complete(tmp_path / "b")
        push.rows(folder)
        push.block(folder, Target("a/b"))
        start(tmp_path / "b", BANDS, {})
        report_source(folder, folder.sources[0]).to_json()

    for what, changed in mutated(config, depth=4, wrong=(MISSING, None, [], "x", -1, 10**30, True, "../x")):
        (tmp_path / "b" / "config.json").write_text(json.dumps(changed))
        attempt(what, use)
    attempt.require(made=180, refused=120)


def test_headers_of_weights(tmp_path: Path, attempt: Attempts) -> None:
    good = {"a": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}}
    file = tmp_path / "model.safetensors"
    for what, changed in mutated(good):
        header = json.dumps(changed).encode()
        file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
        attempt(what, lambda: load_tensors(file))
    for data in (
        b"",
        b"x",
        bytes(8),
        b"\xff" * 9,
        (2).to_bytes(8, "little") + b"[]",
        b"\x80\x02.",
        b"PK\x03\x04",
    ):
        file.write_bytes(data)
        attempt(repr(data), lambda: load_tensors(file))
    attempt.require(made=80, refused=70)


def test_lists_of_bands(tmp_path: Path, attempt: Attempts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    texts = ["", "x", "1:2", "1:2:3:4", "700:400:10", "400:700:0", "400:700:-1", "400:700:1e-9",
             "nan:700:1", "400:inf:1", "400,,500", "-1,2", "1e999,2", "400;x", "no", "\0.csv"]  # fmt: skip
    files = [
        b"",
        b"\xff\xfe",
        b"\0\1\2",
        b"wavelength\n400\nx\n",
        b"wavelength,fwhm\n400,-1\n",
        b"a,b\n1,2\n",
        b"wavelength\nnan\n",
        b"wavelength\n",
        b'"400\n',
        b"400,500\n600\n",
        b"wavelength\n" + b"9" * 999,
    ]
    for i, data in enumerate(files):
        (tmp_path / f"{i}.csv").write_bytes(data)
        texts.append(f"{i}.csv")
    for text in texts:
        attempt(text, lambda text=text: parse_bands(text))
    attempt.require(made=25, refused=20)


def test_runs(tmp_path: Path, attempt: Attempts) -> None:
    folder = RunDir(tmp_path)
    good = {
        "recipe": {"lr": 0.1, "ema_warmup": True},
        "minutes": None,
        "task": {"model": "net", "scenes": ["a"]},
    }
    for what, changed in mutated(good):
        folder.config.write_text(json.dumps(changed))
        attempt(what, lambda: as_started(Recipe(), tmp_path, []))
        attempt(what, lambda: require_same_run(folder.read_json(folder.config), good, folder.config))
    record = {"steps": 3, "complete": True, "threads": 1, "processes": 1, "wall_seconds": 2.5}
    for what, changed in mutated(record):
        folder.record.write_text(json.dumps(changed))
        attempt(what, lambda: folder.read_json(folder.record))
    state = {
        "schema": 1, "identity": "{}", "step": 3, "wall_seconds": 1.0, "cpu_seconds": 1.0,
        "engine": {"a": {}},
    }  # fmt: skip
    for what, changed in mutated(state, depth=1, wrong=(MISSING, None, [], "x", -1, {"a": 1})):
        torch.save(changed, folder.checkpoint)
        attempt(what, lambda: load_checkpoint(folder.checkpoint))
    attempt.require(made=250, refused=130)
