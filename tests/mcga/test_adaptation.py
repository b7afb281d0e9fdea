"""Test-time adaptation: what it lowers, what it gives back, what the guard refuses, bad images."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from hsrzoo.camera import Camera
from hsrzoo.errors import InputError
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.registry import MODELS
from hsrzoo_mcga.adaptation import adapt, descent, downsample, ga_parameters, rendering_error, total_entropy
from hsrzoo_mcga.stage2.network import GANet
from tiny_mcga import BANDS, rgb_image, tiny

ROOT = Path(__file__).resolve().parents[2]
RESPONSE = torch.from_numpy(Camera.named("nikon-d5100").matrix(BANDS)).float()


@pytest.fixture
def rgb() -> torch.Tensor:
    return rgb_image()


def unadapted(net: GANet, rgb: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return net(rgb)


def state(net: GANet) -> list:
    return [(n, p.detach().clone(), p.requires_grad, p.grad) for n, p in net.named_parameters()]


def assert_as_before(net: GANet, before: list) -> None:
    for (name, value, wanted, grad), (same, p) in zip(before, net.named_parameters(), strict=True):
        assert name == same and torch.equal(p, value) and p.requires_grad == wanted and p.grad is grad


def test_it_gives_the_cube_of_a_descent_on_the_entropy_and_restores_the_weights(rgb: torch.Tensor) -> None:
    net = tiny()
    before, plain = state(net), unadapted(net, rgb)
    adapted = adapt(net, rgb, steps=3, lr=1e-2)
    assert_as_before(net, before)
    # the same descent by hand, on the GA parameters alone
    start = float(total_entropy(net, rgb, 1.0, 4096).detach())
    optimiser = torch.optim.Adam(ga_parameters(net), lr=1e-2)
    for _ in range(3):
        optimiser.zero_grad()
        total_entropy(net, rgb, 1.0, 4096).backward()
        optimiser.step()
    assert float(total_entropy(net, rgb, 1.0, 4096).detach()) < start
    torch.testing.assert_close(adapted, unadapted(net, rgb))
    assert not torch.allclose(adapted, plain)


def test_only_what_is_named_moves_and_it_comes_back_after_an_error(rgb: torch.Tensor) -> None:
    net = tiny()
    before, moving = state(net), ga_parameters(net)
    named = {n for n, p in net.named_parameters() if any(p is q for q in moving)}
    values = {n: v for n, v, _, _ in before}
    one = descent(net, moving, lambda: net(rgb).sum(), 1, 0.1)
    with pytest.raises(ZeroDivisionError), one as (start, end):
        changed = {n for n, p in net.named_parameters() if not torch.equal(values[n], p)}
        assert end < start and changed and changed <= named
        raise ZeroDivisionError
    assert_as_before(net, before)


def test_a_descent_that_raises_the_entropy_is_thrown_away(
    rgb: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = tiny()
    uphill = functools.partial(torch.optim.Adam, maximize=True)
    monkeypatch.setattr(torch.optim, "Adam", uphill)
    with pytest.warns(UserWarning, match="does not explain the image better"):
        assert torch.equal(adapt(net, rgb, steps=1, lr=1e-3), unadapted(net, rgb))


def test_an_adapted_cube_that_renders_worse_is_thrown_away(
    rgb: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compared with an image that one of the two cubes explains to the bit: that one is kept."""
    net = tiny()
    plain, lower = unadapted(net, rgb), adapt(net, rgb, steps=3, lr=1e-2, guard="entropy")
    assert not torch.equal(plain, lower)
    for better in (plain, lower):
        image = torch.einsum("kc,bchw->bkhw", RESPONSE, better)
        monkeypatch.setattr(
            "hsrzoo_mcga.adaptation.rendering_error",
            lambda cube, _, response, image=image: rendering_error(cube, image, response),
        )
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert torch.equal(adapt(net, rgb, RESPONSE, steps=3, lr=1e-2), better)
        assert ["the image better" in str(w.message) for w in told] == [True] * (better is plain)
        assert torch.equal(adapt(net, rgb, RESPONSE, steps=3, lr=1e-2, guard="entropy"), lower)


def test_rendering_error_is_that_of_a_loop(rgb: torch.Tensor) -> None:
    cube = torch.rand(1, len(BANDS), 16, 24)
    places = [(y, x) for y in range(16) for x in range(24)]
    gaps = [RESPONSE.double() @ cube[0, :, y, x].double() - rgb[0, :, y, x].double() for y, x in places]
    expected = float(torch.stack(gaps).square().mean().sqrt())
    assert rendering_error(cube, rgb, RESPONSE) == pytest.approx(expected)


def test_a_black_image_is_not_adapted_to_and_says_so() -> None:
    net, black = tiny(), torch.zeros(1, 3, 16, 16)
    with pytest.warns(UserWarning, match="black: the network is not adapted"):
        got = adapt(net, black, steps=2, lr=0.1)
    assert torch.equal(got, unadapted(net, black))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adapt(net, black + 0.01, steps=1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_image_that_is_not_finite_is_refused(rgb: torch.Tensor, value: float) -> None:
    rgb[0, 1, 2, 3] = value
    with pytest.raises(InputError, match="1 values that are NaN or infinite"):
        adapt(tiny(), rgb)


def test_several_images_are_adapted_to_one_by_one(rgb: torch.Tensor) -> None:
    """The function takes one; a model's batch of different scenes gives what each gives alone."""
    other = rgb.flip(3).square()
    with pytest.raises(InputError, match="one image"):
        adapt(tiny(), torch.cat([rgb, other]))
    batch = model()(torch.cat([rgb, other]), tta=True).cube
    for got, image in zip(batch, (rgb, other), strict=True):
        torch.testing.assert_close(got[None], model()(image, tta=True).cube)
    with pytest.raises(InputError, match="finite"):
        model()(rgb * torch.nan, tta=True)


def model(response: str | None = None) -> Reconstructor:
    config = {"training": {"dataset_info": {"response": response}}} if response else {}
    return Reconstructor(
        tiny(), MODELS.get("mcga-s2"), BANDS, name="tiny", config=config, device="cpu"
    )  # fmt: skip


@pytest.mark.parametrize(("named", "known"), [("nikon-d5100", True), ("a phone", False), (None, False)])
def test_the_guard_gets_the_response_that_the_record_names(
    rgb: torch.Tensor, monkeypatch: pytest.MonkeyPatch, named: str | None, known: bool
) -> None:
    seen = []

    def spy(net, rgb, response=None):
        seen.append(response)
        return unadapted(net, rgb)

    monkeypatch.setattr("hsrzoo_mcga.adaptation.adapt", spy)
    model(named)(rgb, tta=True)
    assert (seen[0] is not None) == known
    assert not known or torch.equal(seen[0], RESPONSE)


def test_a_network_without_codes_or_curves_stays_as_it_is(rgb: torch.Tensor) -> None:
    for changes in ({"codebook": "none"}, {"ga": False}):
        net = tiny(**changes)
        assert torch.equal(adapt(net, rgb, lr=0.1), unadapted(net, rgb))


def test_an_unknown_guard_is_refused(rgb: torch.Tensor) -> None:
    with pytest.raises(InputError, match="guard"):
        adapt(tiny(), rgb, guard="none")


def test_large_images_are_averaged_before_the_descent() -> None:
    image = torch.arange(3 * 64 * 32, dtype=torch.float32).view(1, 3, 64, 32)
    small = downsample(image, 16, 4)
    assert small.shape == (1, 3, 16, 8)
    torch.testing.assert_close(small, image.view(1, 3, 16, 4, 8, 4).mean((3, 5)))
    assert downsample(image, 64, 4) is image
