"""Crops, hold-out and validation of the task on pairs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from hsrzoo.bands import BandSet
from hsrzoo.errors import Note, TrainingError
from hsrzoo.registry import DATASETS
from hsrzoo.spec import MetricContext, RgbInput
from hsrzoo.training.pairs import scores


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_held_out_scenes_are_never_drawn(make_task) -> None:
    task, _ = make_task(holdout=2)
    task.prepare()
    generator = _generator()
    drawn = {round(float(task.draw(generator)[1][b, 1, 0, 0]) * 10) for _ in range(50) for b in range(2)}
    assert drawn == {0, 1}
    assert (task.record()["scenes"], task.record()["held_out"]) == (["s0", "s1"], ["s2", "s3"])


def test_another_fold_keeps_out_other_scenes(make_task) -> None:
    task, _ = make_task(holdout=1, fold=2)
    assert (task.scenes, task.held_out) == (["s0", "s2", "s3"], ["s1"])
    task.prepare()
    generator = _generator()
    drawn = {round(float(task.draw(generator)[1][b, 1, 0, 0]) * 10) for _ in range(50) for b in range(2)}
    assert drawn == {0, 2, 3}
    with pytest.raises(TrainingError, match="fold 2"):
        make_task(holdout=2, fold=2)
    with pytest.raises(TrainingError, match="--holdout"):
        make_task(fold=1)


@pytest.mark.parametrize(
    ("patch", "fix"), [(8, "Raise --patch"), (64, "Leave out scenes that are so small")]
)
def test_crops_that_are_too_small_say_whose_fault_it_is(make_task, toys, patch: int, fix: str) -> None:
    need = RgbInput(min_size=32) if patch > 32 else RgbInput(min_size=16)
    task, _ = make_task(spec=replace(toys.NET, input=need), patch=patch)
    with pytest.raises(TrainingError, match=f"smallest scene 20 pixels high.*{fix}"):
        task.prepare()


def test_smaller_crops_than_asked_for_are_noted(make_task) -> None:
    task, _ = make_task(patch=64)
    with pytest.warns(Note, match="Crops are 20 x 24 pixels, not 64: the smallest scene has 20 x 24"):
        task.prepare()


def test_a_multiple_alone_makes_crops_smaller(make_task, toys) -> None:
    task, _ = make_task(spec=replace(toys.NET, input=RgbInput(multiple=8)), patch=18)
    with pytest.warns(Note, match="Crops are 16 x 16 pixels, not 18: .* takes multiples of 8") as notes:
        task.prepare()
    assert "smallest scene" not in str(notes[0].message)


def test_without_hold_out_all_scenes_are_drawn(make_task) -> None:
    task, _ = make_task(holdout=0)
    task.prepare()
    generator = _generator()
    drawn = {round(float(task.draw(generator)[1][b, 1, 0, 0]) * 10) for _ in range(50) for b in range(2)}
    assert drawn == {0, 1, 2, 3}


def test_a_batch_depends_on_the_generator_alone_and_keeps_image_and_cube_together(make_task) -> None:
    task, _ = make_task()
    task.prepare()
    rgb, cube = task.draw(_generator(3))
    task.draw(_generator(4))
    again_rgb, again_cube = task.draw(_generator(3))
    assert torch.equal(rgb, again_rgb) and torch.equal(cube, again_cube)
    assert rgb.shape == (2, 3, 16, 16) and cube.shape == (2, 5, 16, 16)
    assert torch.equal(rgb, cube[:, [0, 2, 4]])


@pytest.mark.parametrize(
    ("augment", "expected"), [((), 1), (("flip",), 4), (("rotate",), 4), (("flip", "rotate"), 8)]
)
def test_augmentation_yields_exactly_the_symmetries_it_names(make_task, toys, augment, expected) -> None:
    square = toys.ToySet(20, 20)  # the crop is the whole scene: only the symmetry varies
    task, _ = make_task(data=square, augment=augment, batch=1, patch=20, holdout=3)
    task.prepare()
    generator = _generator()
    seen = {task.draw(generator)[0].numpy().tobytes() for _ in range(150)}
    assert len(seen) == expected


def test_small_scenes_are_used_whole_in_multiples(make_task, toys) -> None:
    spec = replace(toys.NET, input=RgbInput(multiple=8))
    task, _ = make_task(spec=spec, patch=64)
    task.prepare()
    assert task.draw(_generator())[0].shape == (2, 3, 16, 24)
    task, _ = make_task(spec=spec, patch=6)
    with pytest.raises(TrainingError, match="--patch"):
        task.prepare()


def test_the_whole_scene_is_normalised_not_the_crop(make_task, toys) -> None:
    task, _ = make_task(
        spec=replace(toys.NET, input=RgbInput(normalise="minmax-image")), augment=(), holdout=3, batch=1
    )
    task.prepare()
    whole = toys.ToySet().load("train", "s0").rgb
    expected = (whole - whole.min()) / (whole.max() - whole.min())
    crop = task.draw(_generator())[0][0].numpy()
    places = [np.abs(expected[:, y : y + 16, x : x + 16] - crop).max() for y in range(5) for x in range(9)]
    assert min(places) < 1e-6


def test_holding_out_everything_is_refused(make_task) -> None:
    with pytest.raises(TrainingError, match="held out"):
        make_task(holdout=4)


def test_own_loss_is_the_modules(make_task, toys) -> None:
    with pytest.raises(TrainingError, match="training_loss"):
        make_task(loss="own")
    task, _ = make_task()
    toys.ToyNet.training_loss = lambda self, rgb, cube: (cube.sum(), {"figure": 2.0})
    try:
        task, _ = make_task(loss="own")
        task.prepare()
        batch = task.draw(_generator())
        loss, logs = task.loss(batch)
    finally:
        del toys.ToyNet.training_loss
    assert float(loss) == float(batch[1].sum()) and logs == {"figure": 2.0}


def test_scores_equal_loops_in_float64() -> None:
    truth, pred = np.random.default_rng(1).random((2, 4, 3, 2)).astype(np.float32)
    truth[:, 0, 0] = 0.0
    pred[0, 1, 1] = 1.3  # leaves [0, 1]: clamped in PSNR only
    y, p = truth.astype(np.float64), pred.astype(np.float64)
    angles, relative, squares, clamped = [], [], [], []
    for i in range(3):
        for j in range(2):
            a, b = y[:, i, j], p[:, i, j]
            if math.sqrt((a * a).sum()) > 0:
                cosine = float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))
                angles.append(math.degrees(math.acos(min(1.0, cosine))))
            for u, v in zip(a, b, strict=True):
                relative.append(abs(u - v) / max(u, 1 / 255))
                squares.append((u - v) ** 2)
                clamped.append((min(u, 1.0) - min(v, 1.0)) ** 2)
    ours = scores(truth, pred, MetricContext(BandSet.regular(400, 700, 100)))
    assert ours["rmse"] == pytest.approx(math.sqrt(np.mean(squares)), rel=1e-12)
    assert ours["psnr"] == pytest.approx(-20 * math.log10(math.sqrt(np.mean(clamped))), rel=1e-12)
    assert ours["sam"] == pytest.approx(np.mean(angles), rel=1e-9)
    assert ours["mrae"] == pytest.approx(np.mean(relative), rel=1e-12)


def test_validation_takes_the_floor_of_mrae_from_the_data_set(make_task, toys, monkeypatch) -> None:
    task, _ = make_task(holdout=1)
    cube = task.dataset.load("train", "s3").cube.astype(np.float64)
    pred = task.module.eval()
    with torch.no_grad():
        error = np.abs(pred(torch.from_numpy(task.dataset.load("train", "s3").rgb)[None])[0].numpy() - cube)
    for epsilon in (0.0, 0.5):
        spec = replace(toys.DATA, mrae_epsilon=epsilon)
        monkeypatch.setitem(DATASETS._values, "toy-set", spec)
        expected = float(np.mean(error / np.maximum(cube, epsilon)))
        assert task.validate(pred)["mrae"] == pytest.approx(expected, rel=1e-5)


def test_validation_uses_the_held_out_scenes(make_task) -> None:
    task, _ = make_task(holdout=1)

    class Zero(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.new_zeros(len(x), 5, *x.shape[2:])

    cube = task.dataset.load("train", "s3").cube.astype(np.float64)
    assert task.validate(Zero())["rmse"] == pytest.approx(math.sqrt((cube**2).mean()), rel=1e-6)
    task, _ = make_task(holdout=0)
    assert task.validate(Zero()) == {}


def _with_gaps(toys, **scenes: slice) -> object:
    """The toy set, without data in the named scenes at those columns."""

    class Gappy(toys.ToySet):
        def load(self, split, scene):
            found = super().load(split, scene)
            if scene in scenes:
                found.cube[:, :, scenes[scene]] = np.nan
            return found

    return Gappy()


def test_crops_without_any_data_are_drawn_again_and_the_others_as_before(make_task, toys) -> None:
    plain, _ = make_task(holdout=3, batch=1, patch=4, augment=())
    gappy = _with_gaps(toys, s0=slice(0, 12))
    task, _ = make_task(data=gappy, holdout=3, batch=1, patch=4, augment=())
    plain.prepare()
    task.prepare()
    redrawn = 0
    for seed in range(40):
        (_, before), (_, now) = plain.draw(_generator(seed)), task.draw(_generator(seed))
        assert now.isfinite().any() and torch.equal(now[:, :, 0, 0].isnan(), now[:, :, 3, 0].isnan())
        known = now.isfinite()
        if torch.equal(now[known], before[known]):
            continue
        redrawn += 1
        assert torch.equal(now.nan_to_num(), task.draw(_generator(seed))[1].nan_to_num())
    assert 5 < redrawn < 35  # 9 of the 21 columns where a crop may begin are wholly without data


def test_training_passes_over_gaps_with_a_finite_loss(make_task, toys) -> None:
    gappy = _with_gaps(toys, s0=slice(0, 12), s1=slice(3, 4), s3=slice(0, 2))
    task, _ = make_task(data=gappy, holdout=1)
    task.prepare()
    for seed in range(5):
        loss, _ = task.loss(task.draw(_generator(seed)))
        loss.backward()
    assert all(p.grad.isfinite().all() for p in task.module.parameters() if p.requires_grad)
    figures = task.validate(task.module.eval())
    assert all(math.isfinite(value) for value in figures.values())


def test_shares_with_different_gaps_have_the_loss_of_the_whole_batch(make_task, toys) -> None:
    task, _ = make_task(data=_with_gaps(toys, s0=slice(0, 12)), batch=4, patch=16)
    task.prepare()
    task.module.eval()
    batch = next(b for b in map(task.draw, map(_generator, range(99))) if b[1][:2].isnan().any())
    shares = [task.share(batch, number, 2) for number in range(2)]
    counts = torch.stack([(~cube.isnan()).sum() for _, cube in shares]).float()
    assert counts[0] < counts[1] * 0.99 or counts[1] < counts[0] * 0.99
    whole, _ = task.loss(batch)
    task.gather = lambda tensor: counts
    parts = [task.loss(share)[0] for share in shares]
    assert float(sum(parts)) / 2 == pytest.approx(float(whole), rel=1e-5)


@pytest.mark.parametrize("scene", ["s1", "s3"])
def test_a_scene_without_any_data_is_named_before_training(make_task, toys, scene) -> None:
    task, _ = make_task(data=_with_gaps(toys, **{scene: slice(None)}), holdout=1)  # s3 is held out
    with pytest.raises(TrainingError, match=f"{scene} of toy-set/train has no pixel with data"):
        task.prepare()
