"""The Reconstructor: what it accepts, what it refuses, how it pads and normalises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hsrzoo.bands import BandSet
from hsrzoo.errors import InputError, PluginError
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.spec import ModelSpec, RgbInput


class Probe(nn.Module):
    """Band c is channel c % 3 times (c + 1); remembers what it was given."""

    def __init__(self, bands: BandSet) -> None:
        super().__init__()
        self.count = len(bands)
        self.seen: list[torch.Tensor] = []
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        self.seen.append(rgb.detach().clone())
        return torch.stack([rgb[:, c % 3] * (c + 1) * self.scale for c in range(self.count)], dim=1)


def probe(bands: BandSet, **options) -> Reconstructor:
    spec = ModelSpec(name="probe", build=Probe, summary="s", source="t", **options)
    return Reconstructor(Probe(bands), spec, bands, name="probe", config={}, device="cpu")


def image(height: int = 6, width: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


def expected_cube(rgb: np.ndarray, bands: BandSet) -> np.ndarray:
    """The probe's answer for (H, W, 3), by a loop."""
    cube = np.zeros((*rgb.shape[:2], len(bands)))
    for c in range(len(bands)):
        cube[..., c] = rgb[..., c % 3].astype(np.float64) * (c + 1)
    return cube


def test_a_numpy_image_gives_a_numpy_cube(tiny_bands: BandSet) -> None:
    rgb = image()
    result = probe(tiny_bands)(rgb)
    assert result.cube.shape == (6, 4, 5) and result.cube.dtype == np.float32
    assert result.bands == tiny_bands
    np.testing.assert_allclose(result.cube, expected_cube(rgb, tiny_bands), rtol=1e-6)
    assert repr(result) == f"Reconstruction(probe, (6, 4, 5), {tiny_bands})"  # without the numbers


def test_a_torch_batch_gives_a_torch_cube_that_autograd_accepts(tiny_bands: BandSet) -> None:
    batch = torch.from_numpy(np.stack([image(seed=1), image(seed=2)])).permute(0, 3, 1, 2)
    result = probe(tiny_bands)(batch)
    assert isinstance(result.cube, torch.Tensor) and result.cube.shape == (2, 5, 6, 4)
    np.testing.assert_allclose(
        result.cube[1].permute(1, 2, 0).numpy(), expected_cube(image(seed=2), tiny_bands), rtol=1e-6
    )
    assert not result.cube.is_inference()


@pytest.mark.parametrize(("dtype", "full"), [(np.uint8, 255), (np.uint16, 65535)])
def test_integers_are_divided_by_their_full_scale(tiny_bands: BandSet, dtype: type, full: int) -> None:
    rgb = np.array([[[0, full // 3, full]]], dtype=dtype)
    expected = expected_cube(rgb.astype(np.float64) / full, tiny_bands)
    np.testing.assert_allclose(probe(tiny_bands)(rgb).cube, expected, rtol=1e-6)
    as_torch = torch.from_numpy(rgb).permute(2, 0, 1)[None]
    np.testing.assert_allclose(probe(tiny_bands)(as_torch).cube[0, :, 0, 0], expected[0, 0], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_of_any_width_are_taken(tiny_bands: BandSet, dtype: type) -> None:
    rgb = image().astype(dtype)
    np.testing.assert_allclose(probe(tiny_bands)(rgb).cube, expected_cube(rgb, tiny_bands), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_a_declared_range_is_mapped_to_the_unit_interval(tiny_bands: BandSet, dtype: type) -> None:
    rgb = np.array([[[100, 2147, 4095]]]).astype(dtype)
    cube = probe(tiny_bands)(rgb, value_range=(100, 4095)).cube
    np.testing.assert_allclose(cube[0, 0, :3], [0, 2 * 2047 / 3995, 3], rtol=1e-6)


def test_slices_and_other_memory_orders_give_the_same_cube(tiny_bands: BandSet) -> None:
    model = probe(tiny_bands)
    rgb = image(8, 10)
    plain = model(np.ascontiguousarray(rgb[::2, ::-1])).cube
    np.testing.assert_array_equal(model(rgb[::2, ::-1]).cube, plain)
    np.testing.assert_array_equal(model(np.asfortranarray(rgb[::2, ::-1])).cube, plain)


def test_big_endian_pixels_are_read_as_numbers(tiny_bands: BandSet) -> None:
    rgb = np.array([[[0, 300, 65535]]], dtype=">u2")
    np.testing.assert_array_equal(probe(tiny_bands)(rgb).cube, probe(tiny_bands)(rgb.astype("<u2")).cube)


def test_the_input_is_not_changed(tiny_bands: BandSet) -> None:
    rgb = image().astype(np.float64)
    before = rgb.copy()
    probe(tiny_bands, input=RgbInput(normalise="minmax-image"))(rgb)
    np.testing.assert_array_equal(rgb, before)


BAD_IMAGES = {
    "grey": (np.zeros((5, 5)), r"\(5, 5\) float64.*grey"),
    "grey with a channel": (np.zeros((5, 5, 1), np.uint8), r"\(5, 5, 1\) uint8.*grey"),
    "RGBA": (np.zeros((5, 5, 4), np.uint8), r"\(5, 5, 4\).*RGBA"),
    "channels first": (np.zeros((3, 5, 6)), r"transpose\(1, 2, 0\)"),
    "empty": (np.zeros((0, 5, 3)), "empty"),
    "batch of numpy": (np.zeros((2, 5, 5, 3)), r"\(2, 5, 5, 3\)"),
    "NaN": (np.full((2, 2, 3), np.nan), "12 NaN or infinite of 12"),
    "infinite": (np.full((2, 2, 3), np.inf, np.float32), "not finite"),
    "0 to 255": (np.full((2, 2, 3), 255.0), r"values in \[0, 1\].*float64 in \[255, 255\].*value_range"),
    "negative": (np.full((2, 2, 3), -0.1), r"in \[-0.1, -0.1\]"),
    "wide integers": (np.zeros((2, 2, 3), np.int64), "no natural full scale.*value_range"),
    "booleans": (np.zeros((2, 2, 3), bool), "bool"),
    "text": (np.full((2, 2, 3), "a"), "numbers"),
    "complex": (np.zeros((2, 2, 3), complex), "complex"),
    "a list": ([[[0.0, 0.0, 0.0]]], "array.*list"),
    "torch image without batch": (torch.zeros(3, 5, 5), r"rgb\[None\]"),
    "torch channels last": (torch.zeros(1, 5, 6, 3), r"permute\(0, 3, 1, 2\)"),
    "torch RGBA": (torch.zeros(1, 4, 5, 5), "RGBA"),
    "torch grey": (torch.zeros(1, 1, 5, 5), "grey"),
    "torch empty batch": (torch.zeros(0, 3, 5, 5), "empty"),
    "torch NaN": (torch.full((1, 3, 2, 2), torch.nan), "NaN"),
    "torch boolean": (torch.zeros(1, 3, 2, 2, dtype=torch.bool), "bool"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_bad_images_are_refused_with_what_was_seen(tiny_bands: BandSet, case: str) -> None:
    rgb, words = BAD_IMAGES[case]
    model = probe(tiny_bands)
    with pytest.raises(InputError, match=words):
        model(rgb)
    assert model.module.seen == []


@pytest.mark.parametrize("value_range", [(1, 0), (0, 0), (0, float("nan")), 255, (0, 1, 2), ("a", "b")])
def test_a_range_that_is_none_is_refused(tiny_bands: BandSet, value_range: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="value_range"):
        probe(tiny_bands)(image(), value_range=value_range)


def test_values_beyond_the_declared_range_are_refused(tiny_bands: BandSet) -> None:
    with pytest.raises(InputError, match=r"\[0, 1023\].*\[4095, 4095\]"):
        probe(tiny_bands)(np.full((1, 1, 3), 4095, np.uint16), value_range=(0, 1023))


def test_rounding_just_past_the_range_is_clipped(tiny_bands: BandSet) -> None:
    rgb = np.full((1, 1, 3), np.nextafter(np.float32(1), np.float32(2)))
    assert probe(tiny_bands)(rgb).cube[0, 0, 0] == 1


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 13), (1, 9), (8, 16), (9, 3), (33, 31)])
@pytest.mark.parametrize(("multiple", "min_size"), [(1, 1), (8, 1), (8, 32), (1, 5), (4, 6)])
def test_any_size_is_padded_for_the_network_and_cropped_again(
    tiny_bands: BandSet, height: int, width: int, multiple: int, min_size: int
) -> None:
    model = probe(tiny_bands, input=RgbInput(multiple=multiple, min_size=min_size))
    rgb = image(height, width)
    np.testing.assert_allclose(model(rgb).cube, expected_cube(rgb, tiny_bands), rtol=1e-6)
    inner = model.module.seen[0].shape[-2:]
    for size, got in zip((height, width), inner, strict=True):
        assert got % multiple == 0 and got >= max(size, min_size) and got - max(size, min_size) < multiple


def test_padding_reflects_and_repeats_the_edge_only_where_it_must(tiny_bands: BandSet) -> None:
    model = probe(tiny_bands, input=RgbInput(multiple=8))
    rgb = image(7, 3)
    model(rgb)
    padded = model.module.seen[0][0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(padded[7, :3], rgb[5])  # reflection: the edge row is not repeated
    for x in range(3, 8):  # 5 columns cannot be reflected from 3
        np.testing.assert_array_equal(padded[:7, x], rgb[:, 2])


def test_padding_to_the_smallest_size_repeats_the_edge(tiny_bands: BandSet) -> None:
    model = probe(tiny_bands, input=RgbInput(min_size=8))
    rgb = image(6, 8)
    model(rgb)
    padded = model.module.seen[0][0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(padded[6:], np.stack([rgb[5], rgb[5]]))


def test_minmax_is_taken_per_image_over_all_channels(tiny_bands: BandSet) -> None:
    model = probe(tiny_bands, input=RgbInput(normalise="minmax-image"))
    batch = np.stack([image(seed=1) * 0.5 + 0.1, image(seed=2)])
    model(torch.from_numpy(batch).permute(0, 3, 1, 2))
    seen = model.module.seen[0].permute(0, 2, 3, 1).numpy()
    for one, got in zip(batch, seen, strict=True):
        np.testing.assert_allclose(got, (one - one.min()) / (one.max() - one.min()), rtol=1e-5, atol=1e-6)


def test_minmax_of_a_constant_image_is_zero_and_not_nan(tiny_bands: BandSet) -> None:
    model = probe(tiny_bands, input=RgbInput(normalise="minmax-image"))
    assert (model(np.full((2, 2, 3), 0.4)).cube == 0).all()


def test_models_that_couple_a_batch_see_one_image_at_a_time(tiny_bands: BandSet) -> None:
    batch = torch.rand(3, 3, 4, 4)
    coupled, free = probe(tiny_bands, couples_batch=True), probe(tiny_bands)
    assert torch.equal(coupled(batch).cube, free(batch).cube)
    assert [len(x) for x in coupled.module.seen] == [1, 1, 1]
    assert [len(x) for x in free.module.seen] == [3]


def test_predict_agrees_with_the_call(tiny_bands: BandSet) -> None:
    model, rgb = probe(tiny_bands, input=RgbInput(multiple=4)), image(7, 13)
    cube = model.predict(np.ascontiguousarray(rgb.transpose(2, 0, 1)))
    assert cube.dtype == np.float32
    np.testing.assert_array_equal(cube.transpose(1, 2, 0), model(rgb).cube)
    with pytest.raises(InputError, match=r"\(3, H, W\)"):
        model.predict(rgb)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.nan, "1 NaN or infinite of 12"),
        (-np.inf, "1 NaN or infinite"),
        (1.01, r"Expected values in \[0, 1\]. Got .* in \[0.5, 1.01\]"),
        (-0.01, r"in \[-0.01, 0.5\]"),
        (255, r"in \[0.5, 255\]"),
    ],
)
def test_predict_refuses_values_outside_its_range(tiny_bands: BandSet, value: float, words: str) -> None:
    rgb = np.full((3, 2, 2), 0.5, np.float32)
    rgb[1, 0, 1] = value
    model = probe(tiny_bands)
    with pytest.raises(InputError, match=words):
        model.predict(rgb)
    assert model.module.seen == []
    rgb[1, 0, 1] = np.nextafter(np.float32(1), np.float32(2))
    assert model.predict(rgb)[1, 0, 1] == 2


def adapt_by_gradient(module: Probe, rgb: torch.Tensor) -> torch.Tensor:
    """Doubles the output after showing that a gradient can be taken."""
    module.scale.grad = None
    module(rgb).mean().backward()
    assert rgb.shape[0] == 1 and module.scale.grad is not None
    module.scale.grad = None
    return 2 * module(rgb)


def test_adaptation_runs_per_image_with_gradients(tiny_bands: BandSet) -> None:
    model = probe(tiny_bands, adapt=adapt_by_gradient, input=RgbInput(multiple=8))
    batch = torch.rand(2, 3, 5, 6)
    plain, adapted = model(batch).cube, model(batch, tta=True).cube
    assert torch.allclose(adapted, 2 * plain) and not adapted.requires_grad


def test_adaptation_without_support_is_an_error(tiny_bands: BandSet) -> None:
    with pytest.raises(InputError, match="no test-time adaptation"):
        probe(tiny_bands)(image(), tta=True)


def test_a_network_of_the_wrong_shape_is_the_plugins_error(tiny_bands: BandSet) -> None:
    spec = ModelSpec(name="probe", build=Probe, summary="s", source="t")
    wrong = Probe(BandSet((400.0,)))
    model = Reconstructor(wrong, spec, tiny_bands, name="probe", config={}, device="cpu")
    with pytest.raises(PluginError, match=r"\(1, 5, 6, 4\).*\(1, 1, 6, 4\)"):
        model(image())


@pytest.mark.parametrize("device", ["cuda:99", "nonsense"])
def test_a_device_that_is_not_there_is_an_input_error(tiny_bands: BandSet, device: str) -> None:
    spec = ModelSpec(name="probe", build=Probe, summary="s", source="t")
    with pytest.raises(InputError, match=device):
        Reconstructor(Probe(tiny_bands), spec, tiny_bands, name="probe", config={}, device=device)


@pytest.mark.parametrize(
    "make", [lambda rgb: rgb, lambda rgb: torch.from_numpy(rgb).permute(2, 0, 1)[None]]
)
def test_a_saved_cube_comes_back_with_its_bands(
    tmp_path: Path, tiny_bands: BandSet, make: Callable
) -> None:
    from hsrzoo.io import load_cube

    rgb = image()
    probe(tiny_bands)(make(rgb)).save(tmp_path / "cube.npz")
    cube, bands = load_cube(tmp_path / "cube.npz")
    np.testing.assert_allclose(cube, expected_cube(rgb, tiny_bands), rtol=1e-6)
    assert bands is not None and bands.same_as(tiny_bands)


def test_several_cubes_do_not_go_into_one_file(tmp_path: Path, tiny_bands: BandSet) -> None:
    with pytest.raises(InputError, match="2 images"):
        probe(tiny_bands)(torch.rand(2, 3, 4, 4)).save(tmp_path / "cube.npz")
