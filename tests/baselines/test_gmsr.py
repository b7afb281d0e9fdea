"""GMSR-Net: batches, its stretched gradients and what its scan costs."""

from __future__ import annotations

import pytest
import torch
from networks import build

from hsrzoo.models.complexity import macs, peak_bytes
from hsrzoo_baselines import gmsr
from hsrzoo_baselines.gmsr import GMSR


@pytest.fixture(scope="module")
def network() -> GMSR:
    return build("gmsr")


def test_images_are_independent_by_default_and_coupled_as_in_the_original_on_request(network):
    torch.manual_seed(1)
    rgb = torch.rand(2, 3, 8, 9) * torch.tensor([1.0, 0.3]).view(2, 1, 1, 1)
    coupled = build("gmsr", batch="coupled")
    coupled.load_state_dict(network.state_dict())
    with torch.no_grad():
        one_by_one = torch.cat([network(image) for image in rgb.split(1)])
        assert torch.allclose(network(rgb), one_by_one, rtol=1e-5, atol=1e-6)
        assert torch.allclose(coupled(rgb[:1]), one_by_one[:1], rtol=1e-5, atol=1e-6)
        assert (coupled(rgb)[1] - one_by_one[1]).abs().max() > 1e-4


def test_stretching_reaches_from_zero_to_one_per_image_or_batch():
    x = torch.tensor([[1.0, 3.0], [5.0, 9.0]]).view(2, 1, 1, 2)
    own = torch.tensor([[0.0, 1.0], [0.0, 1.0]]).view(2, 1, 1, 2)
    assert torch.equal(gmsr._stretch(x, coupled=False), own)
    together = torch.tensor([[0.0, 0.25], [0.5, 1.0]]).view(2, 1, 1, 2)
    assert torch.equal(gmsr._stretch(x, coupled=True), together)
    assert torch.equal(gmsr._stretch(torch.full((1, 2, 3, 3), 7.0), coupled=False), torch.zeros(1, 2, 3, 3))


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_constant_image_gives_a_finite_cube_and_finite_gradients(value):
    torch.manual_seed(0)
    network = GMSR(5)
    cube = network(torch.full((1, 3, 6, 7), value))
    cube.sum().backward()
    assert torch.isfinite(cube).all()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.requires_grad)


def test_pieces_of_the_scan_give_the_cube_of_whole_sequences(network, monkeypatch):
    torch.manual_seed(1)
    rgb = torch.rand(2, 3, 9, 11)
    expected = network(rgb).detach()
    monkeypatch.setattr(gmsr, "PIXELS_AT_ONCE", 10)
    with torch.no_grad():
        assert torch.allclose(network(rgb), expected, rtol=1e-4, atol=1e-6)


def test_fused_kernel_gets_whole_sequences(network, monkeypatch):
    torch.manual_seed(1)
    rgb, lengths = torch.rand(1, 3, 9, 11), []
    with torch.no_grad():
        expected = network(rgb)
    plain = gmsr.selective_scan
    monkeypatch.setattr(gmsr, "PIXELS_AT_ONCE", 10)
    monkeypatch.setattr(gmsr, "fused_scan", lambda device: plain)
    monkeypatch.setattr(
        gmsr, "selective_scan", lambda u, *rest: lengths.append(u.shape[-1]) or plain(u, *rest)
    )
    with torch.no_grad():
        assert torch.allclose(network(rgb), expected, rtol=1e-4, atol=1e-6)
    assert lengths == [99, 99, 99]


def test_under_autocast_the_cube_stays_close(network):
    torch.manual_seed(1)
    rgb = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        expected = network(rgb)
        with torch.autocast("cpu", torch.bfloat16):
            cube = network(rgb)
    assert (cube - expected).norm() < 0.03 * expected.norm()


def test_training_leaves_some_blocks_out_and_keeps_the_mean():
    torch.manual_seed(0)
    block = gmsr.StateSpaceBlock(4)
    x = torch.rand(1, 4, 3, 3).expand(400, -1, -1, -1)
    with torch.no_grad():
        y, whole = block(x), block.eval()(x[:1])
    kept = y.flatten(1).any(1)
    assert 0.85 < kept.float().mean() < 0.95
    assert torch.allclose(y[kept], (whole / 0.9).expand_as(y[kept]), atol=1e-6)


def test_cost_counts_the_recurrence(network):
    scan = 4 * 2 * (10 + 20 + 31) * 16 * 12 * 12
    assert network.unseen_macs(12, 12) == scan
    assert macs(network, 12, 12) > scan


def test_memory_of_inference_grows_with_the_pixels_not_with_their_states(network):
    states = 4 * 4 * 62 * 16 * 128 * 128  # bytes of one (L, K, N) tensor of the third level
    assert peak_bytes(network, 128, 128) < states / 2
