"""Fine-tuning: what is taken over of trained weights, what stays frozen, and what is recorded."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from hsrzoo.bands import BandSet
from hsrzoo.errors import HsrzooError, TrainingError, WeightsError
from hsrzoo.models.weights import save_folder
from hsrzoo.registry import MODELS, load_plugin_file
from hsrzoo.training.init import build_from, freeze_parameters, read_init, require_trained, take_over
from hsrzoo.training.loop import train
from hsrzoo.training.pairs import PairTask
from hsrzoo.training.recipe import recipes_of
from hsrzoo.training.rundir import RunDir, load_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:The trained network is worse:UserWarning")  # short runs
TOYS = Path(__file__).with_name("toys.py")
FIVE, SEVEN = BandSet.regular(400, 700, 75), BandSet.regular(400, 700, 50)
SCENES = {"dataset": "toy-set", "split": "train", "scenes": ["s0"], "fingerprint": "f"}


@pytest.fixture
def source(tmp_path, toys):
    """A folder of weights of toy-net, width 6, for five bands."""
    load_plugin_file(TOYS)
    torch.manual_seed(11)
    module = toys.ToyNet(FIVE, width=6)
    folder = tmp_path / "home" / "trained"
    training = {**SCENES, "extra": [{"dataset": "more", "scenes": ["x"]}]}
    save_folder(
        folder, module, toys.NET, FIVE, arguments={"width": 6}, training=training, codebook={"a": 1}
    )
    return folder


@pytest.fixture
def tune(tmp_path, monkeypatch, source):
    """``tune("--steps", "2") -> Result`` of fine-tuning ``source`` in ``tmp_path``."""
    from hsrzoo.cli.train import command

    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, data: str = "toy-set", init: str = f"local-dir:{source}") -> Result:
        words = ["toy-net", "--dataset", data, "--threads", "1", "--out", "run", "--init", init, *arguments]
        result = CliRunner().invoke(command, words)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    from hsrzoo.models.tensors import load_tensors

    return load_tensors(folder / "model.safetensors")


def test_training_begins_with_all_tensors_of_the_source_and_records_it(
    tune, source, toys, same_bits
) -> None:
    init = read_init(f"local-dir:{source}", toys.NET, {}, toys.NET.recipe)
    module, fresh = build_from(init, FIVE)
    assert fresh == [] and same_bits(module.state_dict(), state_of(source))

    result = tune("--steps", "2", "--lr", "1e-9", "--set", "ema=0")
    assert result.exit_code == 0 and "local-dir:trained are fine-tuned" in result.stderr
    config = json.loads(Path("run/weights/config.json").read_text())
    sha = json.loads((source / "config.json").read_text())["weights_sha256"]
    assert config["arguments"] == {"width": 6} and config["codebook"] == {"a": 1}
    assert config["training"]["init"] == {
        "name": "local-dir:trained",
        "sha256": sha,
        "trained_on": [SCENES, {"dataset": "more", "scenes": ["x"]}],
    }
    assert str(source.parent) not in Path("run/weights/config.json").read_text()
    assert (
        f"| fine-tuned from | local-dir:trained, sha256 {sha} |"
        in Path("run/weights/README.md").read_text()
    )
    tuned, before = state_of(Path("run/weights")), state_of(source)
    assert torch.allclose(tuned["leave.weight"], before["leave.weight"], atol=1e-6)


def test_weights_of_the_hub_are_recorded_with_their_commit(source, toys, tmp_path) -> None:
    commit = "c0ffee" + "0" * 34
    cached = tmp_path / "models--lab--first" / "snapshots" / commit
    shutil.copytree(source, cached)
    record = read_init(f"local-dir:{cached}", toys.NET, {}, toys.NET.recipe).record
    assert (record["name"], record["revision"]) == ("hf-hub:lab/first", commit)


def test_a_second_fine_tuning_remembers_all_scenes(source, toys, tmp_path) -> None:
    config = json.loads((source / "config.json").read_text())
    before = [{"dataset": "first", "scenes": ["y"]}]
    config["training"] = {**SCENES, "init": {"trained_on": before}}
    (source / "config.json").write_text(json.dumps(config))
    init = read_init(f"local-dir:{source}", toys.NET, {}, toys.NET.recipe)
    assert init.record["trained_on"] == [SCENES, *before]


def test_another_number_of_bands_leaves_out_the_layers_that_depend_on_it(tune, source) -> None:
    result = tune("--steps", "1", data="toy-seven")
    assert result.exit_code == 0 and "for 7 bands in place of 5: leave" in result.stderr
    config = json.loads(Path("run/weights/config.json").read_text())
    assert config["training"]["init"]["reinitialised"] == ["leave"]
    init = read_init(f"local-dir:{source}", MODELS.get("toy-net"), {}, MODELS.get("toy-net").recipe)
    module, fresh = build_from(init, SEVEN)
    own, before = module.state_dict(), state_of(source)
    assert fresh == ["leave"] and own["leave.weight"].shape[0] == 7
    assert all(torch.equal(own[key], before[key]) for key in own if not key.startswith("leave."))
    with pytest.raises(TrainingError, match=r"leave\.weight is initialised anew .* and frozen"):
        freeze_parameters(module, ["leave"])
        require_trained(module, fresh)


def test_frozen_parameters_and_their_layers_statistics_keep_their_bits(tune, source) -> None:
    assert tune("--steps", "4", "--freeze", "enter.*", "--freeze", "norm").exit_code == 0
    tuned, before = state_of(Path("run/weights")), state_of(source)
    kept = {key for key in tuned if torch.equal(tuned[key], before[key])}
    assert kept == {key for key in tuned if not key.startswith("leave.")}
    state = load_checkpoint(Path("run/checkpoint.pt"))["engine"]
    assert len(state["optimiser"]["state"]) == 2  # of leave.weight and leave.bias
    assert json.loads(Path("run/config.json").read_text())["task"]["freeze"] == ["enter.*", "norm"]


def test_a_resumed_fine_tuning_equals_an_uninterrupted_one_and_checks_its_source(
    tmp_path, source, toys, same_bits
) -> None:
    recipe = replace(toys.NET.recipe, steps=6, checkpoint_every=3)

    def run(folder: str, **options: object) -> dict[str, torch.Tensor]:
        init = read_init(f"local-dir:{source}", toys.NET, {}, recipe)
        module, _ = build_from(init, FIVE)
        task = PairTask(init.spec, module, toys.ToySet(), recipe, init=init.record, freeze=["enter"])
        return train(task, recipe, tmp_path / folder, progress=False, **options).state_dict()

    whole = run("whole")
    run("parts", stop_after=3)
    assert same_bits(run("parts", resume=True), whole)
    torch.manual_seed(12)
    save_folder(source, toys.ToyNet(FIVE, 6), toys.NET, FIVE, arguments={"width": 6}, training=SCENES)
    with pytest.raises(TrainingError, match=r"task\.init\.sha256"):
        run("parts", resume=True)


def test_a_run_without_init_or_freeze_records_neither(make_task, tmp_path) -> None:
    task, _ = make_task(steps=1)
    assert {"init", "freeze"}.isdisjoint(task.record())
    RunDir(tmp_path / "run").open({"task": task.record()}, {}, False)


def test_the_input_is_that_of_the_weights(tune, source) -> None:
    config = json.loads((source / "config.json").read_text())
    config["input"]["normalise"] = "minmax-image"
    (source / "config.json").write_text(json.dumps(config))
    assert tune("--steps", "1").exit_code == 0
    tuned = json.loads(Path("run/weights/config.json").read_text())
    assert tuned["input"]["normalise"] == "minmax-image"
    with pytest.raises(TrainingError, match=r"another input\. Expected normalise=minmax-image"):
        tune("--steps", "1", "--set", "normalise=none")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--arg", "width=8"), "other arguments. Expected width=6. Got width=8"),
        (("--freeze", "entre"), "'entre' matches no parameter.*: frozen, enter, norm, leave"),
        (("--freeze", "*"), "leaves nothing to train"),
    ],
)
def test_what_does_not_fit_the_weights_is_named(tune, tmp_path, arguments, message) -> None:
    with pytest.raises(HsrzooError, match=message):
        tune("--steps", "1", *arguments)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ("mst-plus-plus.cave", "belong to another architecture. Expected toy-net. Got mst-plus-plus"),
        ("toy-net", "no trained weights for toy-net"),
        ("local-dir:nowhere", "does not exist"),
        ("local-dir:empty", "lacks its configuration"),
        ("local-dir:pickled", "pickle"),
        ("local-dir:other", "belong to another architecture. Expected toy-net. Got linear"),
        ("onnx:x.onnx", "cannot start from onnx:x.onnx"),
        ("home/trained", "local-dir:home/trained"),
    ],
)
def test_weights_that_cannot_be_fine_tuned_are_refused(tune, tmp_path, source, init, message) -> None:
    for name in ("empty", "pickled", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "pickled" / "model.pth").write_bytes(b"\x80\x04.")
    config = json.loads((source / "config.json").read_text())
    (tmp_path / "other" / "config.json").write_text(json.dumps({**config, "architecture": "linear"}))
    with pytest.raises(HsrzooError, match=message):
        tune("--steps", "1", init=init)
    assert not (tmp_path / "run").exists()


def test_start_and_init_exclude_each_other(tune) -> None:
    assert tune("--start", "codebook").exit_code == 2


def test_weights_of_which_no_layer_fits_are_refused(source, toys) -> None:
    init = read_init(f"local-dir:{source}", toys.NET, {}, toys.NET.recipe)
    only = torch.nn.Conv2d(3, 7, 1)
    before = torch.nn.Conv2d(3, 5, 1).state_dict()
    with pytest.raises(WeightsError, match="No layer of x fits another number of bands"):
        take_over(only, before, "x", init.bands, SEVEN)
    with pytest.raises(WeightsError, match="do not fit"):  # other shapes at the same number of bands
        take_over(only, before, "x", SEVEN, SEVEN)


def test_the_recipe_for_few_pairs_is_short_and_gentle(toys) -> None:
    common, few = (recipes_of(toys.NET)[name] for name in ("common", "few-pairs"))
    assert (few.lr, few.steps) == (common.lr / 10, 300) and few.warmup > 0 and few.ema > 0
    assert few.batch == common.batch and few.loss == common.loss


def test_scenes_of_the_source_count_as_seen() -> None:
    from types import SimpleNamespace

    from hsrzoo_benchmark.plan.cells import seen_in_training

    training = {"dataset": "folder", "scenes": ["a"], "init": {"trained_on": [SCENES]}}
    model = SimpleNamespace(config={"training": training})
    assert [seen_in_training(model, "toy-set", scene) for scene in ("s0", "s1")] == [True, False]
