"""Stage 1 on several sources: one codebook for all, mixtures for a range, figures on unseen pixels."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from hsrzoo.bands import BandSet
from hsrzoo.datasets.base import Scene
from hsrzoo.errors import HsrzooError, InputError, TrainingError, WeightsError
from hsrzoo.spec import Recipe
from hsrzoo.training.loop import train
from hsrzoo_mcga.codebook.folder import CodebookFolder, Source, mix, write
from hsrzoo_mcga.command import command
from hsrzoo_mcga.stage1.autoencoder import SpectralAutoencoder
from hsrzoo_mcga.stage1.evaluation import evaluate
from hsrzoo_mcga.stage1.init import apply_init, read_init
from hsrzoo_mcga.stage1.pooled import PooledAutoencoder, PooledTask
from hsrzoo_mcga.stage1.sources import SourceOptions, parse_source
from hsrzoo_mcga.stage1.task import CodebookTask, split_state
from hsrzoo_mcga.stage2.build import start
from make_fixtures import make_cave_tree

RECIPE = Recipe(steps=7, batch=2, patch=8, loss="own", ema=0.5, checkpoint_every=2, valid_every=4)
VISIBLE = BandSet.regular(400, 700, 50)
INFRARED = BandSet.regular(900, 1300, 50)


class Flat:
    """Two scenes of 8 x 12 in ``train``, one in ``valid``; each has one value everywhere."""

    def __init__(self, name: str, bands: BandSet) -> None:
        self.name, self.bands, self.info = name, bands, {}

    def scenes(self, split: str) -> list[str]:
        return {"train": ["a", "b"], "valid": ["v"]}[split]

    def load(self, split: str, scene: str) -> Scene:
        cube = np.full((len(self.bands), 8, 12), {"a": 0.2, "b": 0.4, "v": 0.9}[scene], np.float32)
        return Scene(scene, cube[:3], cube)

    def fingerprint(self) -> str:
        return "flat"


def part(name: str = "one", bands: BandSet = VISIBLE, seed: int = 0, **settings: object) -> CodebookTask:
    torch.manual_seed(seed)
    module = SpectralAutoencoder(len(bands), latent=8, n_codes=16)
    return CodebookTask(module, Flat(name, bands), RECIPE, **settings)


def pool() -> PooledTask:
    return PooledTask([part(), part("two", INFRARED, seed=1)], RECIPE)


def save_source(path: Path, name: str, bands: BandSet, latent: int = 8) -> CodebookFolder:
    torch.manual_seed(len(name) + len(bands))
    codes, rest = split_state(SpectralAutoencoder(len(bands), latent=latent, n_codes=16))
    write(path, codes, {name: rest}, [Source(name, bands, 16, {})], latent)
    return CodebookFolder.read(path)


# ------------------------------------------------------------------ a pooled codebook


def test_sources_share_the_codes_and_inner_layers_and_have_lift_and_head_of_their_own() -> None:
    one, two = pool().module.sources
    shared = {n for n, p in one.named_parameters() if p is dict(two.named_parameters())[n]}
    own = {n.rpartition(".")[0] for n, _ in one.named_parameters() if n not in shared}
    assert own == {"lift", "lift_out", "reconstruction.head"}
    assert {"codes.0", "codes.1", "down.0.weight", "reconstruction.narrow.0.weight"} <= shared


def test_sources_take_turns_and_a_step_leaves_the_other_source_as_it_was() -> None:
    task = pool()
    task.prepare()
    seen = []
    for step in range(1, 6):
        batch = task.draw(torch.Generator().manual_seed(step))
        seen.append(batch[0].shape[1])
        task.module.zero_grad()
        loss, logs = task.loss(batch)
        loss.backward()
        idle = task.module.sources[step % 2]
        assert logs["source"] == (step - 1) % 2
        assert idle.lift.weight.grad is None and idle.reconstruction.head.weight.grad is None
        assert idle.codes[0].grad is not None
        with torch.no_grad():
            task.after_step(step, torch.Generator())
    assert seen == [7, 9, 7, 9, 7]


@pytest.mark.parametrize("n", [2, 3, 5, 6])
def test_revivals_fall_to_the_sources_in_turn_and_wait_for_as_many_batches_of_each(n: int) -> None:
    task = PooledTask([part(f"s{i}", seed=i) for i in range(n)], RECIPE)
    period = task.parts[0].revive_every
    assert 50 < period <= 50 + n
    turns = [(period * event - 1) % n for event in range(1, n + 1)]
    assert sorted(turns) == list(range(n))
    assert all(p.dead_after == 50 * n for p in task.parts)
    assert all(p.since_use is task.parts[0].since_use for p in task.parts)


def test_a_resumed_pool_gives_the_same_weights(tmp_path: Path) -> None:
    whole = train(pool(), RECIPE, tmp_path / "whole", progress=False)
    train(pool(), RECIPE, tmp_path / "parts", progress=False, stop_after=3)
    resumed = train(pool(), RECIPE, tmp_path / "parts", progress=False, resume=True)
    expected = whole.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.state_dict().items())
    assert isinstance(resumed, PooledAutoencoder)
    assert resumed.sources[0].codes[0] is resumed.sources[1].codes[0]


def test_a_pool_refuses_two_sources_of_one_name_and_several_processes() -> None:
    with pytest.raises(TrainingError, match=r"only once.*one, one.*name=OTHER"):
        PooledTask([part(), part()], RECIPE)
    with pytest.raises(TrainingError, match="one process"):
        pool().share((torch.zeros(2), torch.zeros(2)), 0, 2)


# ------------------------------------------------------------------ figures on unseen pixels


def test_final_figures_are_of_the_split_asked_for_else_of_what_is_held_out() -> None:
    for settings, on, scenes, truth in (
        ({"figures_split": "valid"}, "valid", ["v"], [0.9]),
        ({}, "training scenes", ["a", "b"], [0.2, 0.4]),
    ):
        task = part(**settings)
        with torch.no_grad():
            task.module.reconstruction.head.weight.zero_()
            task.module.reconstruction.head.bias.fill_(0.5)
        final = task.final_figures(task.module)
        assert final["figures_on"] == on and final["figures_scenes"] == scenes
        expected = np.mean([abs(value - 0.5) for value in truth])
        assert final["figures"]["rmse_all"] == pytest.approx(expected, abs=1e-6)


def test_figures_on_the_training_split_are_refused() -> None:
    with pytest.raises(InputError, match="unseen pixels"):
        part(figures_split="train")


def test_sources_on_other_bands_are_also_scored_on_the_part_of_the_visible_grid_that_they_cover() -> None:
    """500-800 nm in steps of 100: 450-700 nm is within half a spacing, 26 of the 31 bands."""
    bands = BandSet.regular(500, 800, 100)
    net = SpectralAutoencoder(4, latent=8, n_codes=4)
    with torch.no_grad():
        net.reconstruction.head.weight.zero_()
        net.reconstruction.head.bias.copy_(torch.tensor([0.1, 0.5, 0.3, 0.9]))
    truth = torch.tensor([0.2, 0.2, 0.8, 0.0])
    cube = truth[:, None, None].repeat(1, 8, 8)
    cube[:, 0, 0] = torch.nan
    with torch.inference_mode():
        figures = evaluate(net, [cube], bands)
    grid, centres = np.arange(450, 701, 10), bands.centres_nm
    error = np.interp(grid, centres, [0.1, 0.5, 0.3, 0.9]) - np.interp(grid, centres, truth.numpy())
    assert figures["visible_bands"] == len(grid) == 26
    assert figures["rmse_all_visible"] == pytest.approx(np.sqrt(np.mean(error**2)), abs=1e-6)
    assert figures["rmse_masked_visible"] == pytest.approx(figures["rmse_all_visible"], abs=1e-6)
    known = np.array([0.1, 0.5, 0.3, 0.9]) - truth.numpy()
    assert figures["rmse_all"] == pytest.approx(np.sqrt(np.mean(known**2)), abs=1e-6)


@pytest.mark.parametrize("bands", [BandSet.regular(400, 700, 10), INFRARED])
def test_sources_on_the_grid_itself_or_wholly_beside_it_have_no_visible_figures(bands: BandSet) -> None:
    net = SpectralAutoencoder(len(bands), latent=8, n_codes=4)
    with torch.inference_mode():
        figures = evaluate(net, [torch.rand(len(bands), 8, 8)], bands)
    assert not [name for name in figures if "visible" in name]


# ------------------------------------------------------------------ mixtures


def test_a_mixture_for_a_range_leaves_out_the_rows_of_sources_beside_it(tmp_path: Path) -> None:
    first = save_source(tmp_path / "a", "first", VISIBLE)
    second = save_source(tmp_path / "b", "second", INFRARED)
    both = mix([second, first], tmp_path / "both")
    assert [s.rows for s in both.sources] == [slice(0, 16), slice(16, 32)]
    mixed = mix([both], tmp_path / "mixed", VISIBLE)
    assert [s.name for s in mixed.sources] == ["first"] and mixed.sources[0].rows == slice(0, 16)
    assert all(torch.equal(a, b) for a, b in zip(mixed.codes(), first.codes(), strict=True))
    assert not (tmp_path / "mixed" / "autoencoders" / "second.safetensors").exists()


def test_a_mixture_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one source"):
        mix([], tmp_path / "m")
    infrared = save_source(tmp_path / "b", "second", INFRARED)
    with pytest.raises(InputError, match=r"400-700 nm.*second: 9 bands, 900-1300 nm"):
        mix([infrared], tmp_path / "m", VISIBLE)
    assert not (tmp_path / "m").exists()


def test_codebooks_of_another_width_are_refused_with_both_folders(tmp_path: Path) -> None:
    wide = save_source(tmp_path / "wide", "wide", VISIBLE, latent=16)
    narrow = save_source(tmp_path / "narrow", "narrow", VISIBLE)
    with pytest.raises(WeightsError, match=r"latent 16 \(.*wide\).*latent 8 \(.*narrow\)"):
        mix([wide, narrow], tmp_path / "m")


def test_a_mixture_is_not_written_over_its_own_source(tmp_path: Path) -> None:
    first = save_source(tmp_path / "a", "first", VISIBLE)
    with pytest.raises(InputError, match="one of the folders"):
        mix([first], tmp_path / "a")


def test_folders_of_earlier_versions_hold_their_sources_one_after_another(tmp_path: Path) -> None:
    folders = [save_source(tmp_path / n, n, b) for n, b in (("a", VISIBLE), ("b", INFRARED))]
    mix(folders, tmp_path / "m")
    file = tmp_path / "m" / "config.json"
    config = json.loads(file.read_text())
    for source in config["sources"]:
        del source["first_code"]
    file.write_text(json.dumps(config))
    assert [s.rows for s in CodebookFolder.read(tmp_path / "m").sources] == [slice(0, 16), slice(16, 32)]


# ------------------------------------------------------------------ the command line


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("cave", SourceOptions("cave")),
        ("cave:holdout=4", SourceOptions("cave", holdout=4)),
        ("enmap:bands=all,figures=test", SourceOptions("enmap", {"bands": "all"}, figures="test")),
        (
            "folder:path=/a:b/c,zero-bands=drop,bands=450,550,name=x,split=part",
            SourceOptions(
                "folder", {"path": "/a:b/c", "zero_bands": "drop", "bands": "450,550"}, "x", split="part"
            ),
        ),
    ],
)
def test_sources_are_read(text: str, choice: SourceOptions) -> None:
    assert parse_source(text) == choice


@pytest.mark.parametrize(
    "text", [":a=1", "cave:", "cave:bands", "cave:bands=", "cave:holdout=many", "cave:a=1,a=2"]
)
def test_sources_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_source(text)


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(command, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, (SystemExit, HsrzooError)):
        raise result.exception
    return result


def test_a_pooled_codebook_starts_stage_2_and_mixes_with_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_cave_tree(tmp_path)
    monkeypatch.chdir(tmp_path)
    small = ("--steps", 3, "--batch", 2, "--patch", 16, "--latent", 8, "--codes", 24, "--threads", 1)
    sources = ("cave:holdout=1", "indian-pines:bands=all,figures=valid")
    flags = [flag for source in sources for flag in ("--source", source)]
    result = run("train", *flags, "--out", "run", *small, "--data-root", tmp_path)
    assert result.exit_code == 0, result.output
    pooled = CodebookFolder.read(Path("run/codebook"))
    assert [s.name for s in pooled.sources] == ["cave", "indian-pines"]
    assert [s.rows for s in pooled.sources] == [slice(0, 24)] * 2 and len(pooled.codes()[0]) == 24
    records = [s.record for s in pooled.sources]
    assert [r["figures_on"] for r in records] == ["held-out training scenes", "valid"]
    assert [r["pooled_with"] for r in records] == [["indian-pines"], ["cave"]]
    assert records[1]["figures"]["visible_bands"] == 31

    for source in pooled.sources:  # stage 2 finds the weights of the source on its own bands
        taken = start(Path("run/codebook"), source.bands, {})
        assert taken.arguments["n_codes"] == 24 and taken.record["sources"] == ["cave", "indian-pines"]
        assert len(taken.state["reconstruction.head.weight"]) == len(source.bands)

    infrared = save_source(tmp_path / "ir", "ir", INFRARED)
    mixed = mix([infrared, pooled], tmp_path / "mixed")
    assert [s.rows for s in mixed.sources] == [slice(0, 16), slice(16, 40), slice(16, 40)]
    result = run("mix", "mixed", "--out", "visible", "--for", "400:700:10")
    assert result.exit_code == 0 and "Left out: ir" in result.stderr and "ir" not in result.stdout
    for a, b in zip(CodebookFolder.read(Path("visible")).codes(), pooled.codes(), strict=True):
        assert torch.equal(a, b)


def test_the_command_line_refuses_no_source_and_two_ways_of_naming_them() -> None:
    assert "either --dataset or --source" in run("train").output
    assert "either" in run("train", "--dataset", "cave", "--source", "cave").output
    assert "takes these itself" in run("train", "--source", "cave", "--name", "x").output
    assert isinstance(run("mix", "--out", "m").exception, InputError)


# ------------------------------------------------------------------ a run that starts from another one


@pytest.mark.parametrize(("bands", "fresh"), [(VISIBLE, []), (INFRARED, ["lift", "reconstruction.head"])])
def test_stage_1_starts_from_the_weights_of_a_folder(
    tmp_path: Path, bands: BandSet, fresh: list[str]
) -> None:
    save_source(tmp_path / "made", "one", VISIBLE)
    init = read_init(tmp_path / "made", "two", {"latent": 8})
    module = SpectralAutoencoder(len(bands), **init.settings)
    first = {key: value.clone() for key, value in module.state_dict().items()}
    record = apply_init(init, module, bands)
    for key, value in module.state_dict().items():
        expected = first if key.rpartition(".")[0] in fresh else init.state
        assert torch.equal(value, expected[key]), key
    assert record.get("reinitialised", []) == fresh
    assert (record["name"], record["source"]) == ("made", "one") and len(record["sha256"]) == 3
    assert str(tmp_path) not in json.dumps(record)


@pytest.mark.parametrize(
    ("source", "asked", "message"),
    [
        ("three", {}, "several sources. Expected a run with the name of one of them: one, two"),
        ("one", {"n_codes": 32, "latent": 8}, "other settings. Expected n_codes 16. Got n_codes 32"),
    ],
)
def test_a_folder_that_does_not_fit_starts_nothing(
    tmp_path: Path, source: str, asked: dict[str, int], message: str
) -> None:
    mix([save_source(tmp_path / name, name, VISIBLE) for name in ("one", "two")], tmp_path / "mixed")
    with pytest.raises(InputError, match=re.escape(message)):
        read_init(tmp_path / "mixed", source, asked)


def test_the_command_starts_from_a_folder_and_records_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = save_source(tmp_path / "made", "one", VISIBLE)
    make_cave_tree(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    words = ("train", "--dataset", "cave", "--init", "made", "--out", "run", "--threads", "1")
    data = ("--data-root", "data", "--batch", "2", "--patch", "16")
    result = CliRunner().invoke(command, [*words, *data, "--steps", "1", "--lr", "1e-9"])
    assert result.exit_code == 0 and "number of bands: lift" in result.stderr
    tuned = CodebookFolder.read(Path("run/codebook"))
    assert tuned.sources[0].record["init"]["sha256"] == made.sha256
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(tuned.codes(), made.codes(), strict=True))
    refused = CliRunner().invoke(command, [*words, *data, "--out", "other", "--codes", "8"])
    assert isinstance(refused.exception, InputError) and "n_codes 16. Got n_codes 8" in str(
        refused.exception
    )
