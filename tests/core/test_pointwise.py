"""Products over the channels of every pixel against float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from hsrzoo.layers.pointwise import gram, pointwise

SHAPES = [(1, 1, 1, 5), (1, 4, 8, 31), (2, 3, 7, 33), (1, 16, 1, 1), (1009, 7), (64, 62)]
"""One pixel, few, odd counts, one channel, a prime number of pixels, no image at all."""


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_pointwise_is_a_linear_layer(shape, bias, grad):
    torch.manual_seed(0)
    x, weight = torch.randn(shape), torch.randn(6, shape[-1])
    b = torch.randn(6) if bias else None
    with torch.set_grad_enabled(grad):
        got = pointwise(x, weight, b)
    expected = F.linear(x.double(), weight.double(), None if b is None else b.double())
    assert got.shape == expected.shape and got.is_contiguous() and got.dtype == torch.float32
    assert (got - expected).norm() <= 1e-6 * expected.norm()


def test_pointwise_takes_some_channels_of_a_wider_map():
    torch.manual_seed(0)
    room, weight = torch.randn(1, 8, 16, 40), torch.randn(3, 24)
    part = room[:, 2:6, :, :24]
    with torch.no_grad():
        assert torch.allclose(pointwise(part, weight), part @ weight.t(), rtol=1e-5, atol=1e-5)


def test_pointwise_has_the_gradient_of_a_linear_layer():
    torch.manual_seed(0)
    x = torch.randn(2, 16, 4, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(pointwise, (x, weight))


@pytest.mark.parametrize("shape", [(1, 5), (33, 31), (1009, 7), (4096, 62), (64, 1)])
def test_gram_is_the_sum_over_pixels(shape):
    torch.manual_seed(0)
    x = torch.randn(shape)
    with torch.no_grad():
        got = gram(x)
    expected = x.double().t() @ x.double()
    assert got.shape == (shape[1], shape[1])
    assert (got - expected).norm() <= 1e-6 * expected.norm()


def test_autocast_is_obeyed():
    x, weight = torch.rand(32, 8), torch.rand(4, 8)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert pointwise(x, weight).dtype == torch.bfloat16
