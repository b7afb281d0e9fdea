"""``hsrzoo.load`` and ``hsrzoo.list_models``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import hsrzoo
from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.errors import BandsError, InputError, UnknownNameError, WeightsError
from hsrzoo.models import locate
from hsrzoo.models.loading import describe
from hsrzoo.models.names import parse_name
from hsrzoo.models.weights import save_folder
from hsrzoo.registry import MODELS
from hsrzoo.spec import Execution, ModelSpec, build_module
from waiting import LONG


class Net(nn.Module):
    def __init__(self, bands: BandSet) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, len(bands), 1)

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        return self.conv(rgb)


SPEC = ModelSpec(
    name="loading-test", build=Net, summary="s", source="t", default_tag="one", tags=("test-tag",)
)


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [({"avx512_bf16": True}, "bf16"), ({"avx512_f": True, "amx_bf16": False}, "fp32"), (None, "fp32")],
)
def test_automatic_precision_is_bf16_where_the_processor_has_it(capabilities, precision, monkeypatch):
    if capabilities is None:  # a torch that does not say
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    else:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    model = hsrzoo.load("linear", device="cpu", precision="auto")
    assert model.execution == Execution(precision)
    assert hsrzoo.load("linear", device="cpu").execution == Execution("fp32")


@pytest.mark.parametrize(
    ("name", "execution"),
    [
        ("linear", Execution()),
        ("linear.indian-pines", Execution("bf16", tile=64)),
        ("linear.cave", Execution(consistency="sigma-sdmerill")),
        ("pixel-mlp.cave", Execution(max_memory=1e9, approximate=True, consistency="estimate")),
        ("mcga-s2:counts-2", Execution(compile=True)),
        ("consistent", Execution()),
        ("consistent", Execution(consistency="nikon-d5100")),
        ("consistent", Execution(consistency="estimate")),
    ],
)
def test_a_model_is_described_as_it_is_loaded(name: str, execution: Execution, tmp_path: Path) -> None:
    if name == "consistent":
        training = {"recipe": {"consistency": True}, "dataset_info": {"response": "nikon-d5100"}}
        spec = MODELS.get("linear")
        module = build_module(spec, VISIBLE_31, {})
        save_folder(tmp_path / "w", module, spec, VISIBLE_31, arguments={}, training=training)
        name = f"local-dir:{tmp_path / 'w'}"
    found, model = describe(name, execution), hsrzoo.load(name, **vars(execution))
    for what in ("name", "weights_sha256", "identity", "bands", "own_consistency", "spec", "config"):
        assert getattr(found, what) == getattr(model, what), what


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_bands: BandSet) -> Path:
    """A zoo with one more model, whose weights ``one`` and ``two`` a package carries."""
    monkeypatch.setitem(MODELS._values, SPEC.name, SPEC)
    monkeypatch.setitem(MODELS._origins, SPEC.name, "test")
    package = tmp_path / "carrier_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemError('a package of weights was imported')")
    entries = {}
    for seed, tag in enumerate(("one", "two")):
        torch.manual_seed(seed)
        folder = package / "weights" / f"{SPEC.name}.{tag}"
        save_folder(folder, Net(tiny_bands), SPEC, tiny_bands, arguments={}, training={"seed": seed})
        entry = EntryPoint(f"{SPEC.name}.{tag}", "carrier_package", "hsrzoo.weights")
        entries[entry.name] = [entry]
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(locate, "entry_points_of", lambda group: entries)
    return package


def test_a_bare_name_loads_the_default_weights(zoo: Path) -> None:
    rgb = np.full((2, 2, 3), 0.5, np.float32)
    bare, tagged, other = (
        hsrzoo.load(n, device="cpu") for n in (SPEC.name, f"{SPEC.name}.one", f"{SPEC.name}.two")
    )
    assert bare.name == tagged.name == "loading-test.one"
    assert bare.weights_sha256 == tagged.weights_sha256 != other.weights_sha256
    assert np.array_equal(bare(rgb).cube, tagged(rgb).cube)
    assert not np.array_equal(bare(rgb).cube, other(rgb).cube)
    assert bare.config["training"] == {"seed": 0}


def test_a_local_folder_names_its_architecture_itself(zoo: Path) -> None:
    folder = zoo / "weights" / "loading-test.two"
    model = hsrzoo.load(f"local-dir:{folder}", device="cpu")
    assert model.spec == SPEC
    assert model.weights_sha256 == hsrzoo.load("loading-test.two", device="cpu").weights_sha256


def test_bands_asked_for_must_be_those_of_the_weights(zoo: Path, tiny_bands: BandSet) -> None:
    assert hsrzoo.load(SPEC.name, bands=tiny_bands, device="cpu").bands == tiny_bands
    with pytest.raises(BandsError, match=r"5 bands.*31 bands"):
        hsrzoo.load(SPEC.name, bands=VISIBLE_31)


def test_random_weights_come_only_when_asked_for(zoo: Path, tiny_bands: BandSet) -> None:
    model = hsrzoo.load(SPEC.name, weights=None, bands=tiny_bands, device="cpu")
    assert model.weights_sha256 is None and model.config["training"] == {"weights": "random"}
    assert len(hsrzoo.load(SPEC.name, weights=None, device="cpu").bands) == 31
    for name in ("loading-test.one", "local-dir:somewhere"):
        with pytest.raises(InputError, match="weights=None asks for random ones"):
            hsrzoo.load(name, weights=None)
    with pytest.raises(InputError, match="auto"):
        hsrzoo.load(SPEC.name, weights="imagenet")  # type: ignore[arg-type]


def test_missing_weights_say_which_there_are(zoo: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"loading-test\.three.*Use loading-test\.one or loading-test\.two"
    ):
        hsrzoo.load("loading-test.three")


def test_a_model_without_default_weights_says_so(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = ModelSpec(name="weightless", build=Net, summary="s", source="t")
    monkeypatch.setitem(MODELS._values, "weightless", bare)
    command = "hsrzoo train weightless --dataset NAME"
    with pytest.raises(WeightsError, match=rf"no trained weights for weightless.*{command}.*weights=None"):
        hsrzoo.load("weightless")


def test_declared_but_uninstalled_weights_ask_for_a_reinstall(zoo: Path) -> None:
    folder = zoo / "weights" / "loading-test.two"
    folder.rename(folder.with_name("gone"))
    with pytest.raises(WeightsError, match=r"not installed.*Reinstall"):
        hsrzoo.load("loading-test.two")


def test_unknown_architectures_come_before_missing_weights(zoo: Path) -> None:
    with pytest.raises(UnknownNameError, match="Nearest: loading-test"):
        hsrzoo.load("loading-tests.one")


def test_lists_filter_by_pattern_tag_and_weights(zoo: Path) -> None:
    assert hsrzoo.list_models("loading-*") == ["loading-test"]
    assert hsrzoo.list_models(pretrained=True) == ["loading-test.one", "loading-test.two"]
    assert hsrzoo.list_models("*.two", pretrained=True) == ["loading-test.two"]
    assert "loading-test" in hsrzoo.list_models(tag="test-tag")
    assert hsrzoo.list_models(tag="two", pretrained=True) == ["loading-test.two"]
    assert hsrzoo.list_models("nothing-*") == []


def test_importing_and_listing_load_neither_torch_nor_plugins() -> None:
    code = (
        "import sys, hsrzoo; hsrzoo.list_models(); hsrzoo.list_models(pretrained=True); dir(hsrzoo);"
        "print([m for m in sys.modules if m.split('.')[0] in"
        " ('torch', 'timm', 'hsrzoo_mcga', 'hsrzoo_baselines', 'hsrzoo_benchmark')])"
    )
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=LONG
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_public_names_resolve_and_others_do_not() -> None:
    for name in hsrzoo.__all__:
        assert getattr(hsrzoo, name) is not None
    assert hsrzoo.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hsrzoo.nothing  # noqa: B018


def test_the_weights_and_not_the_architecture_decide_the_normalisation(tmp_path: Path) -> None:
    """As for converted checkpoints that were trained on RGB normalised per image."""
    folder = tmp_path / "weights"
    shutil.copytree(locate.folder_of(parse_name("linear.cave")), folder)
    config = json.loads((folder / "config.json").read_text())
    config["input"]["normalise"] = "minmax-image"
    (folder / "config.json").write_text(json.dumps(config))
    rgb = np.random.default_rng(0).uniform(0.2, 0.7, (3, 4, 5)).astype(np.float32)
    stretched = (rgb - rgb.min()) / (rgb.max() - rgb.min())
    expected = hsrzoo.load("linear.cave").predict(stretched)
    assert np.allclose(hsrzoo.load(f"local-dir:{folder}").predict(rgb), expected, atol=1e-6)
    config["input"]["normalise"] = "zscore"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="zscore"):
        hsrzoo.load(f"local-dir:{folder}")


@pytest.mark.parametrize(
    ("requires", "words"),
    [
        ("pip install my-nets==1.0", r"It comes with a package: pip install my-nets==1\.0\."),
        ("--plugin tiny_net.py", r"the file tiny_net\.py: .*hsrzoo --plugin tiny_net\.py"),
        (None, r"load its file with `hsrzoo --plugin FILE`"),
        ("pip install x; rm -rf /", r"load its file with `hsrzoo --plugin FILE`"),
        ("--plugin ../../x.py", r"load its file with `hsrzoo --plugin FILE`"),
        (["--plugin x.py"], r"load its file with `hsrzoo --plugin FILE`"),
    ],
)
def test_weights_of_a_plugin_say_who_defines_their_architecture(
    tmp_path: Path, tiny_bands: BandSet, monkeypatch: pytest.MonkeyPatch, requires: object, words: str
) -> None:
    from hsrzoo.cli.show import describe

    known = requires if isinstance(requires, str) else None
    monkeypatch.setattr(type(MODELS), "requires", lambda self, name: known)
    folder = tmp_path / "weights"
    save_folder(folder, Net(tiny_bands), SPEC, tiny_bands, arguments={}, training={})
    config = json.loads((folder / "config.json").read_text())
    assert config.get("requires") == known
    (folder / "config.json").write_text(json.dumps({**config, "requires": requires}))
    start = f"local-dir:{folder} needs the architecture 'loading-test', which neither hsrzoo nor"
    for call in (lambda name: hsrzoo.load(name, device="cpu"), describe):
        with pytest.raises(UnknownNameError, match=words) as caught:
            call(f"local-dir:{folder}")
        assert str(caught.value).startswith(start) and "rm -rf" not in str(caught.value)


def test_without_a_name_the_recommended_model_is_loaded() -> None:
    assert hsrzoo.load(device="cpu").name == hsrzoo.recommended()
    assert hsrzoo.load(hsrzoo.recommended("indian-pines"), device="cpu").name.endswith(".indian-pines")


def test_a_data_set_without_recommended_weights_is_an_error_that_names_those_with() -> None:
    with pytest.raises(UnknownNameError, match=r"no data set with a recommended model .*Nearest: cave"):
        hsrzoo.recommended("caves")
