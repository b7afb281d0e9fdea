"""Features of figure 4b are those of the network's own forward pass."""

from __future__ import annotations

import pytest
import torch

from hsrzoo.bands import BandSet
from hsrzoo_mcga.stage2.build import build
from hsrzoo_mcga.stage2.features import brightness_features

BANDS = BandSet.regular(400, 700, 75)
SMALL = {"widths": (8, 8), "blocks": (1, 1), "latent": 8, "n_codes": 16, "k": 8, "head": 8}


@pytest.mark.parametrize(
    "changes", [{}, {"attention": "none"}, {"attention": "full"}, {"gamma_share": 0.0}]
)
def test_what_is_shown_is_what_the_block_computes(changes: dict[str, object]) -> None:
    torch.manual_seed(0)
    net = build(BANDS, **{**SMALL, **changes}).eval()
    torch.nn.init.normal_(net.blocks[0][0].feed.out.weight)
    rgb = torch.rand(1, 3, 16, 24)
    seen: dict[str, torch.Tensor] = {}
    feed = net.blocks[0][0].feed
    original = feed.combine

    def combine(s, curves):
        seen["features"], seen["fused"] = s.clone(), original(s, curves)
        return seen["fused"]

    feed.combine = combine
    net(rgb)  # with gradients, so on the whole image at once
    feed.combine = original
    found = brightness_features(net, rgb)
    half = feed.split
    torch.testing.assert_close(found["fused"], seen["fused"][0].mean(0).detach())
    torch.testing.assert_close(found["before log"], seen["features"][0, half:].mean(0).detach())
    assert ("before gamma" in found) == (half > 0)
    assert all(part.shape == (8, 12) for part in found.values())
    assert not net.blocks[0][0]._forward_pre_hooks


def test_without_curves_only_the_fused_features_are_there() -> None:
    net = build(BANDS, **SMALL, ga=False).eval()
    assert list(brightness_features(net, torch.rand(1, 3, 16, 16))) == ["fused"]
