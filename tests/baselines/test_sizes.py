"""The number of parameters of every network is that of the original, or that which its authors state."""

from __future__ import annotations

import pytest
import torch
from networks import NETWORKS

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.models.complexity import size
from hsrzoo.registry import MODELS
from hsrzoo.spec import build_module, resolve

BANDS_202 = BandSet.regular(400, 2410, 10)


def test_every_baseline_is_in_the_table():
    origin = {name: resolve(spec.build).__module__ for name, spec in MODELS.working()}
    ours = {name for name, module in origin.items() if module.startswith("hsrzoo_baselines.")}
    assert ours == {network.name for network in NETWORKS}


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_size_at_31_and_at_202_bands(network):
    """Built without memory for weights, as the advice of ``hsrzoo convert`` does to recognise a network."""
    with torch.device("meta"):
        visible, more = (build_module(MODELS.get(network.name), b, {}) for b in (VISIBLE_31, BANDS_202))
    assert {value.device.type for value in visible.state_dict().values()} == {"meta"}
    assert size(visible) == (network.parameters[0], network.frozen, network.buffers)
    assert size(more).parameters == network.parameters[1]
