"""Physical augmentation: RGB is what the set's own camera renders, and each one does what it promises."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.camera import Camera
from hsrzoo.datasets.base import Dataset, Scene
from hsrzoo.datasets.cave import Cave
from hsrzoo.errors import TrainingError
from hsrzoo.spec import ModelSpec, Recipe, RgbInput
from hsrzoo.training import augment
from hsrzoo.training.augment import ORDER, Augmenter
from hsrzoo.training.loop import train
from hsrzoo.training.pairs import PairTask

CAMERA = Camera.named("nikon-d5100")
CHANGES_CUBE = ("mixture", "mixed-patch", "relight", "exposure")


class Rendered(Dataset):
    """Scenes s0, s1, ... of 31 x 40 x 44 random values up to 0.9, rendered by the Nikon."""

    name = "rendered"
    bands = VISIBLE_31
    rgb_bits = 8

    def __init__(self, count: int = 3, change: Callable[[str, np.ndarray], None] | None = None) -> None:
        self.count, self.change, self.info, self.camera = count, change, {}, CAMERA

    def splits(self):
        return ("train",)

    def scenes(self, split):
        return [f"s{i}" for i in range(self.count)]

    def load(self, split, scene):
        cube = np.random.default_rng(int(scene[1:])).random((31, 40, 44), dtype=np.float32) * np.float32(
            0.9
        )
        if self.change:
            self.change(scene, cube)
        return Scene(scene, CAMERA.render(cube, self.bands), cube)

    def fingerprint(self):
        return "rendered"

    def verify(self):
        raise NotImplementedError


def _task(
    *names: str, data: Dataset | None = None, share: float = 1.0, normalise: Any = "none", **fields: Any
) -> PairTask:
    recipe = Recipe(**{"batch": 4, "patch": 32, "augment": names, "augment_share": share, **fields})
    spec = ModelSpec("toy", torch.nn.Identity, "toy", "tests", input=RgbInput(normalise))
    task = PairTask(spec, torch.nn.Conv2d(3, 31, 1), data or Rendered(), recipe)
    task.prepare()
    return task


def _draw(task: PairTask, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return task.draw(torch.Generator().manual_seed(seed))


def _seen(cube: torch.Tensor, bits: int | None = 8) -> torch.Tensor:
    return torch.from_numpy(np.stack([CAMERA.render(one, VISIBLE_31, bits=bits) for one in cube.numpy()]))


def test_without_physical_names_random_numbers_are_drawn_in_the_old_order() -> None:
    task = _task("flip", "rotate")
    scenes = [task.dataset.load("train", name) for name in task.scenes]
    ours, by_hand = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)

    def below(n: int) -> int:
        return int(torch.randint(n, (), generator=by_hand))

    rgb, cube = task.draw(ours)
    for b in range(4):
        scene = scenes[below(3)]
        top, left = below(40 - 32 + 1), below(44 - 32 + 1)
        axes = [axis for axis in (1, 2) if below(2)]
        turns = below(4)
        for array, batch in ((scene.rgb, rgb), (scene.cube, cube)):
            crop = np.flip(array[:, top : top + 32, left : left + 32], axes)
            assert np.array_equal(np.rot90(crop, turns, axes=(1, 2)), batch[b])
    assert torch.equal(ours.get_state(), by_hand.get_state())


@pytest.mark.parametrize("names", [*[(name,) for name in CHANGES_CUBE], CHANGES_CUBE])
def test_rgb_is_what_the_camera_renders_from_the_changed_cube_bit_for_bit(names) -> None:
    task, plain = _task("flip", *names), _task("flip")
    for seed in range(5):
        (rgb, cube), (_, before) = _draw(task, seed), _draw(plain, seed)
        assert rgb.dtype == cube.dtype == torch.float32 and cube.shape == (4, 31, 32, 32)
        assert torch.equal(rgb, _seen(cube))
        assert all(not torch.equal(a, b) for a, b in zip(cube, before, strict=True))


@pytest.mark.parametrize("names", [("camera",), ("noise",), ("camera", "noise")])
def test_camera_and_noise_leave_the_truth_alone(names) -> None:
    (rgb, cube), (before, truth) = _draw(_task("flip", *names)), _draw(_task("flip"))
    assert torch.equal(cube, truth) and torch.equal(rgb, (rgb * 255).round() / 255)
    assert all(not torch.equal(a, b) for a, b in zip(rgb, before, strict=True))


def test_on_cave_an_unchanged_crop_is_rendered_exactly_as_stored(data_root, monkeypatch) -> None:
    data = Cave(data_root)
    some = sorted(data.scenes("train"))[:2]
    monkeypatch.setattr(data, "scenes", lambda split: some)
    monkeypatch.setattr(augment, "EXPOSURE", (1.0, 1.0))
    changed, plain = (_task("flip", *names, data=data, patch=64) for names in (("exposure",), ()))
    for (rgb, cube), (stored, truth) in ((_draw(changed, s), _draw(plain, s)) for s in range(3)):
        assert torch.equal(cube, truth) and torch.equal(rgb, stored)


def test_share_of_the_crops_changes_and_the_rest_is_as_without(monkeypatch) -> None:
    task, plain = (_task("flip", "rotate", *names, share=0.3) for names in (("exposure",), ()))
    same = 0
    for seed in range(60):
        (rgb, cube), (before, truth) = _draw(task, seed), _draw(plain, seed)
        for b in range(4):
            ratio = (cube[b] / truth[b]).mean()  # the same crop, scaled or not
            assert torch.allclose(cube[b], truth[b] * ratio, rtol=1e-5)
            same += torch.equal(cube[b], truth[b]) and torch.equal(rgb[b], before[b])
    assert same == pytest.approx(240 * 0.7, abs=4 * math.sqrt(240 * 0.21))
    none = _task("flip", "rotate", *ORDER, share=0.0)
    assert all(torch.equal(a, b) for a, b in zip(_draw(none), _draw(plain), strict=True))


def test_each_is_chosen_with_probability_one_half_and_at_least_one() -> None:
    augmenter = Augmenter(["exposure", "mixture"], 1.0, Rendered(), "none")
    rgb, cube = torch.zeros(3, 1, 1), torch.ones(31, 1, 1)
    other, generator = torch.zeros(31, 1, 1), torch.Generator().manual_seed(0)
    asked = []
    scaled = both = 0
    for _ in range(400):
        asked.clear()
        out = augmenter(rgb, cube, lambda: asked.append(1) or other, generator)[1]
        scaled += not asked
        both += bool(asked)
        assert not torch.equal(out, cube)
    # chosen: both 1/4, one alone 1/4 each, none at first, then one of them, 1/8 each
    assert both == pytest.approx(400 * 5 / 8, abs=4 * math.sqrt(400 * 15 / 64))


def test_exposure_scales_by_one_factor_within_a_stop_and_clips_only_rgb() -> None:
    task, plain = _task("exposure"), _task()
    factors = []
    for seed in range(30):
        (rgb, cube), (_, truth) = _draw(task, seed), _draw(plain, seed)
        ratio = (cube / truth).flatten(1)
        assert torch.allclose(ratio, ratio.mean(dim=1, keepdim=True), rtol=1e-5)
        factors += ratio.mean(dim=1).tolist()
        assert rgb.max() <= 1
        if max(factors[-4:]) > 1.5:
            assert cube.max() > 1
    logs = np.log2(factors)
    assert logs.min() >= -1 - 1e-6 and logs.max() <= 1 + 1e-6
    assert abs(logs.mean()) < 0.2 and logs.std() == pytest.approx(2 / math.sqrt(12), rel=0.15)


def test_relighting_multiplies_all_spectra_by_one_light_that_keeps_grey_as_bright() -> None:
    task, plain = _task("relight"), _task()
    tints = []
    for seed in range(20):
        (_, cube), (_, truth) = _draw(task, seed), _draw(plain, seed)
        for light in (cube / truth).flatten(2):
            assert torch.allclose(light, light[:, :1], rtol=1e-5)
            white = CAMERA.matrix(VISIBLE_31) @ light[:, 0].numpy().astype(np.float64)
            assert white.mean() == pytest.approx(1, abs=1e-5)
            tints.append(white[0] / white[2])
    assert min(tints) < 0.9 and max(tints) > 2  # from blue sky to a lamp


def test_lights_follow_bands_that_the_table_of_daylight_lacks() -> None:
    class Wide(Rendered):
        bands = BandSet.regular(400, 2400, 100)

    augmenter = Augmenter(["relight"], 1.0, Wide(), "none")
    generator = torch.Generator().manual_seed(0)
    lights = [augmenter.light(generator) for _ in range(50)]
    assert all(light.shape == (21,) and (light > 0).all() for light in lights)
    infrared = np.array([light[8:] for light in lights])
    assert (np.diff(infrared) < 0).all()  # bodies of 2500 K and more shine brightest below 1200 nm


def _two_greys(scene: str, cube: np.ndarray) -> None:
    cube[:] = 0.2 if scene == "s0" else 0.8


def test_a_mixture_lies_between_two_scenes_with_uniform_weights() -> None:
    task = _task("mixture", data=Rendered(2, _two_greys))
    values = []
    for seed in range(60):
        _, cube = _draw(task, seed)
        assert torch.equal(cube, cube[:, :1, :1, :1].expand_as(cube))
        values += cube[:, 0, 0, 0].tolist()
    weights = (np.array(values) - 0.2) / 0.6
    assert weights.min() > 0 and weights.max() < 1  # never of a scene with itself
    assert abs(weights.mean() - 0.5) < 0.08 and weights.std() == pytest.approx(1 / math.sqrt(12), rel=0.15)


def test_a_lone_scene_is_mixed_with_another_crop_of_it() -> None:
    def row_numbers(scene: str, cube: np.ndarray) -> None:
        cube[:] = (np.arange(40, dtype=np.float32) / 100)[:, None]

    _, cube = _draw(_task("mixture", data=Rendered(1, row_numbers), batch=8))
    first = cube[:, 0, 0, 0] * 100
    assert (first >= 0).all() and (first <= 8).all()
    assert ((first - first.round()).abs() > 1e-3).any()  # between two rows


@pytest.mark.parametrize(("patch", "possible"), [(16, (8,)), (32, (16, 8))])
def test_mixed_patches_move_squares_of_image_and_cube_together(patch, possible) -> None:
    task, plain = _task("mixed-patch", patch=patch), _task(patch=patch)
    sides = set()
    for seed in range(12):
        (rgb, cube), (before, truth) = _draw(task, seed), _draw(plain, seed)
        for b in range(4):
            for side in possible:  # the largest that explains it
                found = _squares(torch.cat([rgb[b], cube[b]]), side)
                if found == _squares(torch.cat([before[b], truth[b]]), side):
                    sides.add(side)
                    break
            else:
                pytest.fail("not a permutation of squares")
    assert sides == set(possible)


def _squares(x: torch.Tensor, side: int) -> list[bytes]:
    parts = x.unfold(1, side, side).unfold(2, side, side).flatten(1, 2)
    return sorted(parts[:, i].numpy().tobytes() for i in range(parts.shape[1]))


def test_another_sample_of_the_camera_is_shifted_and_scaled_within_its_bounds() -> None:
    augmenter = Augmenter(["camera"], 1.0, Rendered(), "none")
    generator = torch.Generator().manual_seed(0)
    fine = BandSet.regular(370, 800, 1)

    def centroids(matrix: np.ndarray) -> np.ndarray:
        return matrix @ np.array(fine.centres_nm) / matrix.sum(axis=1)

    own = centroids(CAMERA.matrix(fine))
    shifts, gains = [], []
    for _ in range(100):
        camera = augmenter.sample(generator)
        shifts.append(centroids(camera.matrix(fine)) - own)
        gains.append(camera.matrix(VISIBLE_31).sum(axis=1))
    shifts, gains = np.array(shifts), np.array(gains)
    assert 4 < np.abs(shifts).max() <= 5.05 and np.abs(shifts.mean()) < 0.5
    assert 1 / 1.05 - 1e-9 <= gains.min() < 0.96 and 1.04 < gains.max() <= 1.05 + 1e-9
    assert np.abs(np.corrcoef(gains.T)[np.triu_indices(3, 1)]).max() < 0.4  # each channel on its own


def test_noise_has_the_variance_of_photons_and_read_out(monkeypatch) -> None:
    monkeypatch.setattr(augment, "FULL_WELL", (1000.0, 1000.0))
    monkeypatch.setattr(augment, "READ_NOISE", (5.0, 5.0))
    data = Rendered(1, lambda scene, cube: cube.fill(0.4))
    data.rgb_bits = None
    rgb, _ = _draw(_task("noise", data=data, patch=40))
    assert float(rgb.mean()) == pytest.approx(0.4, abs=1e-3)
    assert float(rgb.double().var()) == pytest.approx((0.4 * 1000 + 25) / 1000**2, rel=0.05)


def _gaps(scene: str, cube: np.ndarray) -> None:
    if scene == "s0":
        cube[:, :, :20] = np.nan
    if scene == "s1":
        cube[7, 10:12] = np.nan  # one band alone, in the middle of green


@pytest.mark.parametrize("name", ORDER)
def test_values_without_data_stay_without_and_black(name) -> None:
    task, plain = _task(name, data=Rendered(3, _gaps)), _task(data=Rendered(3, _gaps))
    lost = 0
    for seed in range(8):
        (rgb, cube), (_, truth) = _draw(task, seed), _draw(plain, seed)
        assert (rgb.amax(dim=1)[cube.isnan().any(dim=1)] == 0).all() and rgb.isfinite().all()
        if name == "mixed-patch":
            assert cube.isnan().sum() == truth.isnan().sum()
        elif name == "mixture":
            assert cube[truth.isnan()].isnan().all()
            lost += int(cube.isnan().sum() - truth.isnan().sum())
        else:
            assert torch.equal(cube.isnan(), truth.isnan())
    assert lost > 0 or name != "mixture"


def test_a_mixture_without_any_data_is_left_out() -> None:
    def halves(scene: str, cube: np.ndarray) -> None:
        cube[:, :, slice(0, 22) if scene == "s0" else slice(22, 44)] = np.nan

    task = _task("mixture", data=Rendered(2, halves), patch=16)
    for seed in range(20):
        rgb, cube = _draw(task, seed)
        assert all(one.isfinite().any() for one in cube) and torch.equal(rgb, _seen(cube))


def test_photographs_and_stretched_images_take_mixed_patches_alone(make_task, toys) -> None:
    for names, possible in ((("flip", "mixed-patch"), True), (("mixed-patch", "exposure"), False)):
        if possible:
            task, _ = make_task(augment=names)
            task.prepare()
            rgb, cube = _draw(task)
            assert torch.equal(rgb, cube[:, [0, 2, 4]])
            _task(*names, normalise="minmax-image")
            continue
        with pytest.raises(TrainingError, match=r"not rendered from its cubes.*only flip, rotate, mixed-p"):
            make_task(augment=names)
        with pytest.raises(TrainingError, match=r"minmax-image.*augment=exposure.*normalise=none"):
            _task(*names, normalise="minmax-image")


def test_a_set_whose_rgb_comes_from_elsewhere_is_refused_by_its_first_such_scene() -> None:
    class Brighter(Rendered):
        steps = 1.0

        def load(self, split, scene):
            found = super().load(split, scene)
            return replace(found, rgb=found.rgb + self.steps / 255 * (scene == "s1"))

    _task("noise", data=Brighter())  # one step is rounding
    Brighter.steps = 2.0
    with pytest.raises(TrainingError, match=r"s1 is not what its camera renders.*2\.0 steps"):
        _task("noise", data=Brighter())
    _task("mixed-patch", data=Brighter())


def test_crops_too_small_for_patches_are_refused() -> None:
    with pytest.raises(TrainingError, match="Expected 16 pixels or more"):
        _task("mixed-patch", patch=15)


@pytest.mark.parametrize("fields", [{"augment": ("blur",)}, {"augment_share": 1.5}])
def test_impossible_augmentation_is_refused_by_name(fields) -> None:
    with pytest.raises(TrainingError, match=f"recipe's {next(iter(fields))} is impossible"):
        _task(**fields)


def test_a_batch_with_everything_depends_on_the_generator_alone() -> None:
    one, other = _task("flip", *ORDER), _task("flip", *reversed(ORDER))
    batches = [_draw(one, 1), (_draw(one, 2), _draw(one, 1))[1], _draw(other, 1)]
    for (rgb, cube), (again_rgb, again_cube) in pairwise(batches):
        assert torch.equal(rgb, again_rgb) and torch.equal(cube, again_cube)


def test_a_stopped_run_with_augmentation_and_warm_average_goes_on_bit_for_bit(tmp_path, same_bits) -> None:
    def run(folder: str, **options: Any) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        task = _task("flip", "rotate", *ORDER, steps=6, ema_warmup=True, sam_weight=0.1, patch=16, batch=2)
        return train(task, task.recipe, tmp_path / folder, progress=False, **options).state_dict()

    whole = run("whole")
    run("parts", stop_after=3)
    assert same_bits(whole, run("parts", resume=True))
