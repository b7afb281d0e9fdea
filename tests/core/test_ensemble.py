"""Ensembles against the mean of their members, each run by itself."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

import hsrzoo
from hsrzoo.cli.ensemble import command
from hsrzoo.datasets.base import Scene
from hsrzoo.errors import BandsError, DatasetError, HsrzooError, InputError, WeightsError
from hsrzoo.models.complexity import macs
from hsrzoo.models.ensemble import SPEC, members
from hsrzoo.models.ensemble.average import average_weights
from hsrzoo.models.ensemble.network import Ensemble, build
from hsrzoo.models.ensemble.shares import fit_shares
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.models.weights import save_folder
from hsrzoo.spec import Execution, RgbInput
from tiled_networks import BANDS, NEED, Chained, Local

TWO = ("linear.indian-pines", "pixel-mlp.indian-pines")
SHARES = torch.tensor([0.5, 0.3, 0.2])


class Pixelwise(nn.Module):
    """A square of a matrix product."""

    halo = 0
    pixelwise = True

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, len(BANDS), 1)

    def forward(self, rgb: Tensor) -> Tensor:
        return self.layer(rgb).square()


def reconstructor(module: nn.Module, need: RgbInput, tile: int | None = None) -> Reconstructor:
    spec, execution = replace(SPEC, input=need), Execution(tile=tile)
    config = {"arguments": {}, "training": {}}
    return Reconstructor(module, spec, BANDS, name="test", config=config, device="cpu", execution=execution)


def three(how: str) -> tuple[Ensemble, np.ndarray, np.ndarray]:
    """An ensemble whose members come in the order pixelwise, local, with statistics; an image; and the
    weighted mean of the members' cubes. ``how``: normalisation of the first and the last one."""
    torch.manual_seed(0)
    modules, needs = [Pixelwise(), Local(), Chained()], [how, "none", how]
    ensemble = Ensemble(modules, needs, len(BANDS)).eval()
    ensemble.shares.copy_(SHARES[:, None] * torch.linspace(1, 2, len(BANDS)))
    rgb = np.random.default_rng(1).random((3, 61, 74), dtype=np.float32) * 0.5 + 0.2
    cubes = [
        reconstructor(module, replace(NEED, normalise=need)).predict(rgb)
        for module, need in zip(modules, needs, strict=True)
    ]
    return ensemble, rgb, np.einsum("mc,mchw->chw", ensemble.shares.numpy(), np.stack(cubes))


@pytest.mark.parametrize("how", ["none", "minmax-image"])
def test_the_cube_is_the_weighted_mean_of_the_members_cubes_whole_and_in_tiles(how, monkeypatch):
    ensemble, rgb, expected = three(how)
    monkeypatch.setattr("hsrzoo.layers.whole_image.LEAST_ROWS", 8)
    monkeypatch.setitem(hsrzoo.layers.whole_image.PIXELS_AT_ONCE, "cpu", 64)  # strips of 8 rows
    assert ensemble.halo == 6 and not ensemble.pixelwise
    for tile in (None, 24):
        found = reconstructor(ensemble, NEED, tile).predict(rgb)
        assert np.allclose(found, expected, atol=2e-6)


def test_gradients_reach_all_members_and_equal_those_without_strips():
    ensemble, rgb, expected = three("none")
    x = torch.from_numpy(np.pad(rgb, ((0, 0), (0, 3), (0, 2)), mode="reflect"))[None]
    found = ensemble(x)
    assert np.allclose(found[0, :, :61, :74].detach(), expected, atol=2e-6)
    found.sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in ensemble.parameters())


def test_cost_and_steps_of_tiles_are_those_of_all_members():
    class Outside(Local):
        tile_step = 6

        def unseen_macs(self, height: int, width: int) -> int:
            return 1000

    modules = [Outside(), Local()]
    modules[1].tile_step = 4
    ensemble = Ensemble(modules, ["none"] * 2, len(BANDS))
    assert ensemble.tile_step == 12
    assert macs(ensemble, 16, 16) == sum(macs(module, 16, 16) for module in modules)
    modules[1].halo = None
    assert ensemble.halo is None


def make(names, *arguments) -> members.Made:
    return members.make(members.load_members(names), *arguments)


def joined(tmp_path: Path, *arguments: str) -> Path:
    done = CliRunner().invoke(command, [*TWO, "-o", str(tmp_path / "out"), *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0 and done.stdout == ""
    return tmp_path / "out"


def test_the_command_writes_one_folder_that_holds_everything(tmp_path):
    folder = joined(tmp_path, "--shares", "0.25,0.75")
    rgb = np.random.default_rng(1).random((3, 20, 30), dtype=np.float32)
    cubes = [hsrzoo.load(name, device="cpu").predict(rgb) for name in TWO]
    model = hsrzoo.load(f"local-dir:{folder}", device="cpu")
    assert np.allclose(model.predict(rgb), 0.25 * cubes[0] + 0.75 * cubes[1], atol=1e-6)
    training = model.config["training"]
    single = hsrzoo.load(TWO[0], device="cpu").config["training"]
    for key in ("dataset", "split", "scenes", "fingerprint", "dataset_info"):
        assert training[key] == single[key]
    assert "extra" not in training  # both learned from the same scenes
    assert [one["name"] for one in training["members"]] == list(TWO)
    again = make([f"local-dir:{folder}", TWO[0]])  # an ensemble as a member
    assert again.module.halo == 0 and again.training["members"][0]["weights_sha256"] == model.weights_sha256


def test_averaged_weights_are_one_network_of_the_same_architecture(tmp_path):
    one = hsrzoo.load("linear.cave", device="cpu")
    other = copy.deepcopy(one.module)
    other.load_state_dict({name: 3 * tensor for name, tensor in other.state_dict().items()})
    record = one.config["training"]
    save_folder(tmp_path / "other", other, one.spec, one.bands, arguments={}, training=record)
    names = ("linear.cave", f"local-dir:{tmp_path / 'other'}")
    done = CliRunner().invoke(
        command, [*names, "-o", str(tmp_path / "out"), "--average-weights", "--shares", "0.75,0.25"]
    )
    assert done.exit_code == 0, done.output
    model = hsrzoo.load(f"local-dir:{tmp_path / 'out'}", device="cpu")
    rgb = np.random.default_rng(1).random((3, 5, 6), dtype=np.float32)
    np.testing.assert_allclose(model.predict(rgb), 1.5 * one.predict(rgb), atol=1e-6)
    training = model.config["training"]
    assert (training["method"], training["shares"]) == ("mean of weights", [0.75, 0.25])
    assert model.spec.name == "linear" and training["dataset"] == "cave"
    with pytest.raises(InputError, match=r"cannot be averaged.*same architecture, linear.*pixel-mlp"):
        average_weights(members.load_members(TWO))


def test_data_of_several_members_are_all_recorded():
    made = make(["linear.cave", "poly.indian-pines"])
    assert made.training["dataset"] == "cave"
    assert [one["dataset"] for one in made.training["extra"]] == ["indian-pines"]
    assert made.codebook is None and made.spec.input == RgbInput()


def test_sizes_and_codebooks_of_members_are_kept():
    made = make(["linear.cave", "mcga-s2.cave"])
    assert made.spec.input == RgbInput(multiple=4, min_size=4)
    assert made.spec.source.startswith("Mean of linear.cave (Least squares), mcga-s2.cave (Yang")
    assert made.codebook["sources"] == ["cave", "indian-pines"]


@pytest.mark.parametrize(
    ("names", "shares", "message"),
    [
        (TWO[:1], None, "two or more"),
        (TWO, (0.5, 0.6), "sum 1.*0.5, 0.6"),
        (TWO, (0.5,), "2 numbers"),
        (TWO, (1.5, -0.5), "0 or more"),
        (TWO, (float("nan"), 1.0), "0 or more"),
        ((TWO[0], "onnx:file.onnx"), None, "exported file"),
    ],
)
def test_members_that_do_not_fit_are_refused(names, shares, message):
    with pytest.raises(InputError, match=message):
        make(names, shares)


def test_members_of_other_bands_or_cameras_are_refused(tmp_path, monkeypatch):
    folder = joined(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["training"]["dataset_info"]["response"] = "cie-1931"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="cie-1931 and nikon-d5100"):
        make([TWO[0], f"local-dir:{folder}"])
    config["bands"]["centres_nm"][0] = 401.0
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BandsError):
        make([TWO[0], f"local-dir:{folder}"])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "one or more"),
        ("linear", "a list"),
        (["lineer"], "linear"),
        ([{"architecture": "linear", "weight": 1}], "unknown way"),
        ([{"architecture": 3}], "unknown way"),
        ([{"architecture": "linear", "normalise": "zscore"}], "unknown way"),
        ([{"architecture": "linear", "arguments": {"degree": 9}}], "0 to 4"),
    ],
)
def test_a_config_with_impossible_members_is_told_in_a_sentence(value, message):
    with pytest.raises(HsrzooError, match=message):
        build(BANDS, value)


def test_weights_that_lack_a_member_do_not_load(tmp_path):
    folder = joined(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["arguments"]["members"].append("poly")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="do not fit"):
        hsrzoo.load(f"local-dir:{folder}", device="cpu")


class Mixed:
    """Scenes whose cubes are weighted sums of those of the two models, with gaps."""

    name = "mixed"

    def __init__(self, weights: np.ndarray) -> None:
        self.models, self.weights = members.load_members(TWO), weights
        self.bands = self.models[0].bands

    def scenes(self, split: str) -> list[str]:
        return ["a", "b"]

    def load(self, split: str, name: str) -> Scene:
        rgb = np.random.default_rng(ord(name)).random((3, 9, 11), dtype=np.float32)
        cube = np.einsum("mc,mchw->chw", self.weights, self.cubes(rgb)).astype(np.float32)
        cube[3:5, :4] = np.nan
        return Scene(name, rgb, cube)

    def cubes(self, rgb: np.ndarray) -> np.ndarray:
        return np.stack([model.predict(rgb) for model in self.models])

    def fingerprint(self) -> str:
        return "mixed"


RISING = np.linspace(0.2, 0.9, 31)
SHIFTED = np.array([1.4, -0.4])[:, None].repeat(31, 1)


@pytest.mark.parametrize(
    ("truth", "per_band", "expected"),
    [
        (np.stack([RISING, 1 - RISING]), True, np.stack([RISING, 1 - RISING])),
        (np.tile([[0.3], [0.7]], 31), False, np.tile([[0.3], [0.7]], 31)),
        (SHIFTED, False, np.tile([[1.0], [0.0]], 31)),  # none is below 0
    ],
)
def test_shares_are_fitted_by_least_squares(truth, per_band, expected):
    data = Mixed(truth)
    found, record = fit_shares(data.models, data, "valid", per_band)
    assert np.allclose(found, expected, atol=2e-3)
    scenes = [data.load("valid", name) for name in "ab"]
    gaps = [np.einsum("mc,mchw->chw", found, data.cubes(scene.rgb)) - scene.cube for scene in scenes]
    squares = [np.nanmean(gap**2, axis=(1, 2)).mean() for gap in gaps]
    assert record["rmse"] == pytest.approx(float(np.sqrt(np.mean(squares))), abs=1e-4)
    assert record["rmse"] < min(record["rmse_of_members"]) + 1e-6 and record["scenes"] == ["a", "b"]


def test_shares_are_not_fitted_on_scenes_that_a_member_has_seen(tmp_path):
    with pytest.raises(InputError, match=r"linear.indian-pines was trained on.*columns-0-80"):
        joined(tmp_path, "--fit", "indian-pines", "--split", "train")


@pytest.mark.parametrize("per_band", [False, True])
def test_shares_are_not_fitted_to_members_whose_cubes_are_zero(per_band):
    data = Mixed(np.full((2, 31), 0.5))
    scene = data.load("valid", "a")
    zero = SimpleNamespace(
        name="zero",
        bands=data.bands,
        config={"training": {}},
        predict=lambda rgb: np.zeros_like(scene.cube),
    )
    with pytest.raises(DatasetError, match="No shares can be fitted to mixed/valid"):
        fit_shares([zero, zero], data, "valid", per_band)


def test_a_reference_needs_a_bundled_member(tmp_path):
    folders = [f"local-dir:{joined(tmp_path / text)}" for text in "ab"]
    done = CliRunner().invoke(command, [*folders, "-o", str(tmp_path / "out"), "--refer"])
    assert done.exit_code == 2 and "--refer has no effect" in done.stderr


def test_shares_of_folds_are_averaged(tmp_path):
    folds = [joined(tmp_path / str(i), "--shares", f"{i / 4},{1 - i / 4}") for i in (1, 2)]
    options = [option for fold in folds for option in ("--shares-of", f"local-dir:{fold}")]
    model = hsrzoo.load(f"local-dir:{joined(tmp_path / 'mean', *options)}", device="cpu")
    assert torch.allclose(model.module.shares, torch.tensor([[0.375], [0.625]]).expand(2, 31))
    with pytest.raises(InputError, match="no ensemble"):
        joined(tmp_path / "wrong", "--shares-of", TWO[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--per-band",), "--per-band"),
        (("--average-weights", "--refer"), "--average-weights"),
        (("--shares", "0.5,0.5", "--fit", "cave"), "exclude each other"),
        (("--shares", "a,b"), "'a,b'"),
        (("--data-root", "."), "--data-root"),
        (("--shares-of", "local-dir:{out}"), "replace the weights"),
    ],
)
def test_options_that_cannot_be_followed_are_refused(tmp_path, arguments, message):
    out = str(tmp_path / "out")
    done = CliRunner().invoke(command, [*TWO, "-o", out, *(text.format(out=out) for text in arguments)])
    assert done.exit_code == 2 and message in done.stderr
    assert not Path(out).exists()
