"""Training on pools beside the first data set: shares, changed crops, records."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from hsrzoo.bands import BandSet
from hsrzoo.datasets.base import Scene
from hsrzoo.datasets.named import Opener
from hsrzoo.errors import BandsError, InputError, TrainingError, UnknownNameError
from hsrzoo.registry import load_plugin_file
from hsrzoo.spec import RgbInput
from hsrzoo.training.crop_set import CropSet
from hsrzoo.training.pairs import PairTask
from hsrzoo.training.pools import Pool, parse_pool


def build(toys, *sizes, share=0.25, pools=None, **fields):
    """A task with a pool of each size; s3 is held out."""

    class Other(toys.ToySet):
        """Scenes of another size, whose band 1 is 0.9."""

        name = "other-set"

        def load(self, split, scene):
            found = super().load(split, scene)
            found.cube[1] = 0.9
            return found

    recipe = replace(toys.NET.recipe, **{"augment": (), "batch": 4, "holdout": 1, **fields})
    pools = pools or [Pool(Other(*size), share) for size in sizes]
    return PairTask(toys.NET, toys.ToyNet(toys.ToySet.bands), toys.ToySet(), recipe, pools=pools)


def test_without_pools_crops_and_record_are_those_of_before(toys) -> None:
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


def test_shares_of_the_crops_are_those_asked_for(toys) -> None:
    task = build(toys, (16, 16), (18, 40), share=0.2)
    task.prepare()
    generator = torch.Generator().manual_seed(0)
    labels = torch.cat([task.draw(generator)[1][:, 1, 0, 0] for _ in range(250)])
    assert float((labels == 0.9).float().mean()) == pytest.approx(0.4, abs=0.05)  # 3 sigma: 0.046
    own = labels[labels != 0.9]
    assert sorted({round(float(x) * 10) for x in own}) == [0, 1, 2], "the held-out scene is never drawn"
    record = task.record()
    assert record["extra_share"] == [0.2, 0.2]
    assert [x["dataset"] for x in record["extra"]] == ["other-set", "other-set"]
    assert record["extra"][0]["scenes"] == ["s0", "s1", "s2", "s3"]
    assert record["scenes"] == ["s0", "s1", "s2"]


def test_one_plain_pool_draws_and_records_what_a_second_data_set_did(toys) -> None:
    """Runs with --also that earlier versions began go on."""
    task = build(toys, (16, 20), share=0.4)
    task.prepare()
    generator = torch.Generator().manual_seed(7)

    def below(n: int) -> int:
        return int(torch.randint(n, (), generator=generator))

    expected = []
    for _ in range(4):
        added = float(torch.rand((), generator=generator)) < 0.4
        scene = below(4 if added else 3)
        top, left = (0, below(5)) if added and below(1) == 0 else (below(5), below(9))
        expected.append((0.9 if added else scene / 10, top, left))
    _, cube = task.draw(torch.Generator().manual_seed(7))
    assert [round(float(one[1, 0, 0]), 6) for one in cube] == [label for label, *_ in expected]
    record = task.record()
    assert record["extra_share"] == 0.4
    assert set(record["extra"][0]) == {"dataset", "dataset_info", "split", "scenes", "fingerprint"}


def test_crops_are_changed_as_their_pool_says_and_the_others_not(toys) -> None:
    class Dim(toys.ToySet):
        """RGB up to 0.8 is band 0, 2 and 4; band 1 is 0.9; the upper half is nearly black."""

        def load(self, split, scene):
            found = super().load(split, scene)
            found.cube[[0, 2, 4]] *= 0.8
            found.cube[[0, 2, 4], :10] *= 0.01
            found.cube[1] = 0.9
            return Scene(scene, found.cube[[0, 2, 4]].copy(), found.cube)

    pool = Pool(Dim(), 0.5, exposure=(0.5, 2.0), dark=0.04)
    task = build(toys, pools=[pool], batch=2)
    task.prepare()
    generator = torch.Generator().manual_seed(0)
    gains = []
    for _ in range(60):
        for rgb, cube in zip(*task.draw(generator), strict=True):
            gain = float(cube[1].nan_to_num().max()) / 0.9
            if gain <= 0.3 / 0.9:  # one of the first data set's, whose band 1 is 0.2 at most
                assert torch.equal(rgb, cube[[0, 2, 4]]) and cube.isfinite().all()
                continue
            gains.append(gain)
            dark, known = rgb.mean(dim=0) < 0.04, cube.isfinite().all(dim=0)
            assert torch.equal(known, cube.isfinite().any(dim=0)) and 0 < int(dark.sum()) < dark.numel()
            clipped = ~known & ~dark
            assert (rgb[:, clipped].amax(dim=0) == 1).all() and not (known & dark).any()
            assert bool(clipped.any()) == (gain > 1.3) or 1.2 < gain < 1.4
            assert torch.allclose(rgb[:, known], cube[[0, 2, 4]][:, known], atol=1e-6)
    assert len(gains) > 40 and 0.5 <= min(gains) < 0.6 and 1.8 < max(gains) <= 2.0
    assert sum(gain < 1 for gain in gains) / len(gains) == pytest.approx(0.5, abs=0.2), "log-uniform"
    record = task.record()
    assert record["extra"][0]["exposure"] == [0.5, 2.0] and record["extra"][0]["dark"] == 0.04


def test_a_pool_that_is_dark_throughout_is_an_error(toys) -> None:
    task = build(toys, pools=[Pool(toys.ToySet(), 0.9, dark=0.99)], augment=("flip",))
    task.prepare()
    with pytest.raises(TrainingError, match="leaves no pixel of its crops"):
        task.draw(torch.Generator().manual_seed(0))


def test_small_scenes_of_pools_are_mirrored_and_leave_the_crop_size_alone(toys) -> None:
    task = build(toys, (10, 6), share=0.9, patch=20)
    task.prepare()
    assert task.crop_size == (20, 20)
    _, cube = task.draw(torch.Generator().manual_seed(0))
    (first, *_) = [one for one in cube if float(one[1, 0, 0]) == pytest.approx(0.9)]
    assert torch.equal(first[:, 10:], first[:, :10].flip(1))
    assert torch.equal(first[:, :, 6:12], first[:, :, :6].flip(2))


def test_pools_of_other_bands_are_resampled_only_where_that_is_asked_for(toys) -> None:
    class Half(toys.ToySet):
        """Twice as many bands up to 550 nm: twice the wavelength in micrometres, minus 0.8."""

        bands = BandSet.regular(400, 550, 37.5)

        def load(self, split, scene):
            found = super().load(split, scene)
            found.cube[:] = (2e-3 * np.array(self.bands.centres_nm) - 0.8)[:, None, None]
            return found

    with pytest.raises(BandsError, match=r"400-550.*resample=true"):
        build(toys, pools=[Pool(Half(), 0.9)])
    task = build(toys, pools=[Pool(Half(), 0.9, resample=True)])
    task.prepare()
    _, cube = task.draw(torch.Generator().manual_seed(0))
    added = [one[:, 0, 0] for one in cube if torch.isnan(one[4, 0, 0])]
    assert len(added) >= 2
    for spectrum in added:
        assert torch.allclose(spectrum[:3], torch.tensor([0.0, 0.15, 0.3]), atol=1e-6)
        assert spectrum[3:].isnan().all()
    assert task.record()["extra"][0]["resample"] is True


def test_impossible_pools_are_refused(toys) -> None:
    data = toys.ToySet()
    for settings, name in (
        ({"share": 0.0}, "share"),
        ({"share": 1.0}, "share"),
        ({"share": float("nan")}, "share"),
        ({"exposure": (2.0, 1.0)}, "exposure"),
        ({"exposure": (0.0, 1.0)}, "exposure"),
        ({"dark": 1.0}, "dark"),
    ):
        with pytest.raises(TrainingError, match=f"The {name} of the pool toy-set"):
            Pool(data, **settings)
    with pytest.raises(TrainingError, match=r"shares.*leave nothing.*Got 1\."):
        build(toys, (16, 16), (16, 16), share=0.5)
    normalised = replace(toys.NET, input=RgbInput("minmax-image"))
    module, recipe = toys.ToyNet(data.bands), toys.NET.recipe
    with pytest.raises(TrainingError, match="normalise=minmax-image"):
        PairTask(normalised, module, data, recipe, pools=[Pool(data, dark=0.1)])


def test_scenes_that_are_held_out_are_not_let_in_by_pools(toys) -> None:
    class Brighter(toys.ToySet):
        """The same scenes seen otherwise."""

        def splits(self):
            return "train", "all"

        def fingerprint(self):
            return "brighter"

    module, recipe = toys.ToyNet(toys.ToySet.bands), replace(toys.NET.recipe, holdout=1)
    with pytest.raises(TrainingError, match=r"held out.*Got s3\."):
        PairTask(toys.NET, module, toys.ToySet(), recipe, pools=[Pool(Brighter(), split="all")])
    same_split = PairTask(toys.NET, module, toys.ToySet(), recipe, pools=[Pool(Brighter())])
    assert same_split.record()["extra"][0]["scenes"] == ["s0", "s1", "s2"]
    PairTask(toys.NET, module, toys.ToySet(), replace(recipe, holdout=0), pools=[Pool(Brighter())])
    elsewhere = Brighter()
    elsewhere.folder = "elsewhere"  # other scenes of the same names
    apart = PairTask(toys.NET, module, toys.ToySet(), recipe, pools=[Pool(elsewhere)])
    assert len(apart.record()["extra"][0]["scenes"]) == 4


def test_a_run_with_a_pool_resumes_to_the_same_weights(toys, tmp_path) -> None:
    from hsrzoo.training.loop import train

    def task() -> PairTask:
        torch.manual_seed(0)
        return build(toys, pools=[Pool(toys.ToySet(), 0.5, exposure=(0.7, 3.0), dark=0.1)])

    recipe = replace(task().recipe, steps=6)
    whole = train(task(), recipe, tmp_path / "whole", progress=False)
    train(task(), recipe, tmp_path / "parts", progress=False, stop_after=4)
    parts = train(task(), recipe, tmp_path / "parts", progress=False, resume=True)
    assert all(torch.equal(v, parts.state_dict()[k]) for k, v in whole.state_dict().items())


def test_the_command_adds_pools_and_says_so_in_the_record(toys, tmp_path, monkeypatch) -> None:
    from pathlib import Path

    from hsrzoo.cli.train import command

    load_plugin_file(Path(toys.__file__))
    monkeypatch.chdir(tmp_path)
    words = ["toy-net", "--dataset", "toy-set", "--steps", "2", "--threads", "1"]
    added = ["--also", "toy-set", "--also-share", "0.5"]
    pool = ["--pool", "toy-set:share=0.125,exposure=0.7-3,dark=0.04,split=train"]
    for out, options, shares in (("also", added, 0.5), ("both", [*added, *pool], [0.5, 0.125])):
        done = CliRunner().invoke(command, [*words, *options, "--out", out])
        assert done.exit_code == 0, done.output
        training = json.loads((tmp_path / out / "weights" / "config.json").read_text())["training"]
        assert training["extra_share"] == shares and training["extra"][0]["dataset"] == "toy-set"
    assert training["extra"][1]["exposure"] == [0.7, 3.0] and training["extra"][1]["dark"] == 0.04


def test_models_that_are_fitted_take_the_crops_of_a_training(toys, tmp_path, monkeypatch) -> None:
    from pathlib import Path

    from hsrzoo.cli.fit import command

    class Other(toys.ToySet):
        name = "other-set"

        def load(self, split, scene):
            found = super().load(split, scene)
            found.cube[1] = 0.9
            return found

    pool = Pool(Other(16, 16), 0.5)
    crops = CropSet(toys.ToySet(), "train", [pool], crops=33, patch=8)
    names = crops.scenes("train")
    assert len(names) == 3
    scenes = [crops.load("train", name) for name in names]
    assert all(scene.cube.shape == (5, 8, 8 * 16) for scene in scenes)
    assert np.array_equal(crops.load("train", names[1]).cube, scenes[1].cube)
    labels = np.concatenate([scene.cube[1, 0, ::8] for scene in scenes])
    assert 12 <= np.isclose(labels, 0.9).sum() <= 36
    assert {*labels.round(1)} == {np.float32(x) for x in (0.0, 0.1, 0.2, 0.3, 0.9)}
    assert crops.pools()["crops"] == 48 and crops.pools()["extra_share"] == 0.5

    # an exposure takes values beyond 1, which a scene of a data set may not have
    brighter = CropSet(
        toys.ToySet(), "train", [Pool(Other(16, 16), 0.9, exposure=(3, 3))], crops=16, patch=8
    )
    assert np.nanmax(brighter.load("train", "crops-0000").cube) > 2

    load_plugin_file(Path(toys.__file__))
    monkeypatch.chdir(tmp_path)
    words = ["toy-fitted", "--dataset", "toy-set", "--out", "fitted"]
    done = CliRunner().invoke(command, [*words, "--pool", "toy-set:share=0.5,dark=0.1", "--crops", "16"])
    assert done.exit_code == 0, done.output
    training = json.loads((tmp_path / "fitted/config.json").read_text())["training"]
    assert training["extra"][0]["dark"] == 0.1 and training["crops"] == 16
    assert training["scenes"] == ["s0", "s1", "s2", "s3"], "those of the data set"
    refused = CliRunner().invoke(command, [*words, "--crops", "16"])
    assert refused.exit_code == 2 and "--crops has no effect without --pool" in refused.output


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("toy-set", TrainingError, "has no share"),
        ("toy-set:share", InputError, "A pool cannot be read"),
        ("toy-set:share=much", TrainingError, "share.*a number"),
        ("toy-set:share=0.1,exposure=2", TrainingError, "exposure.*such as 0.7-3"),
        ("toy-set:share=0.1,resample=1", TrainingError, "resample.*true or false"),
        ("toy-set:share=0.1,share=0.2", InputError, "share of a pool is given twice"),
        ("toy-set:share=0.1,band=all", UnknownNameError, "option of toy-set"),
        ("toy-set:share=0.1,repaint=chart", UnknownNameError, "charts"),
    ],
)
def test_pools_that_cannot_be_read(toys, tmp_path, text, error, words) -> None:
    from pathlib import Path

    load_plugin_file(Path(toys.__file__))
    with pytest.raises(error, match=words):
        parse_pool(text, Opener(tmp_path))
