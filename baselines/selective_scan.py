"""The selective scan of Mamba (Gu and Dao, 2023) in pure PyTorch: exact, in bounded memory, fast on a CPU.

For every channel k of a group of channels that share b and c, with N states, over L steps:

    d_t = softplus(delta_t + bias)
    h_t = exp(d_t A) h_{t-1} + d_t u_t b_t,  h_0 = 0        (N,)
    y_t = c_t . h_t + D u_t

An (L, K, N) tensor of states would be N times as large as the input. Here the states of a few steps
exist at a time: their products and exponentials are computed together, then the steps one after the
other, each one multiply-add in place. All exponents are negative, so nothing overflows at any length.
Backward keeps only the state at the start of each such chunk and computes the chunk's states again.

On CUDA devices the fused kernel of the package mamba_ssm is used where it is installed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

VALUES_AT_ONCE = {"cpu": 1 << 18, "other": 1 << 24}
"""States of a chunk: on a CPU some of its cache, elsewhere enough to keep the device busy."""
LEAST_STEPS = 16
"""Steps of a chunk at least: the states that backward keeps are then no more than N / 16 times u."""


def selective_scan(
    u: Tensor,
    delta: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    d: Tensor,
    delta_bias: Tensor,
    state: Tensor | None = None,
) -> Tensor:
    """The scan of ``u`` (B, K, L), with K = G k channels in G groups; (B, K, L).

    ``delta`` (B, K, L) before bias and softplus, ``a`` (K, N) negative, ``b`` and ``c`` (B, G, N, L), ``d``
    and ``delta_bias`` (K,). Computed in float32, also under autocast (in float64 for float64).

    ``state`` (B, K, N), without gradients only: where to start from; holds the last state afterwards, so
    that a long sequence can be handed over in pieces.
    """
    with torch.autocast(u.device.type, enabled=False):
        dtype = torch.promote_types(u.dtype, torch.float32)
        u, delta, a, b, c, d, delta_bias = (x.to(dtype) for x in (u, delta, a, b, c, d, delta_bias))
        fused = fused_scan(u.device)
        if fused is not None and state is None and dtype == torch.float32:
            return fused(u, delta, a, b, c, d, delta_bias=delta_bias, delta_softplus=True)
        step = F.softplus(delta + delta_bias[:, None])
        groups = b.shape[1]
        parts = _grouped(u, groups), _grouped(step, groups), a.unflatten(0, (groups, -1)), b, c
        if torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling():  # torch.export
            y = _traced(*parts)
        elif torch.is_grad_enabled():
            y = _differentiable(*parts)
        else:
            first = None if state is None else state.view(len(u), groups, -1, a.shape[1]).mT
            y = _forward(*parts, first)
        return torch.addcmul(y.flatten(1, 2), u, d[:, None])


def fused_scan(device: torch.device) -> Callable[..., Any] | None:
    """mamba_ssm's ``selective_scan_fn`` on CUDA devices, if that package is installed; else None."""
    if device.type != "cuda":
        return None
    try:  # a compiled extension that most installations do not have
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except ImportError:
        return None
    return selective_scan_fn


def _grouped(x: Tensor, groups: int) -> Tensor:
    return x.unflatten(1, (groups, -1))  # (B, G, k, L)


@torch.compiler.disable
def _differentiable(*parts: Tensor) -> Tensor:
    return _Scan.apply(*parts)


def _traced(u: Tensor, step: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """:func:`_forward` as one operator of a traced network, whose length may be free; step by step."""
    from torch._higher_order_ops.scan import scan  # has no public name yet

    rates = a.mT.contiguous()  # (G, N, k)

    def advance(h: Tensor, now: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        x, d, into, out = now  # (B, G, k) twice, (B, G, N) twice
        h = (d[..., None, :] * rates).exp() * h + (d * x)[..., None, :] * into[..., None]
        return h, (h * out[..., None]).sum(-2)

    start = u.new_zeros(u.shape[0], *rates.shape)
    sequences = tuple(x.permute(3, 0, 1, 2).contiguous() for x in (u, step, b, c))
    return scan(advance, start, sequences)[1].permute(1, 2, 3, 0)


class _Chunks:
    """The sequence in chunks of T steps, steps first and channels last, and room for their states."""

    def __init__(self, u: Tensor, step: Tensor, a: Tensor, b: Tensor, c: Tensor) -> None:
        self.parts = (u, step, b, c)
        # exp(x) is 2^(x log2 e), and torch's exp2 is several times faster on CPUs
        self.exponent = (a * math.log2(math.e)).mT.contiguous()  # (G, N, k)
        batch, groups, k, self.length = u.shape
        self.shape = (batch, groups, a.shape[-1], k)
        at_once = VALUES_AT_ONCE["cpu" if u.device.type == "cpu" else "other"]
        self.steps = min(max(LEAST_STEPS, at_once // math.prod(self.shape)), self.length)
        self.count = -(-self.length // self.steps)

    def room(self) -> Tensor:
        """(T, B, G, N, k), uninitialised."""
        return self.parts[0].new_empty(self.steps, *self.shape)

    def span(self, i: int) -> slice:
        return slice(i * self.steps, min((i + 1) * self.steps, self.length))

    def chunk(self, i: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """u and step (T, B, G, 1, k), b and c (T, B, G, N, 1) of chunk ``i``."""
        u, step, b, c = (x[..., self.span(i)].permute(3, 0, 1, 2).contiguous() for x in self.parts)
        return u[..., None, :], step[..., None, :], b[..., None], c[..., None]

    def fill(self, u: Tensor, step: Tensor, b: Tensor, decay: Tensor, inflow: Tensor) -> None:
        """exp(d_t A) and d_t u_t b_t of a chunk, each (T, B, G, N, k)."""
        torch.mul(step, self.exponent, out=decay).exp2_()
        torch.mul(step * u, b, out=inflow)


def _run(decay: Iterator[Tensor], inflow: Iterator[Tensor], state: Tensor) -> Tensor:
    """h_t = decay_t h_{t-1} + inflow_t, each h_t in the place of inflow_t; the last one."""
    for factor, now in zip(decay, inflow, strict=True):
        state = now.addcmul_(factor, state)
    return state


@torch.compiler.disable  # a compiler would write out every step
def _forward(
    u: Tensor,
    step: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    state: Tensor | None = None,
    starts: Tensor | None = None,
) -> Tensor:
    """y without its term D u, (B, G, k, L).

    u and step (B, G, k, L), a (G, k, N), b and c (B, G, N, L). ``state`` (B, G, N, k): first state, last
    one afterwards. ``starts`` (chunks, B, G, N, k) is filled with the state at the start of each chunk.
    """
    chunks = _Chunks(u, step, a, b, c)
    y = torch.empty_like(u)
    decay, states = chunks.room(), chunks.room()
    views = decay.unbind(), states.unbind()
    now = u.new_zeros(chunks.shape) if state is None else state.contiguous()
    for i in range(chunks.count):
        if starts is not None:
            starts[i] = now
        x, d, into, out = chunks.chunk(i)
        n = len(x)
        chunks.fill(x, d, into, decay[:n], states[:n])
        now = _run(iter(views[0][:n]), iter(views[1][:n]), now).clone()
        y[..., chunks.span(i)] = (out.mT @ states[:n]).squeeze(-2).permute(1, 2, 3, 0)
    if state is not None:
        state.copy_(now)
    return y


class _Scan(torch.autograd.Function):
    """:func:`_forward` with a backward that keeps one state per chunk."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, step: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        chunks = _Chunks(u, step, a, b, c)
        starts = u.new_empty(chunks.count, *chunks.shape)
        ctx.save_for_backward(u, step, a, b, c, starts)
        return _forward(u, step, a, b, c, starts=starts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        """Gradients of all five, chunk by chunk from the last.

        With g_t the gradient of h_t: g_t = c_t y'_t + exp(d_{t+1} A) g_{t+1}, and with
        e_t = g_t h_{t-1} exp(d_t A): A' = sum e_t d_t, d'_t = sum_n e_t A + g_t b_t u_t.
        """
        u, step, a, b, c, starts = ctx.saved_tensors
        chunks = _Chunks(u, step, a, b, c)
        rates = a.mT.contiguous()  # (G, N, k)
        found = [torch.empty_like(x) for x in (u, step, b, c)]
        of_rates = torch.zeros_like(rates)
        decay, states, flow = chunks.room(), chunks.room(), chunks.room()
        views = decay.unbind(), states.unbind(), flow.unbind()
        later = u.new_zeros(chunks.shape)  # what later chunks add to the gradient of the last state
        for i in reversed(range(chunks.count)):
            span = chunks.span(i)
            x, d, into, out = chunks.chunk(i)
            n = len(x)
            e, h, g = decay[:n], states[:n], flow[:n]
            chunks.fill(x, d, into, e, h)
            _run(iter(views[0][:n]), iter(views[1][:n]), starts[i])
            of_y = grad[..., span].permute(3, 0, 1, 2).unsqueeze(-2).contiguous()  # (T, B, G, 1, k)
            torch.mul(of_y, out, out=g)
            g[-1] += later
            _run(reversed(views[0][1:n]), reversed(views[2][: n - 1]), g[-1])
            later = e[0] * g[0]
            of_inflow = into.mT @ g  # (T, B, G, 1, k)
            of_b, of_c = g @ (d * x).mT, h @ of_y.mT  # (T, B, G, N, 1)
            e *= g
            e[0] *= starts[i]
            e[1:] *= h[:-1]
            of_step = torch.mul(e, rates, out=h).sum(-2, keepdim=True) + of_inflow * x
            of_rates += e.mul_(d).sum((0, 1))
            parts = (of_inflow * d).squeeze(-2), of_step.squeeze(-2), of_b.squeeze(-1), of_c.squeeze(-1)
            for whole, part in zip(found, parts, strict=True):
                whole[..., span] = part.permute(1, 2, 3, 0)
        return found[0], found[1], of_rates.mT, found[2], found[3]
