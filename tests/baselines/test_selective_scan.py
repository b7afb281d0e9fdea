"""The selective scan against stored results, a plain loop, and the fused kernel's stand-in."""

from __future__ import annotations

import sys
import types

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from hsrzoo.contract.checks import Subject
from hsrzoo.spec import ModelSpec
from hsrzoo_baselines import selective_scan as module
from hsrzoo_baselines.selective_scan import fused_scan, scan_steps, selective_scan


def by_loop(u, delta, a, b, c, d, delta_bias):
    """One step after the other, one state per channel."""
    step = F.softplus(delta + delta_bias[:, None])
    b, c = (x.repeat_interleave(u.shape[1] // x.shape[1], dim=1) for x in (b, c))  # (B, K, N, L)
    h, y = torch.zeros_like(b[..., 0]), []
    for t in range(u.shape[-1]):
        h = (step[..., t, None] * a).exp() * h + (step * u)[..., t, None] * b[..., t]
        y.append((h * c[..., t]).sum(-1))
    return torch.stack(y, dim=-1) + d[:, None] * u


def example(length: int, dtype=torch.float64, batch=2, groups=2, k=3, states=4):
    noise = torch.Generator().manual_seed(length)
    shapes = [(batch, groups * k, length)] * 2 + [(groups * k, states)]
    shapes += [(batch, groups, states, length)] * 2 + [(groups * k,)] * 2
    u, delta, a, b, c, d, bias = (torch.randn(s, generator=noise, dtype=dtype) for s in shapes)
    return u, delta, -a.abs() - 0.1, b, c, d, bias


@pytest.fixture
def short_chunks(monkeypatch):
    monkeypatch.setattr(module, "VALUES_AT_ONCE", {"cpu": 1})
    monkeypatch.setattr(module, "LEAST_STEPS", 5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
@pytest.mark.parametrize("grad", [False, True])
def test_stored_results_are_reproduced(parity_root, dtype, tolerance, grad):
    stored = load_file(parity_root / "selective_scan.safetensors")
    given = [stored[name].to(dtype) for name in ("u", "delta", "A", "B", "C", "D", "delta_bias")]
    with torch.set_grad_enabled(grad):
        y = selective_scan(*given)
    expected = stored["y_float64"]
    assert y.dtype == dtype
    assert (y - expected).norm() < tolerance * expected.norm()


@pytest.mark.parametrize("length", [1, 4, 5, 6, 23])
def test_result_and_gradients_are_those_of_the_loop(short_chunks, length):
    given = [x.requires_grad_() for x in example(length)]
    weight = torch.randn(given[0].shape, dtype=torch.float64)
    ours, plain = selective_scan(*given), by_loop(*given)
    assert torch.allclose(ours, plain, rtol=1e-12, atol=1e-12)
    for one, other in zip(
        *(torch.autograd.grad((y * weight).sum(), given) for y in (ours, plain)), strict=True
    ):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-12)


def test_pieces_that_hand_over_their_state_are_the_whole(short_chunks):
    u, delta, a, b, c, d, bias = example(23)
    whole = by_loop(u, delta, a, b, c, torch.zeros_like(d), bias)
    u, delta, b, c = (
        x.unflatten(1, (2, -1)).permute(3, 0, 1, 2) if x.dim() == 3 else x.permute(3, 0, 1, 2)
        for x in (u, delta + bias[:, None], b, c)
    )
    state = torch.zeros(2, 2, 4, 3, dtype=torch.float64)
    pieces = [
        scan_steps(u[s], delta[s], a.view(2, 3, 4), b[s], c[s], state)
        for s in (slice(0, 7), slice(7, 8), slice(8, 23))
    ]
    assert torch.allclose(torch.cat(pieces).flatten(2).permute(1, 2, 0), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("k", [3, 30])
def test_small_and_large_products_over_the_states_agree(k):
    c, states = torch.randn(5, 2, 2, 16, 1), torch.randn(5, 2, 2, 16, k)
    expected = (c.double() * states.double()).sum(-2)
    assert torch.allclose(module._over_states(c, states).double(), expected, rtol=1e-5, atol=1e-5)


def test_long_decays_and_large_steps_stay_finite():
    """Over 5,000 steps the exponents add up to far more than float32 can hold either way."""
    u, delta, a, b, c, d, bias = example(5000, torch.float32, batch=1)
    given = [x.requires_grad_() for x in (u, delta + 30, a * 100, b, c, d, bias)]
    y = selective_scan(*given)
    y.sum().backward()
    assert all(torch.isfinite(x).all() for x in (y, *(x.grad for x in given)))


def test_autocast_leaves_it_in_float32():
    given = example(40, torch.float32)
    halves = [x.bfloat16() for x in given]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(selective_scan(*given), by_name_without_autocast(given))
        assert selective_scan(*halves).dtype == torch.float32


def by_name_without_autocast(given):
    with torch.autocast("cpu", enabled=False):
        return selective_scan(*given)


def test_backward_keeps_no_states_of_single_steps():
    """What is saved for backward is the inputs and one state of 16 values per 16 steps."""
    kept: dict[int, int] = {}

    def keep(x):
        kept[x.data_ptr()] = x.numel()
        return x

    given = [x.requires_grad_() for x in example(4096, torch.float32, states=16, k=64)]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        selective_scan(*given)
    assert sum(kept.values()) < 8 * given[0].numel()


def test_fused_kernel_is_taken_on_cuda_only_and_only_if_installed(monkeypatch):
    kernel = object()
    interface = types.ModuleType("mamba_ssm.ops.selective_scan_interface")
    interface.selective_scan_fn = kernel
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    monkeypatch.setitem(sys.modules, "mamba_ssm", None)
    assert fused_scan(cuda) is None
    for name in ("mamba_ssm", "mamba_ssm.ops"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    assert fused_scan(cuda) is kernel
    assert fused_scan(cpu) is None


def test_fused_kernel_gets_bias_and_softplus(monkeypatch):
    def kernel(u, delta, a, b, c, d, delta_bias, delta_softplus):
        assert delta_softplus and u.dtype == torch.float32
        return by_loop(u, delta, a, b, c, d, delta_bias)

    given = example(9, torch.float32)
    expected = selective_scan(*given)
    calls = []
    monkeypatch.setattr(
        module, "fused_scan", lambda device: lambda *a, **k: calls.append(1) or kernel(*a, **k)
    )
    assert torch.allclose(selective_scan(*given), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(selective_scan(*(x.double() for x in given)), by_eager_double(monkeypatch, given))
    assert len(calls) == 1  # the kernel has no float64


def by_eager_double(monkeypatch, given):
    monkeypatch.setattr(module, "fused_scan", lambda device: None)
    return selective_scan(*(x.double() for x in given))


class Scanner(torch.nn.Module):
    """A scan over the pixels, one channel to each band."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.a = torch.nn.Parameter(torch.rand(bands, 4))
        self.mix = torch.nn.Conv2d(3, bands, 1)

    def forward(self, rgb):
        u = self.mix(rgb).flatten(2)
        into, d = u[:, None, :4], self.a[:, 0]
        y = selective_scan(u, u, -self.a, into, into * 0.5, d, d)
        return y.view(-1, len(d), *rgb.shape[2:])


def test_exported_it_runs_at_any_size_and_contains_nothing_of_this_machine():
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from hsrzoo.export.graph import to_onnx

    spec = ModelSpec("scanner", lambda bands: Scanner(len(bands)), "A scan.", source="this test")
    subject = Subject(spec)
    proto = to_onnx(subject.reconstructor())
    assert __file__.encode() not in proto.SerializeToString()
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    rgb = torch.rand(1, 3, 9, 14)
    (cube,) = session.run(None, {session.get_inputs()[0].name: rgb.numpy()})
    with torch.no_grad():
        expected = subject.module(rgb)
    assert torch.allclose(torch.as_tensor(cube), expected, rtol=1e-4, atol=1e-5)
