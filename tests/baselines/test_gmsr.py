"""GMSR-Net against the original network."""

from __future__ import annotations

import pytest
import torch
from parity import Parity
from safetensors.torch import load_file

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.contract import checks
from hsrzoo.contract.checks import Subject
from hsrzoo.errors import BandsError, InputError
from hsrzoo.models.complexity import macs, peak_bytes
from hsrzoo_baselines import gmsr
from hsrzoo_baselines.gmsr import GMSR, build


def size(module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.fixture(scope="module")
def network() -> GMSR:
    torch.manual_seed(0)
    return GMSR(31).eval()


def test_size_is_the_official_one():
    assert size(GMSR(31)) == 44_980
    assert size(GMSR(202)) == 601_056


def test_outputs_keys_and_weights_are_those_of_the_original(parity_root):
    original = Parity.read(parity_root, "gmsr")
    coupled = build(VISIBLE_31, batch="coupled")
    original.fill(coupled)  # raises at the first key or shape that differs
    assert original.sha256(coupled) == original.state_sha256
    errors = original.relative_errors(coupled)
    assert max(errors.values()) < 1e-5, errors
    stored = load_file(parity_root / "gmsr.weights.safetensors")
    assert all(torch.equal(value, stored[key]) for key, value in coupled.state_dict().items())


def test_images_are_independent_by_default_and_coupled_as_in_the_original_on_request(network):
    torch.manual_seed(1)
    rgb = torch.rand(2, 3, 8, 9) * torch.tensor([1.0, 0.3]).view(2, 1, 1, 1)
    coupled = build(VISIBLE_31, batch="coupled").eval()
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


@pytest.mark.parametrize("pixels", [1, 16, 50, 1000])
def test_in_pieces_the_cube_is_that_of_the_whole(network, monkeypatch, pixels):
    torch.manual_seed(1)
    rgb = torch.rand(2, 3, 9, 11)
    expected = network(rgb).detach()  # with gradients: in one
    monkeypatch.setattr(gmsr, "PIXELS_AT_ONCE", pixels)
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


def test_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    network = GMSR(2).double().eval()
    rgb = torch.rand(1, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(network, (rgb,))


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


@pytest.mark.parametrize("name", [name for name in checks.CHECKS if name not in ("export", "onnx")])
def test_contract(name):
    """All but the two slow ones: what is special in exporting it, the scan, is tested on its own."""
    checks.CHECKS[name](Subject(gmsr.SPEC))


def test_unknown_batch_and_single_band_are_refused():
    with pytest.raises(InputError, match="coupled"):
        build(VISIBLE_31, batch="all")
    with pytest.raises(BandsError, match="two"):
        build(BandSet.of((550.0,)))
