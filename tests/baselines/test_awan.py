"""AWAN: its attention against the plain products, and what that costs."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from hsrzoo.contract.checks import Subject
from hsrzoo.export.graph import trace
from hsrzoo.models.complexity import macs
from hsrzoo_baselines.awan import AWAN, SPEC, ChannelGate, NonLocal, attention


def plain(theta, values):
    """The attention with its whole matrix, as the published code computes it, in float64."""
    theta, values = theta.double(), values.double()
    b, d, height, width = theta.shape
    t = theta.reshape(b, d, -1).transpose(1, 2)  # (B, N, D)
    scores = (t - t.mean(-1, keepdim=True)) @ t.transpose(1, 2) / d  # (B, N, N)
    mixed = scores.softmax(-1) @ values.reshape(b, d, -1).transpose(1, 2)
    return mixed.transpose(1, 2).reshape(b, d, height, width)


@pytest.mark.parametrize("features", [1, 3, 8, 25])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_blocks_give_the_numbers_of_the_whole_matrix(features, scale):
    """Also where one weight is all but 1. Nothing but the operator that works in blocks is allowed."""
    torch.manual_seed(0)
    inputs = [torch.randn(2, features, 40, 33) for _ in range(2)]
    theta, values = (x.requires_grad_() for x in (scale * inputs[0], inputs[1]))
    weight = torch.randn_like(values)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        got = attention(theta, values)
        gradients = torch.autograd.grad((got * weight).sum(), (theta, values))
    expected = plain(theta, values)
    expected_gradients = torch.autograd.grad((expected * weight).sum(), (theta, values))
    for a, b in zip((got, *gradients), (expected, *expected_gradients), strict=True):
        assert (a - b).norm() <= 1e-4 * b.norm() + 1e-6


@pytest.mark.parametrize("size", [(1, 5), (4, 1), (1, 1), (7, 10)])
def test_quarters_of_any_size_are_mixed_each_for_itself(size):
    torch.manual_seed(0)
    layer = NonLocal(31)
    torch.nn.init.normal_(layer.W.weight)
    x = torch.randn(2, 31, *size)
    mixed = torch.zeros(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        got, theta, values = layer(x), layer.theta(x), layer.g(x)
    for rows in (slice(0, size[0] // 2), slice(size[0] // 2, None)):
        for columns in (slice(0, size[1] // 2), slice(size[1] // 2, None)):
            at = (slice(None), slice(None), rows, columns)
            if mixed[at].numel():
                mixed[at] = plain(theta[at], values[at])
    expected = torch.einsum("cd,bdhw->bchw", layer.W.weight[:, :, 0, 0].double(), mixed) + x
    assert torch.allclose(got.double(), expected, rtol=1e-5, atol=1e-5)


def test_attention_adds_nothing_before_training():
    x = torch.randn(1, 31, 6, 4)
    assert torch.equal(NonLocal(31)(x), x)


GROWTH = """
import resource, torch
from hsrzoo_baselines.awan import attention
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
def run(side, gradient):
    theta, values = (torch.randn(1, 3, side, side, requires_grad=gradient) for _ in range(2))
    out = attention(theta, values)
    if gradient:
        out.sum().backward()
run(8, True)
before = peak()
run(96, False)
run(96, True)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="kilobytes of resident memory are Linux's unit")
def test_memory_of_attention_is_far_from_that_of_its_matrix(forks, tmp_path):
    done = forks.python("-c", GROWTH, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    matrix = (96 * 96) ** 2 * 4
    assert int(done.stdout) * 1024 < matrix / 8  # 324 MiB / 8


@pytest.mark.long  # tracing takes seconds; the contract checks other sizes without a graph
def test_an_exported_graph_halves_other_sizes_too():
    model = Subject(replace(SPEC, arguments={"width": 16, "blocks": 0})).reconstructor()
    torch.nn.init.normal_(model.module.tail_nonlocal.non_local.W.weight)
    graph = trace(model).module()
    for size in ((17, 6), (4, 5), (12, 31)):
        rgb = torch.rand(1, 3, *size)
        with torch.no_grad():
            assert torch.allclose(graph(rgb), model.module(rgb), atol=1e-5)


def test_gate_is_that_of_a_weighted_mean_by_hand():
    torch.manual_seed(0)
    gate = ChannelGate(32).double()
    x = torch.randn(2, 32, 3, 5, dtype=torch.float64)
    weight = {key: value.numpy() for key, value in gate.state_dict().items()}
    for image, got in zip(x.flatten(2).numpy(), gate(x).detach().flatten(2).numpy(), strict=True):
        share = np.exp(weight["conv.weight"][0, :, 0, 0] @ image)
        inner = weight["fc.0.weight"] @ (image @ share / share.sum())
        inner = np.where(inner < 0, weight["fc.1.weight"] * inner, inner)
        expected = image / (1 + np.exp(-weight["fc.2.weight"] @ inner))[:, None]
        assert np.allclose(got, expected, rtol=1e-10)


def test_macs_count_the_attention():
    """What grows faster than the pixels is the two products between all pixels of each quarter."""
    network = AWAN(31, width=16, blocks=0)
    sides = [macs(network, side, side) for side in (32, 64)]
    attended = [4 * (side * side // 4) ** 2 * 2 * 3 for side in (32, 64)]
    assert sides[1] - attended[1] == 4 * (sides[0] - attended[0])
