"""Stage 1 from the loss to the command line, and stage 2 started from what it wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from hsrzoo.bands import BandSet
from hsrzoo.datasets import open_dataset
from hsrzoo.datasets.base import Scene
from hsrzoo.errors import TrainingError
from hsrzoo.spec import Recipe
from hsrzoo.training.loop import train
from hsrzoo_mcga.codebook.folder import CodebookFolder
from hsrzoo_mcga.stage1.autoencoder import SpectralAutoencoder
from hsrzoo_mcga.stage1.task import CodebookTask, evaluate
from make_fixtures import make_cave_tree

RECIPE = Recipe(steps=6, batch=2, patch=16, loss="own", ema=0.5, checkpoint_every=2, valid_every=3)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four CAVE scenes of 24 x 32 pixels to train on."""
    folder = tmp_path_factory.mktemp("data")
    make_cave_tree(folder)
    return folder


def task(root: Path, recipe: Recipe = RECIPE) -> CodebookTask:
    torch.manual_seed(0)
    return CodebookTask(SpectralAutoencoder(31, latent=8, n_codes=16), open_dataset("cave", root), recipe)


def test_the_loss_counts_both_quantization_terms(root: Path) -> None:
    """Charbonnier + beta (L1 + L2), with L2 equal to L1 (MCGA, algorithms 1 and 2)."""
    one = task(root)
    one.prepare()
    cube, kept = one.draw(torch.Generator().manual_seed(1))
    loss, _ = one.loss((cube, kept))
    restored, queries = one.module(cube, kept)
    expected = ((cube - restored) ** 2 + 1e-6).sqrt().mean()
    for q in queries:
        error = (q.codes_map() - q.features).square().mean()
        expected = expected + 0.25 * 2 * (error + 0.25 * error)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)


def test_codes_without_use_move_onto_features(root: Path) -> None:
    one = task(root)
    one.prepare()
    one.steps = 1000
    one.loss(one.draw(torch.Generator().manual_seed(1)))
    used = torch.zeros(16, dtype=torch.bool)
    used[one._queries[0].indices.unique()] = True
    before = one.module.codes[0].detach().clone()
    one.since_use = [torch.full((16,), 49) for _ in one.since_use]
    with torch.no_grad():
        logs = one.after_step(50, torch.Generator().manual_seed(2))
    moved = (one.module.codes[0] != before).any(1)
    assert torch.equal(moved, ~used)
    assert logs["revived_1"] == int((~used).sum()) > 0
    one.since_use = [torch.full((16,), 49) for _ in one.since_use]
    with torch.no_grad():
        assert one.after_step(850, torch.Generator()) == {}, "the last fifth of the steps revives nothing"


def test_a_resumed_run_gives_the_same_codes(root: Path, tmp_path: Path) -> None:
    whole = train(task(root), RECIPE, tmp_path / "whole", progress=False)
    train(task(root), RECIPE, tmp_path / "parts", progress=False, stop_after=4)
    resumed = train(task(root), RECIPE, tmp_path / "parts", progress=False, resume=True)
    expected = whole.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.state_dict().items())


def test_evaluation_sees_the_error_of_a_known_reconstruction() -> None:
    torch.manual_seed(0)
    net = SpectralAutoencoder(6, latent=8, n_codes=4)
    with torch.no_grad():
        net.reconstruction.head.weight.zero_()
        net.reconstruction.head.bias.fill_(0.5)
    cubes = [torch.full((6, 8, 8), 0.7), torch.full((6, 8, 8), 0.2)]
    with torch.inference_mode():
        figures = evaluate(net, cubes)
    assert figures["rmse_masked"] == pytest.approx(0.25, abs=1e-6)
    assert figures["rmse_all"] == pytest.approx(0.25, abs=1e-6)
    assert 1 <= figures["perplexity_1"] <= 4


def call(command: object, *arguments: object) -> Result:
    result = CliRunner().invoke(command, [str(a) for a in arguments])  # type: ignore[arg-type]
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def test_codebooks_are_trained_mixed_and_taken_over_bit_for_bit(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hsrzoo
    from hsrzoo.cli.train import command as train_command
    from hsrzoo_mcga.command import command as codebook

    monkeypatch.chdir(tmp_path)
    shared = ("--data-root", root, "--threads", 1)
    small = ("--steps", 3, "--batch", 2, "--patch", 16, "--latent", 8, "--codes", 16)
    call(codebook, "train", "--dataset", "cave", "--out", "a", "--holdout", 1, *small, *shared)
    pines = ("--dataset", "indian-pines", "--data-option", "bands=all", "--out", "b")
    call(codebook, "train", *pines, *small, *shared, "--set", "ema_warmup=false")
    call(codebook, "mix", "a/codebook", "b/codebook", "--out", "mixed")
    mixed = CodebookFolder.read(Path("mixed"))
    assert [s.name for s in mixed.sources] == ["cave", "indian-pines"]
    assert [len(s.bands) for s in mixed.sources] == [31, 200]
    assert [s.record["recipe"]["ema_warmup"] for s in mixed.sources] == [True, False]
    assert mixed.sources[0].record["figures_on"] == "held-out training scenes"

    tiny = [
        f"--arg={k}={v}" for k, v in (("widths", "[8,8]"), ("blocks", "[1,1]"), ("stem", 4), ("head", 8))
    ]
    run = ("mcga-s2", "--dataset", "cave", "--start", "mixed", "--out", "run", "--batch", 2, "--patch", 16)
    call(train_command, *run, "--steps", 4, *tiny, *shared)
    model = hsrzoo.load("local-dir:run/weights", device="cpu")
    for scale, table in enumerate(mixed.codes(), 1):
        assert torch.equal(model.module.moc.at(scale), table), "the frozen mixture is untouched"
    config = json.loads(Path("run/weights/config.json").read_text())
    assert config["codebook"]["sources"] == ["cave", "indian-pines"]
    assert config["codebook"]["codes"] == 32
    assert config["codebook"]["sha256"] == mixed.sha256

    # what was trained can be fine-tuned: codebooks are part of the weights
    tuned = ("mcga-s2", "--dataset", "cave", "--init", "local-dir:run/weights", "--out", "tuned")
    call(train_command, *tuned, "--batch", 2, "--patch", 16, "--steps", 1, *shared)
    after = hsrzoo.load("local-dir:tuned/weights", device="cpu")
    assert all(torch.equal(after.module.moc.at(i), model.module.moc.at(i)) for i in (1, 2))
    record = json.loads(Path("tuned/weights/config.json").read_text())
    assert record["codebook"] == config["codebook"] and record["arguments"] == config["arguments"]


class Gappy:
    """One scene of 6 x 24 x 32 without data in the left half, but for a corner; more gaps where asked."""

    name, info = "gappy", {}
    bands = BandSet.regular(450, 700, 50)

    def __init__(self, *empty_bands: int) -> None:
        self.empty_bands = list(empty_bands)

    def scenes(self, split: str) -> list[str]:
        return ["a"]

    def load(self, split: str, scene: str) -> Scene:
        cube = torch.rand(6, 24, 32, generator=torch.Generator().manual_seed(0)).numpy()
        cube[2, 3:, :16] = float("nan")
        cube[self.empty_bands] = float("nan")
        return Scene(scene, cube[:3], cube)


def test_crops_have_data_everywhere() -> None:
    one = CodebookTask(SpectralAutoencoder(6, latent=8, n_codes=16), Gappy(), RECIPE)
    one.prepare()
    for seed in range(5):
        cube, _ = one.draw(torch.Generator().manual_seed(seed))
        assert cube.shape == (2, 6, 16, 16) and cube.isfinite().all()


def test_a_band_without_data_ends_the_training_of_codebooks_with_a_word_on_bands() -> None:
    one = CodebookTask(SpectralAutoencoder(6, latent=8, n_codes=16), Gappy(1, 4), RECIPE)
    with pytest.raises(TrainingError, match=r"gappy/train a.*2 bands.*500 nm.*Choose bands"):
        one.prepare()


def test_evaluation_leaves_values_without_data_out() -> None:
    net = SpectralAutoencoder(6, latent=8, n_codes=4)
    with torch.no_grad():
        net.reconstruction.head.weight.zero_()
        net.reconstruction.head.bias.fill_(0.5)
    cube = torch.full((6, 8, 8), 0.7)
    cube[:, :3] = torch.nan
    with torch.inference_mode():
        figures = evaluate(net, [cube])
    assert figures["rmse_masked"] == pytest.approx(0.2, abs=1e-6)
