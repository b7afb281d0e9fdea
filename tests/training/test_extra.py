"""Training on a second data set beside the first."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

from hsrzoo.bands import BandSet
from hsrzoo.errors import BandsError, TrainingError
from hsrzoo.registry import load_plugin_file
from hsrzoo.training.pairs import PairTask


def build(toys, extra=(), **settings):
    class Other(toys.ToySet):
        """Scenes of another size, whose band 1 is 0.9."""

        name = "other-set"

        def load(self, split, scene):
            found = super().load(split, scene)
            found.cube[1] = 0.9
            return found

    recipe = replace(toys.NET.recipe, augment=(), batch=4, holdout=1)
    added = [(Other(*size), "train") for size in extra]
    return PairTask(
        toys.NET, toys.ToyNet(toys.ToySet.bands), toys.ToySet(), recipe, extra=added, **settings
    )


def test_without_extra_data_crops_and_record_are_those_of_before(toys) -> None:
    task = build(toys)
    task.prepare()
    _, cube = task.draw(torch.Generator().manual_seed(7))
    generator = torch.Generator().manual_seed(7)

    def below(n: int) -> int:
        return int(torch.randint(n, (), generator=generator))

    for drawn in cube:  # the order of random numbers: scene, row, column
        scene, top, left = below(3), below(20 - 16 + 1), below(24 - 16 + 1)
        whole = toys.ToySet().load("train", f"s{scene}").cube
        assert torch.equal(drawn, torch.from_numpy(whole[:, top : top + 16, left : left + 16]))
    known = "model arguments dataset dataset_info split scenes held_out fingerprint start"
    assert set(task.record()) == set(known.split())


def test_the_share_of_crops_from_extra_data_is_the_one_asked_for(toys) -> None:
    task = build(toys, extra=[(16, 16), (18, 40)], extra_share=0.4)
    task.prepare()
    generator = torch.Generator().manual_seed(0)
    labels = torch.cat([task.draw(generator)[1][:, 1, 0, 0] for _ in range(250)])
    assert float((labels == 0.9).float().mean()) == pytest.approx(0.4, abs=0.05)  # 3 sigma: 0.046
    own = labels[labels != 0.9]
    assert sorted({round(float(x) * 10) for x in own}) == [0, 1, 2], "the held-out scene is never drawn"
    record = task.record()
    assert record["extra_share"] == 0.4
    assert [x["dataset"] for x in record["extra"]] == ["other-set", "other-set"]
    assert record["extra"][0]["scenes"] == ["s0", "s1", "s2", "s3"] and record["scenes"] == [
        "s0",
        "s1",
        "s2",
    ]


def test_extra_data_of_other_bands_or_an_impossible_share_are_refused(toys) -> None:
    class Shifted(toys.ToySet):
        bands = BandSet.regular(410, 710, 75)

    recipe = toys.NET.recipe
    with pytest.raises(BandsError, match="410-710"):
        PairTask(toys.NET, toys.ToyNet(Shifted.bands), toys.ToySet(), recipe, extra=[(Shifted(), "train")])
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(TrainingError, match="share"):
            build(toys, extra=[(16, 16)], extra_share=share)


def test_scenes_that_are_held_out_are_not_let_in_as_extra_data(toys) -> None:
    class Brighter(toys.ToySet):
        """The same scenes seen otherwise."""

        def fingerprint(self):
            return "brighter"

    module, recipe = toys.ToyNet(toys.ToySet.bands), replace(toys.NET.recipe, holdout=1)
    with pytest.raises(TrainingError, match=r"held out.*Got s3\."):
        PairTask(toys.NET, module, toys.ToySet(), recipe, extra=[(Brighter(), "train")])
    PairTask(toys.NET, module, toys.ToySet(), replace(recipe, holdout=0), extra=[(Brighter(), "train")])
    elsewhere = Brighter()
    elsewhere.folder = "elsewhere"  # other scenes of the same names
    PairTask(toys.NET, module, toys.ToySet(), recipe, extra=[(elsewhere, "train")])


def test_a_run_with_extra_data_resumes_to_the_same_weights(toys, tmp_path) -> None:
    from hsrzoo.training.loop import train

    def task() -> PairTask:
        torch.manual_seed(0)
        return build(toys, extra=[(16, 16)])

    recipe = replace(task().recipe, steps=6)
    whole = train(task(), recipe, tmp_path / "whole", progress=False)
    train(task(), recipe, tmp_path / "parts", progress=False, stop_after=4)
    parts = train(task(), recipe, tmp_path / "parts", progress=False, resume=True)
    assert all(torch.equal(v, parts.state_dict()[k]) for k, v in whole.state_dict().items())


def test_the_command_adds_a_data_set_and_says_so_in_the_record(toys, tmp_path, monkeypatch) -> None:
    from pathlib import Path

    from hsrzoo.cli.train import command

    load_plugin_file(Path(toys.__file__))
    monkeypatch.chdir(tmp_path)
    words = ["toy-net", "--dataset", "toy-set", "--steps", "2", "--threads", "1", "--out", "run"]
    done = CliRunner().invoke(command, [*words, "--also", "toy-set", "--also-share", "0.5"])
    assert done.exit_code == 0, done.output
    training = json.loads((tmp_path / "run" / "weights" / "config.json").read_text())["training"]
    assert training["extra_share"] == 0.5 and training["extra"][0]["dataset"] == "toy-set"
