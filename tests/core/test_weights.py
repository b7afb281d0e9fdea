"""Folders of weights: the same bytes twice, strict loading, and every way a folder can be wrong."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from hsrzoo.bands import BandSet
from hsrzoo.errors import HsrzooError, StoreError, TrainingError, WeightsError
from hsrzoo.models.building import Size
from hsrzoo.models.locate import folder_of
from hsrzoo.models.names import parse_name
from hsrzoo.models.tensors import load_tensors, save_tensors
from hsrzoo.models.weights import input_of, load_module, make_config, read_config, save_folder
from hsrzoo.spec import ModelSpec
from hsrzoo.utils.files import sha256_of_file


class Net(nn.Module):
    def __init__(self, bands: BandSet, hidden: int = 4) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, hidden, 1)
        self.b = nn.Conv2d(hidden, len(bands), 1)
        self.register_buffer("count", torch.tensor([7], dtype=torch.int64))

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        return self.b(self.a(rgb))


SPEC = ModelSpec(name="net", build=Net, summary="a test network", source="here", arguments={"hidden": 5})


@pytest.fixture
def folder(tmp_path: Path, tiny_bands: BandSet) -> Path:
    torch.manual_seed(0)
    module = Net(tiny_bands, hidden=6)
    path = tmp_path / "weights"
    save_folder(path, module, SPEC, tiny_bands, arguments={"hidden": 6}, training={"steps": 10, "seed": 0})
    return path


def edit_config(folder: Path, change: Callable[[dict], object]) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def load(folder: Path, spec: ModelSpec = SPEC) -> nn.Module:
    return load_module(folder, spec, read_config(folder))[0]


def test_what_is_saved_comes_back(folder: Path, tiny_bands: BandSet) -> None:
    module, sha = load_module(folder, SPEC, read_config(folder))
    torch.manual_seed(0)
    original = Net(tiny_bands, hidden=6).state_dict()
    assert not module.training
    assert module.state_dict().keys() == original.keys()
    assert all(torch.equal(original[k], v) for k, v in module.state_dict().items())
    assert sha == sha256_of_file(folder / "model.safetensors") == read_config(folder)["weights_sha256"]


def test_config_records_what_decides_the_network(folder: Path, tiny_bands: BandSet) -> None:
    config = read_config(folder)
    assert config["schema"] == 1 and config["architecture"] == "net"
    assert config["arguments"] == {"hidden": 6}
    assert BandSet.from_json(config["bands"]) == tiny_bands
    assert config["training"] == {"steps": 10, "seed": 0}
    assert config["codebook"] is None
    assert config["input"]["order"] == "RGB" and config["input"]["range"] == [0, 1]
    assert (folder / "README.md").read_text().startswith("# net")


def test_a_licence_that_nobody_stated_is_not_made_up(tiny_bands: BandSet) -> None:
    spec = ModelSpec("mine", "nowhere:build", "s", "Me, 2026")
    assert make_config(spec, tiny_bands, arguments={}, training={})["licence"] == "none stated"


def test_two_saves_have_the_same_bytes(tmp_path: Path, tiny_bands: BandSet) -> None:
    module = Net(tiny_bands, hidden=6)
    for name in ("one", "two"):
        save_folder(
            tmp_path / name, module, SPEC, tiny_bands, arguments={"hidden": 6}, training={"b": 1, "a": 2}
        )
    for name in ("config.json", "model.safetensors", "README.md"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == [
        "README.md", "config.json", "model.safetensors"
    ]  # fmt: skip


def test_floats_are_stored_as_float32_and_counts_as_they_are(tmp_path: Path, tiny_bands: BandSet) -> None:
    module = Net(tiny_bands, hidden=6).to(torch.float64)
    save_folder(tmp_path, module, SPEC, tiny_bands, arguments={"hidden": 6}, training={})
    stored = load_tensors(tmp_path / "model.safetensors")
    assert stored["a.weight"].dtype == torch.float32 and stored["count"].dtype == torch.int64
    assert stored["count"].item() == 7


def test_tensors_that_share_memory_or_are_views_survive(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    path = tmp_path / "t.safetensors"
    save_tensors(path, {"base": base, "same": base, "turned": base.T}, {"z": 1, "a": [1.5]})
    back = load_tensors(path)
    assert torch.equal(back["same"], base) and torch.equal(back["turned"], base.T)
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"hsrzoo": '{"a": [1.5], "z": 1}'}


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.safetensors"
    save_tensors(path, {"x": torch.zeros(2)})
    before = path.read_bytes()

    def full_disk(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("hsrzoo.utils.files.os.fsync", full_disk)
    with pytest.raises(StoreError, match=r"t\.safetensors cannot be written.*Got no space left"):
        save_tensors(path, {"x": torch.ones(2)})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_one_error(tmp_path: Path, tiny_bands: BandSet) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"file/w cannot be written.*Not a directory.*--out") as caught:
        save_folder(tmp_path / "file/w", Net(tiny_bands), SPEC, tiny_bands, arguments={}, training={})
    assert caught.value.exit_code == 2


def test_a_newer_schema_says_upgrade(folder: Path) -> None:
    edit_config(folder, lambda c: c.update(schema=2, surprise=True))
    with pytest.raises(WeightsError, match=r"newer hsrzoo.*schema 2.*[Uu]pgrade"):
        read_config(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("bands"), "no bands"),
        (lambda c: c.pop("schema"), "no schema"),
        (lambda c: c.update(arguments=[1]), "arguments: list"),
        (lambda c: c.update(schema="1"), "schema: str"),
        (lambda c: c.update(schema=True), "schema: bool"),
        (lambda c: c.update(codebook=[]), "codebook: list"),
        (lambda c: c.update(codebook={"sources": [1]}), r"codebook.sources\[0\]: int"),
        (lambda c: c.update(codebook={"sha256": 3}), "codebook.sha256: int"),
        (lambda c: c["training"].update(dataset_info="x"), "training.dataset_info: str"),
        (lambda c: c["training"].update(dataset_info={"response": []}), "dataset_info.response: list"),
        (lambda c: c["training"].update(provenance=3), "training.provenance: int"),
        (lambda c: c["training"].update(scenes=[None]), r"training.scenes\[0\]: NoneType"),
        (lambda c: c.update(bands={}), "no valid bands"),
        (lambda c: c.update(bands={"centres_nm": 3}), "no valid bands"),
        (lambda c: c.update(bands={"centres_nm": [10**400]}), "no valid bands"),
        (lambda c: c.update(bands={"centres_nm": ["x"]}), "no valid bands"),
        (lambda c: c.update(bands={"centres_nm": []}), "no valid bands"),
    ],
)
def test_a_damaged_configuration_is_named(
    folder: Path, change: Callable[[dict], object], words: str
) -> None:
    edit_config(folder, change)
    with pytest.raises(WeightsError, match=words):
        read_config(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"order": "BGR"}, r"Expected order RGB, range \[0, 1\]. Got order BGR, range \[0, 1\]"),
        ({"range": [0, 255]}, r"range \[0, 255\]"),
        ({"range": None}, "range None"),
        ({"multiple": 0}, "multiple.*from 1 to 4096. Got 0"),
        ({"multiple": 8.0}, "multiple.*Got 8.0"),
        ({"multiple": 10**30}, "multiple.*from 1 to 4096. Got 1000"),
        ({"min_size": 4097}, "min_size.*from 1 to 4096"),
        ({"min_size": True}, "min_size.*Got True"),
        ({"min_size": "4"}, "min_size.*Got '4'"),
        ({"gamma": 2.2}, "unknown input"),
        ({"normalise": "sometimes"}, "unknown normalisation"),
    ],
)
def test_an_input_that_cannot_be_given_is_refused(folder: Path, changes: dict, words: str) -> None:
    edit_config(folder, lambda c: c["input"].update(changes))
    with pytest.raises(WeightsError, match=words):
        input_of(read_config(folder), folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\xff", "[" * 5000])
def test_a_configuration_that_is_no_json_object_is_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(WeightsError, match=r"config\.json"):
        read_config(folder)


def test_weights_of_another_architecture_are_refused(folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"another architecture. Expected other. Got net"):
        load(folder, replace(SPEC, name="other"))


def test_arguments_that_do_not_fit_are_named(folder: Path) -> None:
    edit_config(folder, lambda c: c.update(arguments={"colour": 3}))
    with pytest.raises(WeightsError, match=r"cannot be built.*colour"):
        load(folder)


class Deep(Net):
    def __init__(self, bands: BandSet, hidden: int = 4, depth: int = 1) -> None:
        super().__init__(bands, hidden)
        self.more = nn.ModuleList(nn.Linear(1, 1) for _ in range(depth))


class Restless(Net):
    """Its constructor needs memory, so that torch's device without any cannot run it."""

    def __init__(self, bands: BandSet, hidden: int = 4) -> None:
        scale = float(torch.ones(3).sum())
        super().__init__(bands, hidden)
        self.scale = scale


@pytest.mark.parametrize(
    ("build", "arguments", "words"),
    [
        (Net, {"hidden": 10**9}, r"much larger than its weights.*about 5 tensors in \d+ bytes"),
        (Net, {"hidden": 10**12}, "much larger than its weights.*elements, and more to come"),
        (Net, {"hidden": 10**30}, r"much larger than its weights.*an argument of 1e\+30"),
        (Net, {"hidden": [{"x": -(10**30)}]}, r"much larger.*an argument of -1e\+30"),
        (Deep, {"hidden": 6, "depth": 10**9}, "much larger than its weights.*tensors with"),
        (Restless, {"hidden": 10**6}, "cannot be built.*more to come"),
        (Net, {"hidden": -1}, "cannot be built.*negative"),
        (Net, {"hidden": None}, "cannot be built"),
        (Net, {"hidden": "x"}, "cannot be built"),
        (Net, {"hidden": [3]}, "cannot be built"),
    ],
)
def test_arguments_make_no_network_that_is_larger_than_its_file(
    folder: Path, build: type[Net], arguments: dict, words: str
) -> None:
    edit_config(folder, lambda c: c.update(arguments=arguments))
    with pytest.raises(WeightsError, match=words):
        load(folder, replace(SPEC, build=build))


def test_a_constructor_that_needs_memory_is_run_all_the_same(folder: Path) -> None:
    assert load(folder, replace(SPEC, build=Restless)).scale > 0


@pytest.mark.parametrize(
    "header",
    [b"[]", b'{"a": 3}', b'{"a": {}}', b'{"a": {"shape": [1e9]', b'{"a":' + b"[" * 5000],
)
def test_a_damaged_header_of_weights_is_told(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    for read in (load_tensors, Size.of):
        with pytest.raises(WeightsError, match="not a complete safetensors file"):
            read(path)


def rewrite(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Other tensors under a configuration that agrees with their sha256."""
    save_tensors(folder / "model.safetensors", tensors)
    declare(folder)


def declare(folder: Path) -> None:
    sha = sha256_of_file(folder / "model.safetensors")
    edit_config(folder, lambda c: c.update(weights_sha256=sha))


def test_missing_extra_and_misshaped_tensors_are_named(folder: Path) -> None:
    state = load_tensors(folder / "model.safetensors")
    state["extra"] = torch.zeros(1)
    state["a.weight"] = torch.zeros(1, 3, 1, 1)
    del state["b.bias"]
    rewrite(folder, state)
    with pytest.raises(WeightsError) as caught:
        load(folder)
    text = str(caught.value)
    assert "missing b.bias" in text and "unexpected extra" in text
    assert "a.weight is (1, 3, 1, 1), not (6, 3, 1, 1)" in text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("key", ["a.weight", "b.bias"])
def test_weights_that_are_not_finite_are_refused(folder: Path, key: str, value: float) -> None:
    state = load_tensors(folder / "model.safetensors")
    state[key].view(-1)[-1] = value
    with pytest.raises(TrainingError, match="not finite"):
        save_tensors(folder / "model.safetensors", state)
    save_file(state, folder / "model.safetensors")
    declare(folder)
    with pytest.raises(WeightsError, match=f"not finite.*1 of 5 tensors, first {key}"):
        load(folder)


def test_numbers_too_large_for_the_network_are_refused(folder: Path) -> None:
    state = load_tensors(folder / "model.safetensors")
    rewrite(folder, {**state, "a.bias": torch.full((6,), 1e300, dtype=torch.float64)})
    with pytest.raises(WeightsError, match=r"not finite.*first a\.bias"):
        load(folder)


@pytest.mark.parametrize(
    ("key", "dtype"),
    [("a.weight", torch.int64), ("a.weight", torch.bool), ("a.weight", torch.complex64),
     ("count", torch.float32), ("count", torch.bool)],
)  # fmt: skip
def test_numbers_of_another_kind_are_refused(folder: Path, key: str, dtype: torch.dtype) -> None:
    state = load_tensors(folder / "model.safetensors")
    rewrite(folder, {**state, key: state[key].to(dtype)})
    with pytest.raises(WeightsError, match=rf"other numbers.*{key} of {state[key].dtype}. Got {dtype}"):
        load(folder)


def test_half_precision_is_a_precision(folder: Path) -> None:
    state = load_tensors(folder / "model.safetensors")
    rewrite(folder, {key: v.half() if v.is_floating_point() else v for key, v in state.items()})
    assert load(folder).a.weight.dtype == torch.float32


def test_long_lists_of_differences_are_cut(folder: Path) -> None:
    rewrite(folder, {f"x{i}": torch.zeros(1) for i in range(50)})
    with pytest.raises(WeightsError, match="and 51 more"):
        load(folder)


def test_a_changed_file_is_noticed_with_both_digests(folder: Path) -> None:
    described = read_config(folder)["weights_sha256"]
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError) as caught:
        load(folder)
    assert described[:16] in str(caught.value) and sha256_of_file(path)[:16] in str(caught.value)


@pytest.mark.parametrize("keep", [0, 5, 30, -4])
def test_a_truncated_file_is_refused(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match="not a complete safetensors file"):
        load_tensors(path)


class Bomb:
    """Unpickling it writes a file: proof that nothing was unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return (Path.write_text, (self.target, "exploded"))


@pytest.mark.parametrize("writer", ["torch", "pickle"])
@pytest.mark.parametrize("name", ["model.safetensors", "model.pth", "pytorch_model.bin"])
def test_pickles_are_refused_and_never_run(folder: Path, tmp_path: Path, name: str, writer: str) -> None:
    fuse = tmp_path / "fuse"
    (folder / "model.safetensors").unlink()
    path = folder / name
    if writer == "torch":
        torch.save({"x": Bomb(fuse)}, path)
    else:
        path.write_bytes(pickle.dumps(Bomb(fuse)))
    for attempt in (lambda: load(folder), lambda: load_tensors(path)):
        with pytest.raises(WeightsError, match=r"pickle.*hsrzoo convert"):
            attempt()
    assert not fuse.exists()


def test_a_pickle_given_as_the_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"x": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="pickle"):
        folder_of(parse_name(f"local-dir:{path}"))
    (tmp_path / "config.json").unlink(missing_ok=True)
    with pytest.raises(WeightsError, match="pickle"):
        read_config(tmp_path)


@pytest.mark.parametrize("path", ["nowhere", "x" * 5000, "a\0b"])
def test_folders_that_cannot_be_are_one_error(tmp_path: Path, path: str) -> None:
    with pytest.raises(WeightsError):
        folder_of(parse_name(f"local-dir:{tmp_path}/{path}"))


def test_a_plain_file_is_not_a_folder_of_weights(tmp_path: Path) -> None:
    (tmp_path / "w.txt").write_text("hello")
    with pytest.raises(WeightsError, match="folder, not a file"):
        folder_of(parse_name(f"local-dir:{tmp_path / 'w.txt'}"))


def test_unknown_weights_offer_training_and_random_ones() -> None:
    with pytest.raises(HsrzooError, match=r"no trained weights for mcga-s2\.nowhere.*weights=None"):
        folder_of(parse_name("mcga-s2.nowhere"))
