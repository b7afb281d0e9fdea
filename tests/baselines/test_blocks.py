"""HRNet and EDSR: their blocks against numbers by hand."""

from __future__ import annotations

import numpy as np
import torch

from hsrzoo_baselines.edsr import ResBlock
from hsrzoo_baselines.hrnet import DenseBlock, HRNet


def test_frozen_weights_of_hrnet_are_those_of_the_gates_and_change_nothing():
    torch.manual_seed(0)
    network = HRNet(4, width=4).eval()
    frozen = {name: p for name, p in network.named_parameters() if not p.requires_grad}
    assert len(frozen) == 3 * 4 and all(".fc." in name for name in frozen)
    rgb = torch.rand(1, 3, 8, 16)
    before = network(rgb)
    for p in frozen.values():
        torch.nn.init.normal_(p)
    assert torch.equal(network(rgb), before)


def test_each_layer_of_a_dense_block_of_hrnet_sees_all_before_it():
    torch.manual_seed(0)
    block = DenseBlock(4, 2).double()
    x = torch.randn(1, 4, 1, 1, dtype=torch.float64)
    seen = x.flatten().numpy()
    for layer in (block.conv1, block.conv2, block.conv3, block.conv4, block.conv5):
        # of a single pixel, a 3 x 3 kernel sees the middle alone
        out = layer.conv2d.weight[:, :, 1, 1].detach().numpy() @ seen + layer.conv2d.bias.detach().numpy()
        last = np.where(out < 0, 0.2 * out, out)
        seen = np.concatenate([seen, last])
    expected = x.flatten().numpy() + 0.1 * last
    assert np.allclose(block(x).detach().flatten().numpy(), expected, rtol=1e-12)


def test_block_of_edsr_is_a_skip_where_its_last_convolution_is_zero():
    block = ResBlock(6)
    torch.nn.init.zeros_(block.body[2].weight)
    torch.nn.init.constant_(block.body[2].bias, 0.5)
    x = torch.randn(1, 6, 5, 4)
    assert torch.allclose(block(x), x + 0.5)
