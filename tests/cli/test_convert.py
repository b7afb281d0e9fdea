"""``hsrzoo convert`` from the outside: what it writes, and a word on every file that it cannot use."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file

import hsrzoo
from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.camera import Camera
from hsrzoo.cli.convert import command
from hsrzoo.cli.options import parse_bands
from hsrzoo.datasets import open_dataset
from hsrzoo.errors import BandsError, InputError, StoreError, UnknownNameError, WeightsError
from hsrzoo.models.convert import convert
from hsrzoo.models.weights import load_strictly
from hsrzoo.registry import MODELS
from hsrzoo.spec import ModelSpec, Official, build_module
from hsrzoo.utils.files import sha256_of_file
from hsrzoo_baselines.hscnn_plus import SPEC, HSCNNPlus

FIVE = BandSet.regular(400, 700, 75)


def weights(bands: int = 31) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return HSCNNPlus(bands).state_dict()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A file of HSCNN+ for 5 bands as its trainer writes it."""
    named = {f"module.{key}": value for key, value in weights(5).items()}
    torch.save({"epoch": 1, "iter": 10, "state_dict": named, "optimizer": {}}, tmp_path / "net.pth")
    return tmp_path / "net.pth"


def refusal(path: Path, arch: str = "hscnn-plus", bands: BandSet = VISIBLE_31) -> str:
    with pytest.raises(WeightsError) as refused:
        convert(path, MODELS.get(arch), bands)
    return str(refused.value)


def test_a_converted_network_predicts_photographs(run_hsrzoo, checkpoint, tmp_path):
    result = run_hsrzoo(
        "convert", checkpoint, "--arch", "hscnn-plus", "--out", "new/net", "--bands", "400:700:75", "--json"
    )
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report == {
        "folder": "new/net",
        "architecture": "hscnn-plus",
        "bands": "5 bands, 400-700 nm",
        "parameters": 4_617_216,
        "normalise": "minmax-image",
        "sha256": sha256_of_file(checkpoint),
    }
    config = json.loads((tmp_path / "new/net/config.json").read_text())
    assert config["input"]["normalise"] == "minmax-image"
    assert config["training"]["converted_from"] == "net.pth"
    assert config["training"]["sha256"] == sha256_of_file(checkpoint)
    assert str(tmp_path) not in json.dumps(config)

    pixels = np.random.default_rng(0).integers(40, 200, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    call = ["--linear", "--model", "local-dir:new/net", "-o", "a.npz", "--device", "cpu"]
    done = run_hsrzoo("predict", "a.png", *call)
    assert done.returncode == 0, done.stderr
    rgb = pixels.transpose(2, 0, 1).astype(np.float32) / 255
    stretched = torch.from_numpy((rgb - rgb.min()) / (rgb.max() - rgb.min()))[None]
    network = HSCNNPlus(5)
    network.load_state_dict(weights(5))
    with torch.no_grad():
        expected = network(stretched)[0].permute(1, 2, 0).numpy()
    cube = np.load(tmp_path / "a.npz")["cube"]
    assert cube.shape == expected.shape and np.allclose(cube, expected, rtol=1e-4, atol=1e-5)


def test_constructor_arguments_are_recorded_with_the_camera_that_the_network_asks_for(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    state = build_module(MODELS.get("ssrnet"), VISIBLE_31, {}).state_dict()
    torch.save(state, tmp_path / "net.pth")
    call = [str(tmp_path / "net.pth"), "--arch", "ssrnet", "--out", str(tmp_path / "net"), "--arg"]
    done = CliRunner().invoke(command, [*call, "response=canon-eos-100d"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "does not name the camera" not in done.output
    model = hsrzoo.load(f"local-dir:{tmp_path / 'net'}", device="cpu")
    canon = Camera.named("canon-eos-100d")
    assert model.config["arguments"]["response"] == canon.record()
    trained = Camera.of_training(
        model.config
    )  # photographs are mapped to it, as the network corrects by it
    assert trained is not None and trained.name == canon.name
    assert model.spec.input.normalise == "none"  # the authors' images are not stretched
    done = CliRunner().invoke(command, [*call[:-1], "--force"], catch_exceptions=False)
    assert "here nikon-d5100 (--arg response=CAMERA)" in done.output
    with pytest.raises(InputError, match=r"ssrnet cannot be built .*stages_"):
        CliRunner().invoke(command, [*call, "stages_=7", "--force"], catch_exceptions=False)


@pytest.mark.parametrize("form", ["prefixed", "bare", "bare and prefixed", "safetensors", "stream"])
def test_forms_of_a_checkpoint(tmp_path, form):
    state, path = weights(5), tmp_path / "net.pth"
    prefixed = {f"module.{key}": value for key, value in state.items()}
    if form == "safetensors":
        path = path.with_suffix(".safetensors")
        save_file(state, path)
    elif form == "stream":
        torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=False)
    else:
        forms = {"prefixed": {"state_dict": prefixed}, "bare": state, "bare and prefixed": prefixed}
        torch.save(forms[form], path)
    found = convert(path, SPEC, FIVE).module.state_dict()
    assert all(torch.equal(found[key], value) for key, value in state.items())


class Two(torch.nn.Module):
    """A network of two layers."""

    def __init__(self, bands: BandSet) -> None:
        super().__init__()
        self.enter = torch.nn.Conv2d(3, 4, 1)
        self.leave = torch.nn.Conv2d(4, len(bands), 1)


TWO = ModelSpec("two", build=Two, summary="", source="", official=Official("none"))


@pytest.fixture
def two() -> dict[str, torch.Tensor]:
    return Two(FIVE).state_dict()


def require_read(path: Path, state: dict[str, torch.Tensor], **how: Any) -> dict[str, Any]:
    """The record of a conversion, whose network must have the tensors of ``state``."""
    converted = convert(path, TWO, FIVE, **how)
    found = converted.module.state_dict()
    assert all(torch.equal(found[key], value) for key, value in state.items())
    return converted.record


def wrapped(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize(
    ("container", "prefix"),
    [
        ("state_dict", "_orig_mod."),
        ("state_dict", "net."),
        ("model_state_dict", "model."),
        ("state_dict", "module._orig_mod."),
        ("state_dict", "model.module.net."),
        ("params", ""),
        ("params_ema", ""),
        ("model", ""),
        ("net", "module."),
        ("model/state_dict", ""),
        ("", "_orig_mod.module."),
    ],
)
def test_containers_and_prefixes_of_wrappers_are_left_out(tmp_path, two, container, prefix):
    saved = wrapped(two, prefix)
    for key in reversed([key for key in container.split("/") if key]):
        saved = {"epoch": 3, key: saved}
    torch.save(saved, tmp_path / "net.pth")
    record = require_read(tmp_path / "net.pth", two)
    assert (record["key"], record["prefix"]) == (container, prefix)


def test_counters_of_thop_are_left_out(tmp_path, two):
    zero = torch.zeros(1, dtype=torch.float64)
    counters = {"total_ops": zero, "total_params": zero, "net.enter.total_ops": zero}
    torch.save({"state_dict": {**wrapped(two, "net."), **counters}}, tmp_path / "net.pth")
    assert require_read(tmp_path / "net.pth", two)["counters_left_out"] == 3


def test_an_average_comes_before_what_it_is_the_average_of(tmp_path, two):
    raw = {key: value + 1 for key, value in two.items()}
    torch.save({"params": raw, "params_ema": two}, tmp_path / "net.pth")
    require_read(tmp_path / "net.pth", two)
    require_read(tmp_path / "net.pth", raw, keys=["params"])


@pytest.fixture
def alone(monkeypatch):
    """No other network's checkpoints are tried, which takes seconds."""
    monkeypatch.setattr("hsrzoo.models.convert._names_with_official", lambda: [])


def refusal_of_two(path: Path, **how: Any) -> str:
    with pytest.raises(WeightsError) as refused:
        convert(path, TWO, FIVE, **how)
    return str(refused.value)


def test_another_key_and_prefix_are_named_and_can_be_given(tmp_path, two, alone):
    """Names that no rule knows: the message says what to give, and with it the file is read."""
    path = tmp_path / "net.pth"
    torch.save({"gen": {"ema": wrapped(two, "model.generator.")}, "disc": {}}, path)
    assert "--key gen or --key disc" in refusal_of_two(path)
    assert "has no key 'ema' there. Got a dict of 'gen' (dict)" in refusal_of_two(path, keys=["ema"])
    keys = ["gen", "ema"]
    told = refusal_of_two(path, keys=keys)
    assert "missing enter.weight; missing enter.bias; unexpected generator.enter.weight" in told
    assert told.endswith(
        "All names begin with 'model.generator.', and fit without it: --prefix 'model.generator.'."
    )
    for prefix in ("model.generator.", "model.generator"):
        require_read(path, two, keys=keys, prefix=prefix)
    told = refusal_of_two(path, keys=keys, prefix="g.")
    assert "begins with 'g.'. Got model.generator.enter.weight, " in told


def test_a_part_of_the_tensors_is_found_by_its_prefix(tmp_path, two, alone):
    """A LightningModule saves the weights of its losses too."""
    path = tmp_path / "net.pth"
    torch.save({"state_dict": {**wrapped(two, "net."), "loss.weight": torch.zeros(3)}}, path)
    assert refusal_of_two(path).endswith(
        "4 of 5 names begin with 'net.', and fit without it: --prefix 'net.'."
    )
    require_read(path, two, prefix="net.")


def test_a_common_prefix_is_named_where_the_rest_does_not_fit(tmp_path, alone):
    state = {"g.x": torch.zeros(1), "g.y": torch.zeros(1)}
    torch.save({"net": state, "ema": dict(state), "optimizer": {"lr": 1}}, tmp_path / "net.pth")
    told = refusal_of_two(tmp_path / "net.pth")
    assert "All names begin with 'g.': leave it out with --prefix 'g.'. Check --arch" in told
    assert "They are under 'net'; for those under 'ema' give --key." in told


def test_a_dict_that_holds_itself_is_refused(tmp_path):
    saved: dict = {"epoch": 1}
    saved["state_dict"] = saved
    torch.save(saved, tmp_path / "net.pth")
    assert "holds no tensors" in refusal_of_two(tmp_path / "net.pth")


def test_a_folder_that_holds_something_is_kept(checkpoint, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    arguments = [str(checkpoint), "--arch", "hscnn-plus", "--bands", "400:700:75", "--out", str(out)]
    with pytest.raises(StoreError, match="is not empty"):
        CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert [file.name for file in out.iterdir()] == ["mine.txt"]
    done = CliRunner().invoke(command, [*arguments, "--force"], catch_exceptions=False)
    assert done.exit_code == 0 and done.stdout == ""
    assert (out / "mine.txt").read_text() == "kept"
    assert len(hsrzoo.load(f"local-dir:{out}", device="cpu").bands) == 5


class Hostile:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_hostile_file_is_refused_and_writes_nothing(run_hsrzoo, tmp_path):
    saved = {"state_dict": weights(5), "optimizer": {"state": Hostile(f"touch {tmp_path / 'trace'}")}}
    torch.save(saved, tmp_path / "net.pth")
    result = run_hsrzoo("convert", "net.pth", "--arch", "hscnn-plus", "--out", "out")
    assert result.returncode == 2
    assert "one that names posix.system" in result.stderr and "Traceback" not in result.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["net.pth"]


def test_a_network_without_official_checkpoints_names_those_with():
    told = refusal(Path("net.pth"), arch="linear")
    assert "hscnn-plus" in told and "mst-plus-plus" in told and "linear," not in told


def test_weights_for_other_bands_are_told_with_their_number(checkpoint):
    told = refusal(checkpoint)
    assert "conv_out.weight is (5, 1088, 1, 1), not (31, 1088, 1, 1)" in told
    assert "weights of hscnn-plus for 5 bands, and 31 were asked for" in told and "--bands" in told


def test_weights_of_another_network_are_told_by_its_name(tmp_path):
    torch.save({"state_dict": weights()}, tmp_path / "net.pth")
    told = refusal(tmp_path / "net.pth", arch="mst-plus-plus")
    assert "missing conv_in.weight" in told
    assert told.endswith("These are weights of hscnn-plus: --arch hscnn-plus.")


def test_the_first_differences_are_named(tmp_path):
    state = weights()
    state["ddfn.conv_up1.weight"] = torch.zeros(32, 4, 3, 3)
    del state["ddfn.conv_up2.weight"]
    state["more"] = torch.zeros(1)
    torch.save(state, tmp_path / "net.pth")
    told = refusal(tmp_path / "net.pth")
    assert "missing ddfn.conv_up2.weight; unexpected more" in told
    assert "ddfn.conv_up1.weight is (32, 4, 3, 3), not (32, 3, 3, 3)" in told
    assert "Check --arch, --arg and --bands" in told


def test_by_position_counts_order_and_shapes_but_not_names(tmp_path):
    gmsr = MODELS.get("gmsr")
    torch.manual_seed(0)
    state = build_module(gmsr, VISIBLE_31, {}).state_dict()
    torch.save({f"other.{i}": value for i, value in enumerate(state.values())}, tmp_path / "net.pth")
    found = convert(tmp_path / "net.pth", gmsr, VISIBLE_31).module.state_dict()
    assert all(torch.equal(found[key], value) for key, value in state.items())
    torch.save(
        {f"other.{i}": value for i, value in enumerate([*state.values()][::-1])}, tmp_path / "net.pth"
    )
    assert "do not fit the network" in refusal(tmp_path / "net.pth", arch="gmsr")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_weights_that_are_not_finite_in_float32_are_refused(tmp_path, value):
    state = {key: tensor.double() for key, tensor in weights().items()}
    state["conv_out.weight"][3, 5] = value
    torch.save({"state_dict": state}, tmp_path / "net.pth")
    told = refusal(tmp_path / "net.pth")
    assert "not finite" in told and "tensors, first conv_out.weight" in told


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_numbers_of_another_kind_are_refused_by_name(tmp_path, dtype):
    state = weights()
    state["conv_out.weight"] = state["conv_out.weight"].to(dtype)
    torch.save({"state_dict": state}, tmp_path / "net.pth")
    told = refusal(tmp_path / "net.pth")
    assert f"Expected conv_out.weight of torch.float32. Got {dtype}" in told


def test_floats_in_place_of_a_count_are_refused(tmp_path):
    module = torch.nn.BatchNorm1d(2)
    state = {**module.state_dict(), "num_batches_tracked": torch.tensor(1.5)}
    with pytest.raises(WeightsError, match=r"num_batches_tracked of torch\.int64\. Got torch\.float32"):
        load_strictly(module, state, "net.pth")


def test_half_precision_is_a_precision(tmp_path):
    halves = {key: value.half() for key, value in weights().items()}
    torch.save({"state_dict": halves}, tmp_path / "net.pth")
    found = convert(tmp_path / "net.pth", SPEC, VISIBLE_31).module.state_dict()
    assert all(torch.equal(found[key], value.float()) for key, value in halves.items())


class Replaced:
    """Pickles as an OrderedDict of ``items`` with the number 5 as its ``method``."""

    def __init__(self, method: str, items: dict) -> None:
        self.method, self.saved = method, items

    def __reduce__(self):
        return OrderedDict, (), {self.method: 5}, None, iter(self.saved.items())


@pytest.mark.parametrize("method", ["items", "keys", "values", "get"])
def test_a_dict_whose_methods_the_file_replaced(tmp_path, method):
    """An OrderedDict takes attributes from a pickle."""
    torch.save(Replaced(method, weights(5)), tmp_path / "net.pth")
    found = convert(tmp_path / "net.pth", SPEC, FIVE).module.state_dict()
    assert all(torch.equal(found[key], value) for key, value in weights(5).items())
    torch.save(Replaced(method, {"epoch": 1}), tmp_path / "net.pth")
    assert "Got a dict of 'epoch' (int)" in refusal(tmp_path / "net.pth")


@pytest.mark.parametrize(
    ("saved", "told"),
    [
        (
            {"gen": {"a": torch.zeros(1)}, "epoch": 3},
            r"'gen' \(dict\), 'epoch' \(int\)\. Name .*: --key gen\.",
        ),
        ({"state_dict": {"a": torch.zeros(1), "b": 2.0}}, r"'b' \(float\)"),
        ({"state_dict": {}}, "an empty dict"),
        ([torch.zeros(1)], "a list"),
        ({3: torch.zeros(1)}, r"'3' \(Tensor\)"),
    ],
)
def test_files_without_tensors_where_they_should_be(tmp_path, saved, told):
    torch.save(saved, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=rf"under 'state_dict' or .*\. Got .*{told}"):
        convert(tmp_path / "net.pth", SPEC, VISIBLE_31)


@pytest.mark.parametrize(
    ("text", "bands"),
    [
        ("400:700:10", VISIBLE_31),
        ("420:720:10", BandSet.regular(420, 720, 10)),
        ("450.5,550,600", BandSet((450.5, 550, 600))),
        ("650", BandSet((650.0,))),
    ],
)
def test_bands_of_the_command_line(text, bands):
    assert parse_bands(text) == bands


def test_bands_of_a_data_set_go_by_its_name():
    assert parse_bands("indian-pines") == open_dataset("indian-pines").bands


@pytest.mark.parametrize(
    "text", ["", "400:700", "400:700:0", "400:inf:10", "400:nan:10", "1,,2", "-5", "4e2:1:"]
)
def test_impossible_bands_are_refused(text):
    with pytest.raises(BandsError):
        parse_bands(text)


@pytest.mark.parametrize("text", ["400:700:1e-9", "1:1e300:1e-300", ",".join(map(str, range(1, 10_003)))])
def test_too_many_bands_are_refused_before_they_are_made(monkeypatch, text):
    monkeypatch.setattr(BandSet, "regular", lambda *_: pytest.fail("made"))
    with pytest.raises(BandsError, match="at most 10000"):
        parse_bands(text)


def test_a_word_that_is_no_data_set_is_refused():
    with pytest.raises(UnknownNameError, match="indian-pines"):
        parse_bands("indian-pine")
