"""Quantization, masking, curves and attention against values worked out by hand or in loops."""

import math
from functools import partial

import pytest
import torch

from hsrzoo.layers.pixel_rows import to_map, to_rows
from hsrzoo_mcga.codebook.lookup import Codebook, query_entropy, usage, vq_losses
from hsrzoo_mcga.stage1.autoencoder import SpectralAutoencoder, code_widths, kept_bands
from hsrzoo_mcga.stage2.ablations import FullAttention, LiteralAttention, LiteralCurve
from hsrzoo_mcga.stage2.attention import QuantizedAttention, group_means, group_sums, rows_at, top_codes
from hsrzoo_mcga.stage2.grayscale import GrayscaleAware, _power


@pytest.mark.parametrize(("c", "m"), [(31, 8), (202, 64), (4, 2), (2, 1), (1, 1), (200, 64)])
def test_the_mask_keeps_a_power_of_two_of_half_the_bands(c: int, m: int) -> None:
    assert kept_bands(c) == m


def test_code_widths_halve_with_the_scale() -> None:
    assert code_widths(32, 2) == (16, 8)


def test_rows_and_maps_are_inverse_and_row_major() -> None:
    x = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5)
    rows = to_rows(x)
    assert torch.equal(rows[1 * 20 + 2 * 5 + 3], x[1, :, 2, 3])
    assert torch.equal(to_map(rows, x), x)


def test_a_look_up_returns_the_nearest_code_and_passes_the_gradient_on() -> None:
    codes = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    features = torch.tensor([[[[0.2, 0.9]], [[0.1, 0.8]]]], requires_grad=True)  # 1 2 1 2
    q = Codebook(codes).query(features)
    assert q.indices.tolist() == [0, 1]
    out = q.straight_through()
    assert torch.allclose(out, torch.tensor([[[[0.0, 1.0]], [[0.0, 1.0]]]]))
    out.sum().backward()
    assert features.grad is not None and torch.equal(features.grad, torch.ones_like(features))


def test_vq_loss_moves_codes_with_weight_1_and_features_with_weight_beta() -> None:
    codes = torch.tensor([[0.0], [10.0]], requires_grad=True)
    features = torch.tensor([[[[3.0]]]], requires_grad=True)
    loss = vq_losses(Codebook(codes).query(features), beta=0.25)
    assert float(loss.detach()) == pytest.approx(9 + 0.25 * 9)
    loss.backward()
    assert codes.grad is not None and codes.grad[:, 0].tolist() == [-6.0, 0.0]
    assert features.grad is not None and float(features.grad) == pytest.approx(0.25 * 6)


def test_usage_and_perplexity_of_a_known_histogram() -> None:
    figures = usage(torch.tensor([0, 0, 1, 1]), 8)
    assert figures["usage"] == 0.25
    assert figures["perplexity"] == pytest.approx(2)


def test_entropy_is_that_of_a_softmax_over_distances() -> None:
    codes = torch.tensor([[0.0], [1.0]])
    features = torch.tensor([[[[0.25]]]])
    d = [0.0625, 0.5625]
    p = [math.exp(-v) / sum(math.exp(-u) for u in d) for v in d]
    expected = -sum(v * math.log(v) for v in p)
    assert float(query_entropy(features, codes, 1.0, 10)) == pytest.approx(expected, rel=1e-5)


def test_a_hidden_band_does_not_reach_the_output() -> None:
    torch.manual_seed(0)
    net = SpectralAutoencoder(8, scales=2, latent=8, n_codes=16)
    cube = torch.rand(1, 8, 8, 8)
    kept = torch.tensor([[1, 4]])
    other = cube.clone()
    other[:, 0] = 5  # hidden
    assert torch.equal(net(cube, kept)[0], net(other, kept)[0])
    other[:, 4] = 5  # kept
    assert not torch.equal(net(cube, kept)[0], net(other, kept)[0])


def test_the_literal_mask_packs_the_kept_bands_in_order() -> None:
    torch.manual_seed(0)
    net = SpectralAutoencoder(8, scales=1, latent=8, n_codes=16, mask="drop-ordered")
    cube = torch.rand(1, 8, 4, 4)
    kept = torch.tensor([[1, 3, 4, 6]])
    assert torch.equal(net(cube, kept)[0], net(cube, kept.flip(1))[0])


def test_gamma_and_log_follow_their_equations() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 3, 2, 2)
    unit = torch.sigmoid(x)
    z = x.mean((2, 3))[0]
    for kind in ("gamma", "log"):
        ga = LiteralCurve(3, kind, minmax=False, softmax=True)
        a = torch.softmax(ga.weight @ z + ga.bias, 0)
        for c in range(3):
            curve = unit[0, c] ** a[c] if kind == "gamma" else (1 + 4 * a[c]) * torch.log(1 + unit[0, c])
            assert torch.allclose(ga(x)[0, c], curve, atol=1e-6)


def test_gamma_with_c_softmax_has_exponents_that_average_to_one() -> None:
    ga = GrayscaleAware(5, "gamma")
    assert float(ga.strength(torch.randn(2, 5)).mean().detach()) == pytest.approx(1, abs=1e-6)


def test_gamma_has_the_gradient_of_a_power() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 3, 4, 5, dtype=torch.float64).clamp_min(1e-4).requires_grad_()
    a = torch.rand(2, 3, 1, 1, dtype=torch.float64).requires_grad_()
    assert torch.equal(_power(x, a), x**a) and torch.equal(_power(x.detach(), a), x**a)
    with torch.no_grad():
        torch.testing.assert_close(_power(x, a), x**a)
        torch.testing.assert_close(
            _power(x.bfloat16(), a).double(), x.bfloat16().double() ** a, rtol=2**-8, atol=0
        )
    weight = torch.randn_like(x)
    found, expected = (torch.autograd.grad((y * weight).sum(), (x, a)) for y in (_power(x, a), x**a))
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-12)


def test_minmax_normalisation_spans_0_to_1_before_the_curve() -> None:
    ga = LiteralCurve(2, "log", minmax=True, softmax=False)
    out = ga(torch.randn(1, 2, 3, 3))
    assert float(out.detach().amin()) == pytest.approx(0, abs=1e-6)


def test_top_codes_break_ties_by_the_lower_number() -> None:
    kept, counts = top_codes(torch.tensor([[0, 1, 2, 0, 0, 2, 0, 1], [4, 0, 0, 9, 0, 0, 0, 4]]), 3)
    assert kept.tolist() == [[2, 5, 1], [3, 0, 7]]
    assert counts.tolist() == [[2, 2, 1], [9, 4, 4]]


def test_group_means_average_the_pixels_of_each_kept_code() -> None:
    maps = torch.tensor([[[[1.0, 3.0, 10.0, 7.0]]], [[[5.0, 6.0, 7.0, 8.0]]]])
    counts, sums = group_sums(torch.tensor([2, 2, 0, 1, 3, 3, 3, 3]), 4, maps)
    assert counts.tolist() == [[1, 1, 2, 0], [0, 0, 0, 4]]
    kept = torch.tensor([[2, 0, 3], [3, 0, 1]])
    means = group_means(rows_at(kept, sums), counts.gather(1, kept))
    assert means[..., 0].tolist() == [[2.0, 10.0, 0.0], [6.5, 0.0, 0.0]]


@pytest.mark.parametrize("literal", [{}, {"pixels": True, "rank": False}, {"pixels": True, "rank": True}])
def test_attention_of_a_batch_is_that_of_each_image(literal: dict) -> None:
    torch.manual_seed(0)
    attention = (partial(LiteralAttention, **literal) if literal else QuantizedAttention)(4, 3, k=8)
    x, codebook = torch.randn(3, 4, 5, 6), Codebook(torch.randn(16, 3))
    parameters = list(attention.parameters())
    batch, each = attention(x, codebook), torch.cat([attention(one, codebook) for one in x.split(1)])
    assert torch.allclose(batch, each, atol=1e-6)
    found, expected = (torch.autograd.grad(y.square().sum(), parameters) for y in (batch, each))
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_keeping_all_pixels_with_repetition_equals_weighting_codes_by_count() -> None:
    """With K at least the number of pixels, the literal top K and the weighted codes agree."""
    torch.manual_seed(0)
    codes = torch.randn(12, 4)
    x = torch.randn(2, 6, 5, 7)
    out = {}
    for topk in ("codes", "pixels"):
        torch.manual_seed(1)
        attention = LiteralAttention(6, 4, k=64, pixels=topk == "pixels", rank=False)
        out[topk] = attention(x, Codebook(codes))
    assert torch.allclose(out["codes"], out["pixels"], atol=1e-5)


def test_full_attention_equals_a_float64_loop() -> None:
    torch.manual_seed(0)
    attention = FullAttention(3, 2).double()
    x = torch.randn(1, 3, 2, 2, dtype=torch.float64)
    q, k = attention.query_key(x).split(3, 1)
    v = torch.stack([attention.value(x[0, :, i, j]) for i in range(2) for j in range(2)], 1)  # C HW
    q_curve = attention.curve(q).flatten(2)[0]
    scores = torch.zeros(3, 3, dtype=torch.float64)
    for r in range(3):
        for s in range(3):
            scores[r, s] = sum(
                float((q_curve[r, p] * k.flatten(2)[0, s, p]).detach()) / 4 for p in range(4)
            )
    a = torch.softmax(math.sqrt(3) * scores, -1)
    expected = attention.out((a @ v).t()).t().view(3, 2, 2)
    assert torch.allclose(attention(x, Codebook(torch.zeros(1, 2)))[0], expected, atol=1e-12)


def test_attention_gives_queries_and_keys_a_gradient_through_the_codes() -> None:
    torch.manual_seed(0)
    attention = QuantizedAttention(4, 2, k=8)
    attention(torch.randn(1, 4, 6, 6), Codebook(torch.randn(16, 2))).square().sum().backward()
    grad = attention.query_key.weight.grad
    assert grad is not None and grad[:2].abs().sum() > 0 and grad[2:].abs().sum() > 0


def test_codes_that_nobody_uses_change_nothing() -> None:
    torch.manual_seed(0)
    attention = QuantizedAttention(6, 4, k=64, curve=partial(LiteralCurve, minmax=True, softmax=False))
    x, codes = torch.randn(1, 6, 5, 7), torch.randn(12, 4)
    far = torch.cat([codes, torch.full((5, 4), 100.0)])
    assert torch.allclose(attention(x, Codebook(codes)), attention(x, Codebook(far)), atol=1e-6)
