"""Test-time adaptation: the entropy of the look-ups moves the GA curves to one image.

No labels: at every query site P = softmax(-d) over the codes; the summed entropy is lowered by a few
gradient steps on the GA parameters alone (W, b and the log scale), the cube is predicted, and the
trained values are put back.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.errors import InputError
from hsrzoo_mcga.codebook import query_entropy
from hsrzoo_mcga.grayscale import GrayscaleAware
from hsrzoo_mcga.network import GANet


def ga_parameters(module: nn.Module) -> list[nn.Parameter]:
    """W, b and the log scale of every GA curve."""
    return [p for m in module.modules() if isinstance(m, GrayscaleAware) for p in m.parameters()]


def total_entropy(net: GANet, rgb: Tensor, temperature: float, max_pixels: int) -> Tensor:
    """Sum over query sites of the mean entropy over pixels, nats, a scalar with gradient."""
    sites: list[tuple[Tensor, Tensor]] = []
    net(rgb, sites=sites)
    return torch.stack([query_entropy(f, c, temperature, max_pixels) for f, c in sites]).sum()


def adapt(
    net: GANet,
    rgb: Tensor,
    *,
    steps: int = 5,
    lr: float = 5e-3,
    temperature: float = 1.0,
    max_pixels: int = 4096,
    max_side: int = 256,
) -> Tensor:
    """The cube (1, C, H, W) of one image (1, 3, H, W) in [0, 1], after adapting to it.

    The entropy is measured on the image averaged down to at most ``max_side`` pixels a side, at most
    ``max_pixels`` pixels per site. Guard: if it did not fall, or is not finite, the unadapted
    prediction is returned. The network is as it was afterwards, whatever happens.
    """
    parameters = ga_parameters(net)
    if rgb.shape[0] != 1:
        raise InputError(
            "Adaptation takes one image at a time",
            expected="a batch of 1",
            got=f"a batch of {rgb.shape[0]}",
        )
    if not parameters or net.moc is None or not torch.isfinite(rgb).all():
        with torch.no_grad():
            return net(rgb)
    trained = [p.detach().clone() for p in parameters]
    wanted = [p.requires_grad for p in net.parameters()]
    small = _reduced(rgb, max_side, 1 << net.scales)
    try:
        with torch.enable_grad():
            net.requires_grad_(False)
            for p in parameters:
                p.requires_grad_(True)
            start, end = _descend(net, small, parameters, steps, lr, temperature, max_pixels)
        if not end < start:  # also when either is NaN
            _restore(parameters, trained)
        with torch.no_grad():
            return net(rgb)
    finally:
        _restore(parameters, trained)
        for p, flag in zip(net.parameters(), wanted, strict=True):
            p.requires_grad_(flag)
            p.grad = None


def _descend(
    net: GANet, rgb: Tensor, parameters: list, steps: int, lr: float, temperature: float, max_pixels: int
) -> tuple[float, float]:
    """Entropy before the first and after the last step."""
    optimiser = torch.optim.Adam(parameters, lr=lr)
    history = []
    for _ in range(steps):
        loss = total_entropy(net, rgb, temperature, max_pixels)
        history.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        history.append(float(total_entropy(net, rgb, temperature, max_pixels)))
    return history[0], history[-1]


def _restore(parameters: list, values: list[Tensor]) -> None:
    with torch.no_grad():
        for p, value in zip(parameters, values, strict=True):
            p.copy_(value)


def _reduced(rgb: Tensor, max_side: int, multiple: int) -> Tensor:
    """The image averaged down to at most ``max_side``, sides kept multiples of ``multiple``."""
    side = max(rgb.shape[-2:])
    if side <= max_side:
        return rgb
    size = [max(multiple, round(n * max_side / side / multiple) * multiple) for n in rgb.shape[-2:]]
    return F.interpolate(rgb, size=size, mode="area")
