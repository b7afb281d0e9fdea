"""Test-time adaptation: GA curves are adapted to one image by the entropy of its look-ups.

No labels: at every query site P = softmax(-d) over the codes; the summed entropy is lowered by a few
gradient steps on the GA parameters alone (W, b and the log scale), the cube is predicted, and the
trained values are put back.

On training scenes of CAVE (a sweep of mcga-s2.cave) no setting adapts to brightness: with the exponent of a
gamma curve on the image the entropy rises or falls monotonically, depending on the temperature, and has no
minimum where the curve is undone. Settings that gain on darker images (plain distances, lr 0.1: RMSE
-1.8 %) brighten every image alike and lose on clean (+1.0 %, MRAE +8 %) and on brighter ones (+2.1 %). A
darkened image is rendered best from a darker cube, so the guard on the rendering rejects what would undo
the darkening. The defaults change RMSE by less than 0.1 %.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.errors import InputError
from hsrzoo_mcga.codebook.lookup import MixtureOfCodebooks, Site, query_entropy
from hsrzoo_mcga.stage2.grayscale import GrayscaleAware
from hsrzoo_mcga.stage2.network import GANet


def ga_parameters(module: nn.Module) -> list[nn.Parameter]:
    """W, b and the log scale of every GA curve."""
    return [p for m in module.modules() if isinstance(m, GrayscaleAware) for p in m.parameters()]


def total_entropy(net: GANet, rgb: Tensor, temperature: float, max_pixels: int) -> Tensor:
    """Sum over query sites of the mean entropy over pixels, nats, a scalar with gradient."""
    sites: list[Site] = []
    net(rgb, sites=sites)
    return torch.stack([query_entropy(f, c, temperature, max_pixels) for f, c in sites]).sum()


def adapt(
    net: GANet,
    rgb: Tensor,
    response: Tensor | None = None,
    *,
    steps: int = 5,
    lr: float = 5e-3,
    temperature: float = 1.0,
    max_pixels: int = 4096,
    max_side: int = 256,
    guard: str = "entropy+rgb",
) -> Tensor:
    """The cube of one image by the network adapted to it; the network itself is left unchanged.

    The unadapted cube is returned, with a warning, if the guard rejects the adapted one or the image is
    black.

    Args:
        net: A network; without codes or curves it is not adapted.
        rgb: (1, 3, H, W) in [0, 1].
        response: (3, C) of the camera that the network was trained with; None if it is not known.
        steps: Steps of Adam.
        lr: Its learning rate.
        temperature: Of the softmax over distances.
        max_pixels: Pixels per site that the entropy is measured on, at most.
        max_side: Side in pixels that the image is averaged down to for the entropy, at most.
        guard: ``"entropy"`` rejects the adapted cube if the entropy did not fall or is not finite;
            ``"entropy+rgb"`` also if it is further from ``rgb`` than the unadapted one when rendered by
            ``response``.

    Returns:
        (1, C, H, W).

    Raises:
        InputError: For a batch, for values that are not finite and for an unknown guard.
    """
    _check(rgb, guard)
    with torch.no_grad():
        plain = net(rgb)
    parameters = ga_parameters(net)
    if not parameters or not isinstance(net.moc, MixtureOfCodebooks):
        return plain
    if not rgb.any():
        warnings.warn("The image is black: the network is not adapted to it.",
                      stacklevel=2)  # fmt: skip
        return plain
    small = downsample(rgb, max_side, 1 << net.scales)

    def entropy() -> Tensor:
        return total_entropy(net, small, temperature, max_pixels)

    with descent(net, parameters, entropy, steps, lr) as (start, end), torch.no_grad():
        better = end < start  # false if either is NaN
        cube = net(rgb) if better else plain
    if better and guard == "entropy+rgb" and response is not None:
        before, after = (rendering_error(y, rgb, response) for y in (plain, cube))
        better = after <= before
    if not better:
        warnings.warn("Adaptation does not explain the image better: the unadapted cube is returned.",
                      stacklevel=2)  # fmt: skip
    return cube if better else plain


@contextmanager
def descent(
    net: GANet, parameters: Sequence[nn.Parameter], objective: Callable[[], Tensor], steps: int, lr: float
) -> Iterator[tuple[float, float]]:
    """Within the block ``parameters`` have taken ``steps`` steps of Adam on ``objective``.

    Yields the objective before the first and after the last step. Afterwards values, gradients and
    ``requires_grad`` are as before.
    """
    trained = [p.detach().clone() for p in parameters]
    wanted = [p.requires_grad for p in net.parameters()]
    try:
        with torch.enable_grad():
            net.requires_grad_(False)
            for p in parameters:
                p.requires_grad_(True)
            optimiser = torch.optim.Adam(parameters, lr=lr)
            history = []
            for _ in range(steps):
                loss = objective()
                history.append(float(loss.detach()))
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        with torch.no_grad():
            history.append(float(objective()))
        yield history[0], history[-1]
    finally:
        with torch.no_grad():
            for p, value in zip(parameters, trained, strict=True):
                p.copy_(value)
                p.grad = None
        for p, flag in zip(net.parameters(), wanted, strict=True):
            p.requires_grad_(flag)


def rendering_error(cube: Tensor, rgb: Tensor, response: Tensor) -> float:
    """Root mean square of R y - rgb over the image; ``response``: R (3, C)."""
    seen = torch.einsum("kc,bchw->bkhw", response.to(cube), cube)
    return float((seen - rgb).square().mean().sqrt())


def downsample(rgb: Tensor, max_side: int, multiple: int) -> Tensor:
    """The image averaged down to at most ``max_side``, sides kept multiples of ``multiple``."""
    side = max(rgb.shape[-2:])
    if side <= max_side:
        return rgb
    size = [max(multiple, round(n * max_side / side / multiple) * multiple) for n in rgb.shape[-2:]]
    return F.interpolate(rgb, size=size, mode="area")


def _check(rgb: Tensor, guard: str) -> None:
    if guard not in ("entropy", "entropy+rgb"):
        raise InputError("Unknown guard of adaptation", expected="entropy or entropy+rgb", got=repr(guard))
    if rgb.shape[0] != 1:
        raise InputError(
            "Adaptation takes one image at a time",
            expected="a batch of 1",
            got=f"a batch of {rgb.shape[0]}",
            fix="Call it once for each image",
        )
    if not torch.isfinite(rgb).all():
        raise InputError(
            "The image has values that are not finite",
            expected="finite values in [0, 1]",
            got=f"{int((~torch.isfinite(rgb)).sum())} values that are NaN or infinite",
        )
