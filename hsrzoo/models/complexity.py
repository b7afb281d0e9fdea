"""Size and cost of a network: numbers of parameters and multiply-accumulates."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from hsrzoo.models.building import without_values
from hsrzoo.spec import RgbInput, build_module
from hsrzoo.zoo import COST_SIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import Tensor, nn
    from torch.utils.flop_counter import FlopCounterMode

    from hsrzoo.bands import BandSet
    from hsrzoo.spec import ModelSpec


FUSED_ON_CPU = "aten._scaled_dot_product_flash_attention_for_cpu"
"""Attention as one operator."""


class Size(NamedTuple):
    """Numbers that a network holds; a tensor that several layers share counts once."""

    parameters: int
    """All that its authors would count, trained or not."""
    frozen: int
    """Those of them that are never trained."""
    buffers: int
    """Fixed numbers that are no parameters: codebooks, filters, matrices fitted in closed form."""


def size(module: nn.Module) -> Size:
    """The size of a network."""
    parameters = list(module.parameters())
    return Size(
        sum(p.numel() for p in parameters),
        sum(p.numel() for p in parameters if not p.requires_grad),
        sum(b.numel() for b in module.buffers()),
    )


def size_of(spec: ModelSpec, bands: BandSet, arguments: Mapping[str, Any] | None = None) -> Size:
    """:func:`size` of a spec's network, built without values where it can be, which takes neither memory
    nor time. ``arguments`` override the spec's own, as those of trained weights do."""
    try:
        with without_values():
            return size(build_module(spec, bands, arguments or {}, fresh=arguments is None))
    except Exception:  # a network that looks at values while it is built
        return size(build_module(spec, bands, arguments or {}, fresh=arguments is None))


def only_fitted(spec: ModelSpec, bands: BandSet) -> bool:
    """Whether a model is fitted in closed form: it has a ``fit``, and no parameter to train."""
    if spec.fit is None:
        return False
    found = size_of(spec, bands)
    return found.parameters == found.frozen


def macs(module: nn.Module, height: int, width: int) -> int:
    """Multiply-accumulates of one forward pass on (1, 3, height, width).

    Half of what torch's counter calls floating-point operations: matrix products and convolutions
    on the module's device; and what the module declares (see :func:`unseen_macs`). Attention that a CPU
    does in one operator is for the module to declare: torch counts it from version 2.15 on.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    device = next((p.device for p in [*module.parameters(), *module.buffers()]), torch.device("cpu"))
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        module(torch.full((1, 3, height, width), 0.5, device=device))
    return _seen_macs(counter) + unseen_macs(module, height, width)


def _seen_macs(counter: FlopCounterMode) -> int:
    """What torch's counter has seen, in every version of torch."""
    found = counter.get_flop_counts().get("Global", {})
    return sum(count for operator, count in found.items() if str(operator) != FUSED_ON_CPU) // 2


def unseen_macs(module: nn.Module, height: int, width: int) -> int:
    """What a module does where no counter sees it (a nearest-code search, attention on a CPU), as its own
    method ``unseen_macs(height, width)`` declares; 0 without one."""
    declared = getattr(module, "unseen_macs", None)
    return int(declared(height, width)) if declared else 0


def peak_bytes(module: Callable[[Tensor], Tensor], height: int, width: int, device: str = "cpu") -> int:
    """Most bytes that tensors made by one forward pass on (1, 3, height, width) hold at a time.

    Counted exactly as torch's operators make and drop them, so the same at every call; what a library
    takes within one operator, and what the allocator wastes, is not seen.
    """
    return _peaks(module, height, width, device)[0]


def _peaks(
    module: Callable[[Tensor], Tensor], height: int, width: int, device: str = "cpu"
) -> tuple[int, int]:
    """:func:`peak_bytes`, and the same with what convolutions take within themselves."""
    import torch

    rgb = torch.full((1, 3, height, width), 0.5, device=device)
    with torch.no_grad(), _live_tensors() as live:
        module(rgb)
    return live.peak, live.with_buffers


@contextmanager
def _live_tensors() -> Iterator[Any]:
    """``now``, ``peak``, ``with_buffers``: bytes of the tensors that operators in the block have made and
    nothing has dropped (see :func:`_peaks`); ``sizes``: of each of them by its storage."""
    import weakref

    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Live(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.sizes: dict[int, int] = {}
            self.watches: list[weakref.finalize] = []
            self.now = self.peak = self.with_buffers = 0

        def __torch_dispatch__(self, op, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            out = op(*args, **(kwargs or {}))
            for tensor in tree_leaves(out):
                if isinstance(tensor, torch.Tensor):
                    self.see(tensor.untyped_storage())
            within = _blocked_bytes(args[0], out) if op is torch.ops.aten.convolution.default else 0
            self.with_buffers = max(self.with_buffers, self.now + within)
            return out

        def see(self, storage: torch.UntypedStorage) -> None:
            key = storage._cdata
            if key not in self.sizes:
                self.sizes[key] = storage.nbytes()
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                self.watches.append(weakref.finalize(storage, self.drop, key))

        def drop(self, key: int) -> None:
            self.now -= self.sizes.pop(key, 0)

    with Live() as live:
        yield live
    for watch in live.watches:  # of weights, which live on
        watch.detach()


def _blocked_bytes(image: Tensor, out: Tensor) -> int:
    """What a convolution on a CPU takes besides its tensors: oneDNN's copy of one of them, with channels in
    blocks of 16. There is none where channels come last."""
    import torch

    last = image.is_contiguous(memory_format=torch.channels_last) and not image.is_contiguous()
    if image.device.type != "cpu" or image.ndim != 4 or last:
        return 0
    return max(t.nbytes // t.shape[1] * (-(-t.shape[1] // 16) * 16) for t in (image, out))


def cost(module: nn.Module, height: int, width: int) -> tuple[int, int]:
    """:func:`macs` and :func:`peak_bytes` of one and the same forward pass, on the CPU."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        peak = peak_bytes(module, height, width)
    return _seen_macs(counter) + unseen_macs(module, height, width), peak


def stated_cost(module: nn.Module, wanted: RgbInput) -> dict[str, int]:
    """What cards state of a network: its :class:`Size`, and for one pass over :data:`.COST_SIDE` rows and
    columns, padded as ``wanted`` says, the ``macs`` and the ``memory`` of tensors in bytes."""
    side = wanted.padded(COST_SIDE)
    count, memory = cost(module, side, side)
    return {**size(module)._asdict(), "macs": count, "memory": memory}


@dataclass(frozen=True)
class MemoryUse:
    """Bytes of a network's tensors at their peak: a fixed part, a part for every column, and a part for
    every pixel."""

    fixed: float
    per_column: float
    per_pixel: float
    least_width: int = 1
    """Narrower images have the strips of this width: as many pixels in more rows."""
    buffers_per_pixel: float = 0.0
    """What convolutions add to that within themselves, of an image that runs in one piece."""

    def bytes(self, height: int, width: int) -> float:
        """Of an image of ``height`` x ``width`` pixels."""
        columns = max(width, self.least_width)
        return self.fixed + self.per_column * columns + self.per_pixel * height * width


def memory_use(
    module: Callable[[Tensor], Tensor], need: RgbInput | None = None, device: str = "cpu"
) -> MemoryUse:
    """What forward passes take, from three small sizes: 128 x 256, 256 x 256 and 128 x 512.

    Strips have :data:`.LEAST_ROWS` rows there, as those of wide images, which grow with the width; those of
    narrow images have as many pixels as the widest with more rows. The sizes are larger where the network
    needs more.
    """
    import torch

    from hsrzoo.layers.whole_image import LEAST_ROWS, pixels_at_once, strips_of_least_rows

    need = need or RgbInput()
    low, high = need.padded(128), need.padded(256)
    if low == high:
        high += max(128 // need.multiple, 1) * need.multiple
    sizes = ((low, high), (high, high), (low, 2 * high))
    with strips_of_least_rows():
        (small, least), (tall, most), (wide, _) = (_peaks(module, *size, device) for size in sizes)
    per_pixel = (tall - small) / ((high - low) * high)
    per_column = max(0.0, (wide - small) / high - per_pixel * low)
    fixed = max(0.0, small - per_column * high - per_pixel * low * high)
    buffers = max(0.0, (most - least) / ((high - low) * high) - per_pixel)
    least_width = max(high, pixels_at_once(torch.device(device)) // LEAST_ROWS)
    return MemoryUse(fixed, per_column, per_pixel, least_width, buffers)


@dataclass(frozen=True)
class KeptUse:
    """Bytes per pixel, the RGB's included, that a network holds while it waits for a statistic of the whole
    image: the most at any of them."""

    per_pixel: float
    in_maps: float
    """Of these, in maps that :func:`.in_strips` makes and in the RGB, which need not lie in memory."""


def kept_use(
    module: Callable[[Tensor], Tensor], need: RgbInput | None = None, device: str = "cpu"
) -> KeptUse:
    """Measured on 256 x 256 pixels, or more where the network needs them; tensors of less than 4 bytes per
    pixel count as fixed, so not at all."""
    import weakref

    import torch

    from hsrzoo.layers.whole_image import Region, TileCall, tile_call

    side = (need or RgbInput()).padded(256)
    maps: set[int] = set()
    most = in_maps = 0

    def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        made = torch.empty(shape, dtype=dtype, device=device)
        storage = made.untyped_storage()
        maps.add(storage._cdata)
        weakref.finalize(storage, maps.discard, storage._cdata)
        return made

    def give(own: tuple[Tensor, ...], reduce: tuple[str, ...]) -> tuple[Tensor, ...]:
        nonlocal most, in_maps
        sizes = {key: size for key, size in live.sizes.items() if size >= 4 * side**2}
        if (total := sum(sizes.values())) >= most:
            most, in_maps = total, sum(size for key, size in sizes.items() if key in maps)
        return own

    call = TileCall((side, side), Region(0, 0, side, side), ask=give, empty=empty)
    with torch.no_grad(), tile_call(call), _live_tensors() as live:
        module(empty((1, 3, side, side), torch.float32).fill_(0.5))
    return KeptUse(most / side**2, in_maps / side**2)
