"""AGD-Net against the original network, in both its sizes."""

from __future__ import annotations

import pytest
import torch
from parity import Parity
from tiles import reach

from hsrzoo.bands import VISIBLE_31
from hsrzoo.errors import FormatError, InputError
from hsrzoo.spec import build_module
from hsrzoo_baselines.agdnet import SPEC, SPEC_9, AGDNet, build, rename


def size(module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_sizes_are_the_official_ones_and_that_reported_at_202_bands():
    assert size(build_module(SPEC, VISIBLE_31, {})) == 172_391
    assert size(build_module(SPEC_9, VISIBLE_31, {})) == 386_136
    assert size(AGDNet(202)) == 6_788_210


@pytest.mark.parametrize("stages", [4, 9])
def test_outputs_keys_and_weights_are_those_of_the_original(parity_root, stages):
    original = Parity.read(parity_root, f"agdnet_{stages}")
    network = AGDNet(31, stages)
    original.fill(network, one_name=True)
    assert original.sha256(network) == original.state_sha256
    errors = original.relative_errors(network)
    assert max(errors.values()) < 1e-5, errors


def test_strips_and_batches_change_nothing(monkeypatch):
    torch.manual_seed(0)
    network, rgb = AGDNet(5, 3).eval(), torch.rand(2, 3, 40, 7)
    whole = network(rgb).detach()  # with gradients: no strips
    monkeypatch.setattr("hsrzoo_baselines.agdnet.ROWS", 8)
    with torch.no_grad():
        assert torch.allclose(network(rgb), whole, rtol=1e-5, atol=1e-6)
        assert torch.allclose(network(rgb[1:]), whole[1:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stages", [1, 2])
def test_halo_is_how_far_a_nan_spreads(stages):
    network = AGDNet(4, stages).eval()
    assert reach(network, torch.rand(1, 3, 48, 48), [], 24) == (network.halo, network.halo)


def test_no_stages_are_refused():
    with pytest.raises(InputError, match="1 or more"):
        build(VISIBLE_31, stages=0)


def test_two_names_of_one_tensor_become_one():
    weight = torch.rand(3, 4, 3, 3)
    state = {"degradation.conv.weight": weight, "degradation.Module.0.weight": weight.clone()}
    assert list(rename(state)) == ["degradation.conv.weight"]
    with pytest.raises(FormatError, match="different weights"):
        rename({**state, "degradation.Module.0.weight": weight + 1})
