"""What ``hsrzoo.load`` returns: RGB in, hyperspectral cube out, any size, checked at the door."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.errors import InputError, PluginError
from hsrzoo.spec import Execution, ModelSpec, resolve

Array = np.ndarray | Tensor

_FULL_SCALE = {"uint8": 255.0, "uint16": 65535.0}
_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
COMPILE_SAMPLE = 128
"""Side in pixels of the part of the first image that a compiled network is checked on."""
COMPILE_TOLERANCE = 1e-3
"""Relative norm of the difference that compiling may make: rounding, and the few nearest codes that it
may change where two are equally near."""
_ROUNDING = 1e-6
"""How far a float may leave its range, relative to the range, before it is an error (it is clipped)."""


@dataclass(frozen=True)
class Reconstruction:
    """A cube that knows its bands.

    ``cube``: float32; numpy (H, W, C) for a numpy image, torch (B, C, H, W) for a torch batch.
    """

    cube: Array
    bands: BandSet
    model: str
    weights_sha256: str | None = None

    def save(self, path: str | Path, *, format: str | None = None) -> None:
        """Write the cube with its wavelengths; the suffix decides (.hdr, .tif, .h5, .mat, .npz).

        A torch batch of one image is written as (H, W, C); of several, it raises InputError.
        """
        from hsrzoo.io import save_cube  # pulls in the file formats only when one is written

        cube = self.cube
        if isinstance(cube, Tensor):
            if len(cube) != 1:
                raise InputError(
                    "A file holds one cube", expected="a batch of one image", got=f"{len(cube)} images"
                )
            cube = cube[0].permute(1, 2, 0).cpu().numpy()
        about = {"model": self.model, "weights_sha256": self.weights_sha256 or "random"}
        save_cube(Path(path), np.ascontiguousarray(cube), self.bands, format=format, metadata=about)


class Reconstructor:
    """A network with all that is needed to call it on images of any size."""

    def __init__(
        self,
        module: nn.Module,
        spec: ModelSpec,
        bands: BandSet,
        *,
        name: str,
        config: Mapping[str, Any],
        weights_sha256: str | None = None,
        device: str | None = None,
        execution: Execution | None = None,
    ) -> None:
        self.device = torch_device(device)
        self.module = module.to(self.device).eval()
        self.spec = spec
        self.bands = bands
        self.name = name
        self.config = config
        self.weights_sha256 = weights_sha256
        self.execution = execution or Execution()
        self._fast: Callable[[Tensor], Tensor] | None = None

    @property
    def identity(self) -> str | None:
        """sha256 (hex) of all that decides an output: weights, architecture, arguments, input and
        bands as they are used here. None for random weights."""
        if self.weights_sha256 is None:
            return None
        decides = {
            "weights_sha256": self.weights_sha256,
            "architecture": self.spec.name,
            "arguments": self.config["arguments"],
            "input": asdict(self.spec.input),
            "bands": self.bands.to_json(),
            **self.execution.changes(),
        }
        return hashlib.sha256(
            json.dumps(decides, sort_keys=True, separators=(",", ":")).encode()
        ).hexdigest()

    def __repr__(self) -> str:
        return f"Reconstructor({self.name}, {self.bands}, {self.device})"

    def __call__(
        self, rgb: Array, value_range: tuple[float, float] | None = None, tta: bool = False
    ) -> Reconstruction:
        """Reconstruct the cube of an image or a batch.

        ``rgb``: numpy (H, W, 3) or torch (B, 3, H, W), channels in the order R, G, B. uint8 and
        uint16 are divided by their full scale; floats must lie in [0, 1]. ``value_range`` (lo, hi)
        declares any other range and dtype. ``tta``: adapt to each image first (models that can).
        Raises InputError with the shape, dtype and range seen.
        """
        is_batch = isinstance(rgb, Tensor)
        batch = check_rgb(rgb, value_range).to(self.device)
        cube = self._forward(batch, tta)
        if is_batch:
            result: Array = cube.to(rgb.device)
        else:
            result = np.ascontiguousarray(cube[0].permute(1, 2, 0).cpu().numpy())
        return Reconstruction(result, self.bands, self.name, self.weights_sha256)

    def predict(self, rgb: np.ndarray, tta: bool = False) -> np.ndarray:
        """Cube (C, H, W) float32 of ``rgb`` (3, H, W) float32 in [0, 1], both numpy.

        Raises InputError for other shapes and ranges and for values that are not finite.
        """
        batch = torch.as_tensor(np.ascontiguousarray(rgb), dtype=torch.float32)
        if batch.ndim != 3 or batch.shape[0] != 3 or 0 in batch.shape:
            raise InputError("predict takes one image", expected="shape (3, H, W)", got=tuple(batch.shape))
        unit = _to_unit(batch, "float32", None)
        return self._forward(unit[None].to(self.device), tta)[0].cpu().numpy()

    def _forward(self, batch: Tensor, tta: bool) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, C, H, W): normalise, pad, run, crop."""
        if tta and self.spec.adapt is None:
            raise InputError(f"{self.name} has no test-time adaptation", fix="Leave tta out")
        height, width = batch.shape[-2:]
        padded = pad(normalise(batch, self.spec.input.normalise), self.spec)
        if tta:
            adapt = resolve(self.spec.adapt)  # type: ignore[arg-type]  # checked above
            cube = torch.cat([adapt(self.module, image[None]).detach() for image in padded])
        else:
            pieces = padded.split(1) if self.spec.couples_batch else (padded,)
            cubes = [self.run(piece) for piece in pieces]
            cube = cubes[0] if len(cubes) == 1 else torch.cat(cubes)
        expected = (len(batch), len(self.bands), *padded.shape[-2:])
        if tuple(cube.shape) != expected:
            raise PluginError(
                f"The network {self.spec.name} returns the wrong shape",
                expected=expected,
                got=tuple(cube.shape),
            )
        return cube[..., :height, :width].float()

    def run(self, padded: Tensor) -> Tensor:
        """The network on a normalised and padded batch, as :attr:`execution` says."""
        how = self.execution.precision
        network = self._compiled(padded) if self.execution.compile else self.module
        with torch.no_grad(), torch.autocast(self.device.type, _HALF.get(how), enabled=how in _HALF):
            return network(padded)

    def _compiled(self, padded: Tensor) -> Callable[[Tensor], Tensor]:
        """The compiled network; the uncompiled one, with a warning, where the two disagree."""
        if self._fast is None:
            fast = torch.compile(self.module, dynamic=True)
            side = max(COMPILE_SAMPLE, self.spec.input.min_size)
            side -= side % self.spec.input.multiple
            sample = padded[:1, :, :side, :side]
            with torch.no_grad():
                expected, got = self.module(sample).float(), fast(sample).float()
            difference = float((got - expected).norm() / expected.norm().clamp_min(1e-12))
            self._fast = fast if difference <= COMPILE_TOLERANCE else self.module
            if self._fast is self.module:
                warnings.warn(
                    f"The compiled {self.name} differs from the uncompiled one by {difference:.1e} of its "
                    f"norm (allowed: {COMPILE_TOLERANCE:g}), so the uncompiled one runs.",
                    stacklevel=3,
                )
        return self._fast


def torch_device(name: str | None) -> torch.device:
    """The device called ``name``; None: the GPU if there is one, else the CPU."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts when built without CUDA
        raise InputError(
            f"The device {name!r} cannot be used", got=str(error).splitlines()[0], fix="Try cpu"
        ) from None
    return device


def check_rgb(rgb: Array, value_range: tuple[float, float] | None = None) -> Tensor:
    """A float32 (B, 3, H, W) tensor in [0, 1] from what a user gave, or InputError."""
    if isinstance(rgb, np.ndarray):
        _check_shape(tuple(rgb.shape), rgb.dtype.name, channels_axis=2, form="numpy (H, W, 3)")
        if rgb.dtype.kind not in "uif":
            raise InputError("Pixels must be numbers", expected="uint8, uint16 or float", got=rgb.dtype)
        dtype = rgb.dtype.name
        # float64: uint16 has no torch arithmetic, and / 65535 is rounded once only
        values = torch.from_numpy(np.ascontiguousarray(rgb, dtype=np.float64)).permute(2, 0, 1)[None]
    elif isinstance(rgb, Tensor):
        dtype = str(rgb.dtype).removeprefix("torch.")
        _check_shape(tuple(rgb.shape), dtype, channels_axis=1, form="torch (B, 3, H, W)")
        if rgb.dtype == torch.bool or rgb.is_complex():
            raise InputError("Pixels must be numbers", expected="uint8, uint16 or float", got=dtype)
        values = rgb.detach().cpu().to(torch.float64)
    else:
        raise InputError(
            "An image must be an array",
            expected="numpy (H, W, 3) or torch (B, 3, H, W)",
            got=type(rgb).__name__,
            fix="Read files with hsrzoo.io.read_image, or convert with numpy.asarray",
        )
    return _to_unit(values, dtype, value_range).to(torch.float32).contiguous()


def _check_shape(shape: tuple[int, ...], dtype: str, channels_axis: int, form: str) -> None:
    rank = 3 if channels_axis == 2 else 4
    if len(shape) == rank and shape[channels_axis] == 3 and 0 not in shape:
        return
    other_axis = 0 if channels_axis == 2 else 3
    channels = shape[channels_axis] if len(shape) == rank else None
    if 0 in shape:
        fix = "The image is empty"
    elif channels == 4:
        fix = "This looks like RGBA: drop the fourth channel if it is alpha"
    elif len(shape) == rank - 1 and shape[0 if channels_axis == 1 else -1] == 3:
        fix = "Add the batch dimension: rgb[None]" if channels_axis == 1 else "Give the image as (H, W, 3)"
    elif channels == 1 or len(shape) == 2:
        fix = "This looks like a grey image: these models need three colour channels"
    elif len(shape) == rank and shape[other_axis] == 3:
        move = "rgb.transpose(1, 2, 0)" if channels_axis == 2 else "rgb.permute(0, 3, 1, 2)"
        fix = f"The channels stand elsewhere: use {move}"
    else:
        fix = "Give one RGB image, or a torch batch of them"
    raise InputError("The image has the wrong shape", expected=form, got=f"{shape} {dtype}", fix=fix)


def _to_unit(values: Tensor, dtype: str, value_range: tuple[float, float] | None) -> Tensor:
    """Floating-point values mapped to [0, 1] by the dtype's full scale or the declared range."""
    if not bool(torch.isfinite(values).all()):
        bad = int((~torch.isfinite(values)).sum())
        raise InputError(
            "The image holds values that are not finite", got=f"{bad} NaN or infinite of {values.numel()}"
        )
    low, high = 0.0, _FULL_SCALE.get(dtype, 1.0)
    if value_range is not None:
        try:
            low, high = (float(v) for v in value_range)
        except (TypeError, ValueError):  # one number, three, or none
            low = high = 0.0
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            raise InputError(
                "value_range is not a range", expected="(low, high), low < high", got=value_range
            )
    elif "float" not in dtype and dtype not in _FULL_SCALE:
        raise InputError(
            f"{dtype} images have no natural full scale",
            expected="uint8, uint16 or float in [0, 1]",
            got=f"{dtype} in [{float(values.min()):g}, {float(values.max()):g}]",
            fix="Declare it: value_range=(low, high)",
        )
    unit = (values - low) / (high - low)
    smallest, largest = float(unit.min()), float(unit.max())
    if smallest < -_ROUNDING or largest > 1 + _ROUNDING:
        raise InputError(
            "The image leaves its range",
            expected=f"values in [{low:g}, {high:g}]",
            got=f"{tuple(values.shape)} {dtype} in [{float(values.min()):g}, {float(values.max()):g}]",
            fix="Declare the range with value_range=(low, high), or clip",
        )
    return unit.clamp(0, 1)


def normalise(batch: Tensor, how: str) -> Tensor:
    """The network's own input normalisation of (B, 3, H, W) in [0, 1]."""
    if how == "none":
        return batch
    low = batch.amin(dim=(1, 2, 3), keepdim=True)
    span = batch.amax(dim=(1, 2, 3), keepdim=True) - low
    # An image of one value has no span: it becomes zeros instead of NaN.
    return (batch - low) / torch.where(span > 0, span, torch.ones_like(span))


def pad(batch: Tensor, spec: ModelSpec) -> Tensor:
    """Pad H and W at the bottom and right to the spec's multiple and smallest size.

    By reflection; by edge replication where the image is too small to reflect.
    """
    for axis in (-2, -1):
        size = batch.shape[axis]
        multiple = spec.input.multiple
        target = -(-max(size, spec.input.min_size) // multiple) * multiple
        extra = target - size
        if extra:
            amount = (0, 0, 0, extra) if axis == -2 else (0, extra, 0, 0)
            reflects = extra < size and size >= spec.input.min_size
            batch = F.pad(batch, amount, mode="reflect" if reflects else "replicate")
    return batch
