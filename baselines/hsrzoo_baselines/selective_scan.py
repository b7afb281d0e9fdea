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
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

VALUES_AT_ONCE = {"cpu": 1 << 19, "other": 1 << 24}
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
) -> Tensor:
    """The scan of ``u`` (B, K, L), with K = G k channels in G groups; (B, K, L).

    ``delta`` (B, K, L) before bias and softplus, ``a`` (K, N) negative, ``b`` and ``c`` (B, G, N, L), ``d``
    and ``delta_bias`` (K,). Computed in float32, also under autocast (in float64 for float64).
    """
    with torch.autocast(u.device.type, enabled=False):
        dtype = torch.promote_types(u.dtype, torch.float32)
        u, delta, a, b, c, d, delta_bias = (x.to(dtype) for x in (u, delta, a, b, c, d, delta_bias))
        fused = fused_scan(u.device)
        if fused is not None and dtype == torch.float32:
            return fused(u, delta, a, b, c, d, delta_bias=delta_bias, delta_softplus=True)
        groups = b.shape[1]
        u, delta, b, c = (_steps_first(x) for x in (u, delta, b, c))
        u, delta = (x.unflatten(-1, (groups, -1)) for x in (u, delta + delta_bias))
        parts = u, delta, a.unflatten(0, (groups, -1)), b, c
        if torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling():  # torch.export
            y = _traced(*parts)
        elif torch.is_grad_enabled():
            y = _uncompiled(_Scan.apply)(*parts)
        else:
            y = _uncompiled(scan_steps)(*parts)
        return torch.addcmul(y, u, d.view(groups, -1)).flatten(2).permute(1, 2, 0)


def fused_scan(device: torch.device) -> Callable[..., Any] | None:
    """mamba_ssm's ``selective_scan_fn`` on CUDA devices, if that package is installed; else None."""
    if device.type != "cuda":
        return None
    try:  # a compiled extension that most installations do not have
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except ImportError:
        return None
    return selective_scan_fn


def _steps_first(x: Tensor) -> Tensor:
    """(B, ..., L) -> (L, B, ...), as a transposed matrix, which torch copies in blocks."""
    return x.reshape(-1, x.shape[-1]).t().contiguous().view(x.shape[-1], *x.shape[:-1])


def _uncompiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A compiler would unroll every step. Outside one, ``torch.compiler.disable`` would only import it."""
    return torch.compiler.disable(function) if torch.compiler.is_dynamo_compiling() else function


def _traced(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """:func:`scan_steps` as one operator of a traced network, whose length may be free; step by step."""
    from torch._higher_order_ops.scan import scan  # has no public name yet

    rates = a.mT.contiguous()  # (G, N, k)

    def advance(h: Tensor, now: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        x, d, into, out = now  # (B, G, k) twice, (B, G, N) twice
        h = (d[..., None, :] * rates).exp() * h + (d * x)[..., None, :] * into[..., None]
        return h, (h * out[..., None]).sum(-2)

    start = u.new_zeros(u.shape[1], *rates.shape)
    return scan(advance, start, (u, F.softplus(delta), b, c))[1]


class _Chunks:
    """The sequence in chunks of T steps, and buffers for their states (T, B, G, N, k).

    ``u`` and ``delta`` (L, B, G, k), ``a`` (G, k, N), ``b`` and ``c`` (L, B, G, N).
    """

    def __init__(self, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> None:
        # products with a broadcast factor take twice the time where a factor is strided
        self.parts = (u.contiguous(), F.softplus(delta.contiguous()), b.contiguous(), c.contiguous())
        # exp(x) is 2^(x log2 e), and torch's exp2 is several times faster on CPUs
        self.exponent = (a * math.log2(math.e)).mT.contiguous()  # (G, N, k)
        length, batch, groups, k = u.shape
        self.shape = (batch, groups, a.shape[-1], k)
        at_once = VALUES_AT_ONCE["cpu" if u.device.type == "cpu" else "other"]
        self.steps = min(max(LEAST_STEPS, at_once // math.prod(self.shape)), length)
        self.spans = [slice(i, min(i + self.steps, length)) for i in range(0, length, self.steps)]

    def room(self) -> Tensor:
        """(T, B, G, N, k), uninitialised."""
        return self.parts[0].new_empty(self.steps, *self.shape)

    def chunk(self, span: slice) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """u and step (T, B, G, 1, k), b and c (T, B, G, N, 1) of a chunk."""
        u, step, b, c = (x[span] for x in self.parts)
        return u[..., None, :], step[..., None, :], b[..., None], c[..., None]

    def fill(self, u: Tensor, step: Tensor, b: Tensor, decay: Tensor, inflow: Tensor) -> None:
        """exp(d_t A) and d_t u_t b_t of a chunk, each (T, B, G, N, k)."""
        torch.mul(step, self.exponent, out=decay).exp2_()
        torch.mul(step * u, b, out=inflow)


def _run(decay: Sequence[Tensor], inflow: Sequence[Tensor], state: Tensor) -> Tensor:
    """h_t = decay_t h_{t-1} + inflow_t, each h_t in the place of inflow_t; the last one."""
    if not inflow:
        return state
    before = [state, *inflow[:-1]]
    if state.device.type == "cpu":  # there it is the loop below, in C++
        torch._foreach_addcmul_(list(inflow), before, list(decay))
    else:
        for now, factor, last in zip(inflow, decay, before, strict=True):
            now.addcmul_(factor, last)
    return inflow[-1]


def _over_states(c: Tensor, states: Tensor) -> Tensor:
    """c . h of (T, B, G, N, 1) and (T, B, G, N, k): (T, B, G, k); may overwrite the states."""
    n, k = states.shape[-2:]
    if n * k < 400:  # there torch's products of many small matrices are slow loops
        return states.mul_(c).sum(-2)
    return (c.mT @ states).squeeze(-2)


def scan_steps(
    u: Tensor,
    delta: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    state: Tensor | None = None,
    starts: list[Tensor] | None = None,
) -> Tensor:
    """The scan with its steps first and without gradients, for what is computed in that order: y without
    its term D u, (L, B, G, k).

    ``u`` and ``delta`` (L, B, G, k), the latter with bias and before softplus, ``a`` (G, k, N) negative,
    ``b`` and ``c`` (L, B, G, N), all of one dtype, float32 or float64. ``state`` (B, G, N, k): the first
    state; holds the last one afterwards, so that a long sequence can be scanned in pieces. ``starts`` gets
    the state at the start of each chunk.
    """
    chunks = _Chunks(u, delta, a, b, c)
    y = torch.empty_like(u, memory_format=torch.contiguous_format)
    decay, states = chunks.room(), chunks.room()
    decays, each = decay.unbind(), states.unbind()
    now = u.new_zeros(chunks.shape) if state is None else state.contiguous()
    for span in chunks.spans:
        if starts is not None:
            starts.append(now)
        x, d, into, out = chunks.chunk(span)
        n = len(x)
        chunks.fill(x, d, into, decay[:n], states[:n])
        now = _run(decays[:n], each[:n], now).clone()
        y[span] = _over_states(out, states[:n])
    if state is not None:
        state.copy_(now)
    return y


class _Scan(torch.autograd.Function):
    """:func:`scan_steps` with a backward that keeps one state per chunk."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        starts: list[Tensor] = []
        y = scan_steps(u, delta, a, b, c, starts=starts)
        ctx.save_for_backward(u, delta, a, b, c, *starts)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        """Gradients of all five, chunk by chunk from the last.

        With g_t the gradient of h_t: g_t = c_t y'_t + exp(d_{t+1} A) g_{t+1}, and with
        e_t = g_t h_{t-1} exp(d_t A): A' = sum e_t d_t, d'_t = sum_n e_t A + g_t b_t u_t. That of delta
        is d'_t times the derivative of softplus, the sigmoid.
        """
        u, delta, a, b, c, *starts = ctx.saved_tensors
        grad = _steps_first(grad.permute(1, 2, 3, 0))
        chunks = _Chunks(u, delta, a, b, c)
        rates = a.mT.contiguous()  # (G, N, k)
        of_u, of_delta, of_b, of_c = (torch.empty_like(x) for x in (u, delta, b, c))
        of_rates = torch.zeros_like(rates)
        decay, states, flow = chunks.room(), chunks.room(), chunks.room()
        decays, each, flows = decay.unbind(), states.unbind(), flow.unbind()
        later = u.new_zeros(chunks.shape)  # what later chunks add to the gradient of the last state
        for span, start in zip(reversed(chunks.spans), reversed(starts), strict=True):
            x, d, into, out = chunks.chunk(span)
            n = len(x)
            e, h, g = decay[:n], states[:n], flow[:n]
            chunks.fill(x, d, into, e, h)
            _run(decays[:n], each[:n], start)
            of_y = grad[span].unsqueeze(-2)  # (T, B, G, 1, k)
            torch.mul(of_y, out, out=g)
            g[-1] += later
            _run(decays[1:n][::-1], flows[: n - 1][::-1], g[-1])
            later = e[0] * g[0]
            of_c[span] = (h @ of_y.mT).squeeze(-1)
            of_b[span] = (g @ (d * x).mT).squeeze(-1)
            of_inflow = into.mT @ g  # (T, B, G, 1, k)
            of_u[span] = (of_inflow * d).squeeze(-2)
            e *= g
            e[0] *= start
            e[1:] *= h[:-1]
            of_step = torch.mul(e, rates, out=h).sum(-2) + (of_inflow * x).squeeze(-2)
            of_delta[span] = of_step * delta[span].sigmoid()
            of_rates += e.mul_(d).sum((0, 1))
        return of_u, of_delta, of_rates.mT, of_b, of_c
