"""What the forward passes of several networks share: strips, gradients, padding, the skip around them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import MST_L_SMALL, build

import hsrzoo
from hsrzoo.layers import whole_image
from hsrzoo_baselines import agdnet, gmsr, mst_plus_plus_layers
from hsrzoo_baselines.mst_plus_plus_published import PublishedMSTPlusPlus

ONE_PIXEL = {"cpu": 1, "other": 1}
MST_STRIPS = (
    (mst_plus_plus_layers, "VALUES_AT_ONCE", 1),
    (mst_plus_plus_layers, "LEAST_ROWS", 8),
    (whole_image, "PIXELS_AT_ONCE", ONE_PIXEL),
    (whole_image, "LEAST_ROWS", 8),
)
"""Strips of 8 rows."""
DOUBLE = torch.float64


@pytest.mark.parametrize(
    ("name", "bands", "arguments", "size", "strips", "dtype", "tolerance"),
    [
        ("agdnet", 5, {"stages": 3}, (40, 7), [(agdnet, "ROWS", 8)], None, (1e-5, 1e-6)),
        ("hscnn-plus", 7, {"blocks": 4}, (9, 6), [], None, (1e-5, 1e-7)),
        ("mst-plus-plus", 4, {"stages": 2}, (24, 32), [], None, (1e-5, 1e-6)),
        ("r3st", 7, {}, (9, 14), [], None, (1e-4, 1e-6)),
        ("mst-l", 31, MST_L_SMALL, (61, 30), MST_STRIPS, DOUBLE, (1e-9, 1e-10)),
        ("mst-l", 4, {**MST_L_SMALL, "batch": "coupled"}, (61, 30), MST_STRIPS, DOUBLE, (1e-9, 1e-10)),
        *[
            ("gmsr", 31, {}, (9, 11), [(gmsr, "PIXELS_AT_ONCE", n)], None, (1e-4, 1e-6))
            for n in (1, 16, 50, 1000)
        ],
    ],
)
def test_in_strips_and_batches_the_cube_is_that_which_gradients_see(
    monkeypatch, name, bands, arguments, size, strips, dtype, tolerance
):
    network = build(name, bands, **arguments).to(dtype)
    rgb, (rtol, atol) = torch.rand(2, 3, *size, dtype=dtype), tolerance
    whole = network(rgb).detach()  # with gradients: no strips
    for module, constant, value in strips:
        monkeypatch.setattr(module, constant, value)
    with torch.no_grad():
        assert torch.allclose(network(rgb), whole, rtol=rtol, atol=atol)
        if "batch" not in arguments:
            alone = torch.cat([network(image) for image in rgb.split(1)])
            assert torch.allclose(alone, whole, rtol=rtol, atol=atol)


@pytest.mark.parametrize(
    ("name", "arguments", "size"),
    [
        ("edsr", {"blocks": 1}, (3, 2)),
        ("gmsr", {}, (3, 4)),
        ("hdnet", {"blocks": 1}, (2, 3)),
        ("hscnn-plus", {"blocks": 2}, (4, 3)),
    ],
)
def test_gradient_is_that_of_finite_differences(name, arguments, size):
    network = build(name, 2, **arguments).double()
    rgb = torch.rand(1, 3, *size, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(network, (rgb,))


@pytest.mark.parametrize(
    ("name", "arguments", "head", "first"),
    [
        ("hinet", {"depth": 2}, "last", lambda net, rgb: net.conv_in(rgb)),
        ("mirnet", {"groups": 1}, "conv_out", lambda net, rgb: net.conv_in(rgb)),
        ("mprnet", {"cabs": 1}, "tail", lambda net, rgb: net.conv_in(rgb)),
        ("mst-l", MST_L_SMALL, "mapping", lambda net, rgb: F.leaky_relu(net.embedding_2(rgb), 0.1)),
        ("mst-plus-plus", {"stages": 1}, "conv_out", lambda net, rgb: net.conv_in(rgb)),
    ],
)
def test_outer_skip_exists_at_31_bands_only(name, arguments, head, first):
    at_31, at_5 = build(name, 31, **arguments), build(name, 5, **arguments)
    rgb = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        for network in (at_31, at_5):
            for parameter in getattr(network, head).parameters():
                parameter.zero_()
        cube, expected = at_31(rgb), first(at_31, rgb)
        assert torch.allclose(cube, expected, atol=1e-6) if name.startswith("mst") else cube.equal(expected)
        assert not at_5(rgb).any()


@pytest.mark.parametrize(
    ("name", "bands", "arguments"),
    [("hrnet", 4, {"width": 4}), ("mirnet", 31, {"groups": 1}), ("mst-plus-plus", 31, {"stages": 1})],
)
def test_padding_is_the_reflection_of_the_original(name, bands, arguments):
    network, rgb = build(name, bands, **arguments), torch.rand(1, 3, 13, 10)
    padded = torch.from_numpy(np.pad(rgb.numpy(), ((0, 0), (0, 0), (0, 3), (0, 6)), mode="reflect"))
    with torch.no_grad():
        assert torch.allclose(network(rgb), network(padded)[:, :, :13, :10], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "size", "published"),
    [
        ("hscnn-plus", (20, 17), lambda module: module.published),
        ("mst-plus-plus", (48, 40), lambda module: isinstance(module, PublishedMSTPlusPlus)),
    ],
)
def test_reference_has_the_weights_of_the_default(name, size, published):
    reference, default = (hsrzoo.load(n, device="cpu") for n in (f"{name}:reference", name))
    assert published(reference.module) and not published(default.module)
    assert reference.weights_sha256 == default.weights_sha256
    rgb = np.random.default_rng(0).random((3, *size), dtype=np.float32)
    assert np.allclose(reference.predict(rgb), default.predict(rgb), rtol=1e-4, atol=1e-5)
