"""``hsrzoo train`` from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

import hsrzoo
from hsrzoo.errors import HsrzooError, StoreError, TrainingError, WeightsError
from hsrzoo.registry import load_plugin_file

pytestmark = pytest.mark.filterwarnings("ignore:The trained network is worse:UserWarning")  # short runs
TOYS = Path(__file__).with_name("toys.py")


@pytest.fixture
def hsrzoo_train(tmp_path, monkeypatch):
    """``hsrzoo_train("--steps", "3") -> Result`` of training toy-net on toy-set in ``tmp_path``."""
    from hsrzoo.cli.train import command

    load_plugin_file(TOYS)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, name: str = "toy-net") -> Result:
        result = CliRunner().invoke(command, [name, "--dataset", "toy-set", "--threads", "1", *arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def test_training_in_a_process_of_its_own_writes_weights_that_load(run_hsrzoo, tmp_path, toys) -> None:
    done = run_hsrzoo(
        "--plugin", TOYS, "train", "toy-net", "--dataset", "toy-set", "--steps", "3", "--holdout", "1",
        "--out", tmp_path / "deep" / "run", "--set", "loss=l1", "--arg", "width=4", "--seed", "5",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and "held out: rmse" in done.stderr
    folder = tmp_path / "deep" / "run" / "weights"
    config = json.loads((folder / "config.json").read_text())
    training = config["training"]
    assert config["arguments"] == {"width": 4}
    assert (training["dataset"], training["split"], training["fingerprint"]) == ("toy-set", "train", "toy")
    assert (training["steps"], training["seed"], training["recipe"]["loss"]) == (3, 5, "l1")
    assert training["scenes"] == ["s0", "s1", "s2"] and training["held_out"] == ["s3"]
    assert training["cpu_seconds"] > 0 and training["threads"] == 1
    assert str(tmp_path) not in (folder / "config.json").read_text()


def test_weights_are_the_averaged_ones_and_load(hsrzoo_train, tmp_path, toys) -> None:
    import hsrzoo

    assert hsrzoo_train("--steps", "6", "--set", "ema=0.5").exit_code == 0
    run = tmp_path / "runs" / "toy-net-toy-set"
    model = hsrzoo.load(f"local-dir:{run / 'weights'}", device="cpu")
    average = torch.load(run / "checkpoint.pt", weights_only=True)["engine"]["average"]
    assert torch.equal(model.module.enter.weight, average["enter.weight"])
    image = np.random.default_rng(0).random((7, 9, 3), dtype=np.float32)
    assert model(image).cube.shape == (7, 9, 5)


def test_the_authors_recipe_decides_rate_loss_and_input(hsrzoo_train, tmp_path) -> None:
    import hsrzoo

    assert hsrzoo_train("--recipe", "authors", "--steps", "2").exit_code == 0
    run = tmp_path / "runs" / "toy-net-toy-set"
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["lr"] for line in lines if "lr" in line] == pytest.approx([4e-4, 1e-6], rel=1e-9)
    config = json.loads((run / "weights" / "config.json").read_text())
    assert config["input"]["normalise"] == "minmax-image"
    assert config["training"]["recipe"]["loss"] == "mrae" and config["training"]["recipe"]["ema"] == 0
    # what predicts is told: an image of any contrast is stretched to the same
    model = hsrzoo.load(f"local-dir:{run / 'weights'}", device="cpu")
    image = np.random.default_rng(0).random((8, 8, 3), dtype=np.float32)
    assert np.allclose(model(image).cube, model(image * 0.5 + 0.25).cube, atol=1e-5)


@pytest.mark.parametrize("arguments", [(), ("--recipe", "common")], ids=["none", "common"])
def test_the_common_recipe_leaves_the_input_as_it_is(hsrzoo_train, tmp_path, arguments) -> None:
    assert hsrzoo_train(*arguments, "--steps", "1").exit_code == 0
    run = tmp_path / "runs" / "toy-net-toy-set"
    config = json.loads((run / "weights" / "config.json").read_text())
    assert config["input"]["normalise"] == "none"
    assert config["training"]["recipe"]["loss"] == "charbonnier+relative"


def test_a_start_is_taken_over_and_recorded(hsrzoo_train, tmp_path) -> None:
    assert hsrzoo_train("--steps", "3", "--start", "somewhere/mixed").exit_code == 0
    run = tmp_path / "runs" / "toy-net-toy-set"
    config = json.loads((run / "weights" / "config.json").read_text())
    assert config["codebook"] == {"codebook": "mixed"} and config["arguments"] == {"width": 6}
    state = torch.load(run / "checkpoint.pt", weights_only=True)["engine"]["module"]
    assert torch.equal(state["codebook"], torch.full((16, 4), 7.0))
    with pytest.raises(TrainingError, match="does not fit toy-net"):
        hsrzoo_train("--start", "wrong", "--out", "other")


def test_a_folder_that_cannot_be_written_is_told_before_the_scenes_are_read(
    hsrzoo_train, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("hsrzoo.training.pairs.PairTask.prepare", lambda self: pytest.fail("too late"))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="file/run cannot be written") as caught:
        hsrzoo_train("--steps", "3", "--out", "file/run")
    assert caught.value.exit_code == 2


def test_existing_folder_needs_resume(hsrzoo_train, tmp_path) -> None:
    assert hsrzoo_train("--steps", "3").exit_code == 0
    weights = tmp_path / "runs" / "toy-net-toy-set" / "weights" / "model.safetensors"
    before = weights.read_bytes()
    with pytest.raises(TrainingError, match="--resume"):
        hsrzoo_train("--steps", "3")
    assert hsrzoo_train("--steps", "3", "--resume").exit_code == 0
    assert weights.read_bytes() == before


@pytest.mark.parametrize(("at", "kept"), [(3, "no checkpoint yet"), (6, "the last checkpoint")])
def test_ctrl_c_says_what_is_kept_and_how_to_go_on(
    hsrzoo_train, tmp_path, monkeypatch, at: int, kept: str
) -> None:
    from hsrzoo.training.engine import Engine

    step = Engine.step

    def interrupted(self, index: int, steps: int) -> dict[str, float]:
        if index == at:
            raise KeyboardInterrupt
        return step(self, index, steps)

    monkeypatch.setattr(Engine, "step", interrupted)
    arguments = ("--steps", "8", "--set", "checkpoint_every=5")
    stopped = hsrzoo_train(*arguments)
    assert f"Kept in runs/toy-net-toy-set: {kept}. Run the same command with --resume" in stopped.stderr
    with pytest.raises(WeightsError, match=r"folder of a run.*It has none yet: .*--resume"):
        hsrzoo.load("local-dir:runs/toy-net-toy-set", device="cpu")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert hsrzoo_train(*arguments, "--resume").exit_code == 0
    with pytest.raises(WeightsError, match=r"Expected runs/toy-net-toy-set/weights\. Name that folder"):
        hsrzoo.load("local-dir:runs/toy-net-toy-set", device="cpu")


def test_a_run_of_an_earlier_version_is_resumed_without_warm_up(
    hsrzoo_train, tmp_path, forget_fields
) -> None:
    assert hsrzoo_train("--steps", "6", "--set", "ema_warmup=false").exit_code == 0
    run = tmp_path / "runs" / "toy-net-toy-set"
    before = (run / "weights" / "model.safetensors").read_bytes()
    forget_fields(run, "ema_warmup")
    assert hsrzoo_train("--steps", "6", "--resume").exit_code == 0
    assert (run / "weights" / "model.safetensors").read_bytes() == before
    config = json.loads((run / "weights" / "config.json").read_text())
    assert config["training"]["recipe"]["ema_warmup"] is False
    with pytest.raises(TrainingError, match="ema_warmup: False before, True now"):
        hsrzoo_train("--steps", "6", "--resume", "--set", "ema_warmup=true")
    assert hsrzoo_train("--steps", "6", "--out", "new").exit_code == 0
    config = json.loads((tmp_path / "new" / "weights" / "config.json").read_text())
    assert config["training"]["recipe"]["ema_warmup"] is True


def test_the_result_is_compared_with_the_mean_spectrum(hsrzoo_train, tmp_path) -> None:
    with pytest.warns(UserWarning, match="worse than the mean spectrum on 4 crops"):
        assert hsrzoo_train("--steps", "1").exit_code == 0
    training = json.loads((tmp_path / "runs/toy-net-toy-set/weights/config.json").read_text())["training"]
    assert training["slice_rmse"] > training["slice_rmse_mean_spectrum"] > 0


@pytest.mark.filterwarnings("ignore:The trained network is worse than the mean spectrum")
def test_a_model_that_can_be_fitted_is_trained_too_where_it_has_parameters(hsrzoo_train, tmp_path) -> None:
    hsrzoo_train("--steps", "1", "--batch", "2", name="pixel-mlp")
    assert hsrzoo.load(f"local-dir:{tmp_path}/runs/pixel-mlp-toy-set/weights", device="cpu").halo == 0


@pytest.mark.parametrize(
    ("arguments", "name", "message"),
    [
        (("--steps", "3"), "toy-nett", "toy-net"),
        (("--steps", "3"), "toy-fitted", "hsrzoo .*fit toy-fitted --dataset toy-set"),
        (("--set", "sepps=3"), "toy-net", "steps"),
        (("--recipe", "athors"), "toy-net", "recipe of toy-net named 'athors'.*authors"),
        (("--recipe", "paper"), "toy-net", "Known: authors, common, few-pairs"),
        (("--arg", "widht=3"), "toy-net", "widht"),
        (("--holdout", "9"), "toy-net", "held out"),
        (("--split", "valid", "--lr", "0"), "toy-net", "lr"),
    ],
)
def test_mistakes_are_named(hsrzoo_train, tmp_path, arguments, name, message) -> None:
    with pytest.raises(HsrzooError, match=message):
        hsrzoo_train(*arguments, name=name)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "arguments",
    [("--steps", "3", "--minutes", "1"), ("--minutes", "0"), ("--lr", "1", "--set", "lr=2")],
)
def test_contradicting_options_are_a_usage_error(hsrzoo_train, arguments) -> None:
    assert hsrzoo_train(*arguments).exit_code == 2


def test_a_network_that_needs_segments_is_trained_on_those_of_its_crops(hsrzoo_train, tmp_path) -> None:
    pytest.importorskip("skimage")
    small = ("--arg", "blocks=1", "--arg", "width=32", "--patch", "8", "--batch", "2")
    assert hsrzoo_train("--steps", "1", *small, name="hprn").exit_code == 0
    folder = tmp_path / "runs" / "hprn-toy-set" / "weights"
    assert json.loads((folder / "config.json").read_text())["arguments"]["labels"]["n_segments"]
    image = np.random.default_rng(0).random((7, 9, 3), dtype=np.float32)
    assert hsrzoo.load(f"local-dir:{folder}", device="cpu")(image).cube.shape == (7, 9, 5)
