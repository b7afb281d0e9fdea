"""What ``hsrzoo.load`` returns: RGB in, hyperspectral cube out, any size, checked at the door."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.camera import Camera, camera_names
from hsrzoo.errors import InputError, PluginError
from hsrzoo.io.raster import ArrayPixels
from hsrzoo.models.complexity import MemoryUse, memory_use
from hsrzoo.models.consistency import ERROR, CameraStep, Consistency
from hsrzoo.models.rgb import Array, check_rgb, check_shape, normalise, pad, to_unit
from hsrzoo.models.tiling import (
    Grid,
    PaddedImage,
    Work,
    check_execution,
    count_statistics,
    into_memory,
    plan,
    run_tiles,
)
from hsrzoo.models.tiling.allocator import give_back_freed_memory
from hsrzoo.spec import Execution, ModelSpec, resolve

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
COMPILE_SAMPLE = 128
"""Side in pixels of the part of the first image that a compiled network is checked on."""
COMPILE_TOLERANCE = 1e-3
"""Relative norm of the difference that compiling may make: rounding, and the few nearest codes that it
may change where two are equally near."""


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
        check_execution(self.execution, spec.input, name)
        self._fast: Callable[[Tensor], Tensor] | None = None
        self._camera: CameraStep | None = None
        camera = self.execution.consistency or self.own_consistency
        if camera is not None:
            self._camera = CameraStep(camera, bands, self.trained_camera, name)

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
            **({"consistency": self.own_consistency} if self.own_consistency else {}),
            **({"consistency_error": ERROR} if self._camera is not None else {}),
            **self.execution.changes(),
        }
        return hashlib.sha256(
            json.dumps(decides, sort_keys=True, separators=(",", ":")).encode()
        ).hexdigest()

    @property
    def trained_camera(self) -> str | None:
        """The response that rendered the RGB of the training pairs; None where the record of the weights
        does not name one, as for photographs."""
        return ((self.config.get("training") or {}).get("dataset_info") or {}).get("response")

    @property
    def own_consistency(self) -> str | None:
        """The camera that cubes are corrected for because the network was trained so; None otherwise."""
        recipe = (self.config.get("training") or {}).get("recipe") or {}
        return self.trained_camera if recipe.get("consistency") else None

    @property
    def correction(self) -> Consistency | None:
        """What is done to the cubes of a network that was trained with it; None for all others."""
        if self._camera is None or self._camera.camera != self.own_consistency:
            return None
        return self._camera.correction

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
        if not is_batch and self._bounded and isinstance(rgb, np.ndarray):
            check_shape(rgb.shape, rgb.dtype.name, channels_axis=2, form="numpy (H, W, 3)")
            cube = self._in_tiles(PaddedImage(ArrayPixels(rgb), self.spec.input, value_range), tta)
        else:
            cube = self._forward(check_rgb(rgb, value_range), tta)
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
        return self._forward(to_unit(batch, "float32", None)[None], tta)[0].cpu().numpy()

    @property
    def _bounded(self) -> bool:
        return self.execution.tile is not None or self.execution.max_memory is not None

    def _forward(self, batch: Tensor, tta: bool) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, C, H, W), whole or tile by tile."""
        if self._bounded:
            images = (ArrayPixels(image.permute(1, 2, 0).numpy()) for image in batch)
            return torch.cat([self._in_tiles(PaddedImage(x, self.spec.input), tta) for x in images])
        if self._camera is not None:
            return self._camera.run(batch, partial(self._whole, tta=tta))
        return self._whole(batch, tta)

    def _whole(self, batch: Tensor, tta: bool) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, C, H, W): normalise, pad, run, crop."""
        height, width = batch.shape[-2:]
        batch = batch.to(self.device)
        padded = pad(normalise(batch, self.spec.input.normalise), self.spec.input)
        if tta:
            cube = torch.cat([self.adapted(image[None]) for image in padded])
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

    def _in_tiles(self, image: PaddedImage, tta: bool) -> Tensor:
        """One image -> (1, C, H, W) on the CPU, a view of (H, W, C), within the memory allowed."""
        height, width = image.size
        grid = plan(self, image.size, kept=height * width * len(self.bands) * 4)
        cube, keep = into_memory(image.size, len(self.bands))
        for _ in self.tiles(image, grid, keep, tta=tta):
            pass
        return cube.permute(2, 0, 1)[None]

    def tiles(
        self,
        image: PaddedImage,
        grid: Grid,
        sink: Callable[[int, int, Tensor], None],
        work: Work | None = None,
        *,
        tta: bool = False,
    ) -> Iterator[Work]:
        """Run over the tiles of ``grid``, handing parts (C, h, w) of the cube to ``sink(top, left, part)``;
        yields how far the run has come after each tile, from which it can be taken up again.

        Exact unless ``execution.approximate``; see :mod:`hsrzoo.models.tiling`. Raises InputError for
        adaptation in more than one tile.
        """
        if tta:
            self.require_adaptable(grid)
        exact = not self.execution.approximate
        network = self.adapted if tta else self.run
        if not tta and exact and not grid.whole and self.execution.compile and self.statistics:
            warnings.warn(
                f"{self.name} needs statistics of the whole image, which a compiled network cannot take "
                "from tiles: the uncompiled one runs.",
                stacklevel=2,
            )
            network = partial(self.run, compiled=False)
        if self._camera is not None:
            image, sink = self._camera.in_tiles(image, sink)
        run = run_tiles(
            network,
            image,
            grid,
            sink,
            work or Work(),
            bands=len(self.bands),
            device=self.device,
            exact=exact,
        )
        return run if self.execution.max_memory is None else _trimmed(run)

    def require_adaptable(self, grid: Grid) -> None:
        """InputError unless the network can adapt itself to an image cut as ``grid`` says."""
        self._adaptation()
        if not grid.whole:
            raise InputError(
                "Test-time adaptation needs the whole image",
                expected="an image that fits into one tile",
                got=f"{grid.size[0]} x {grid.size[1]} pixels in {len(grid.tiles)} tiles",
                fix="Leave tta out, or allow a larger tile",
            )

    @cached_property
    def statistics(self) -> int:
        """How many statistics of the whole image the network asks for, one after the other."""
        need = self.spec.input
        side = -(-max(32, need.min_size) // need.multiple) * need.multiple
        return count_statistics(partial(self.run, compiled=False), side, self.device)

    @cached_property
    def memory_use(self) -> MemoryUse:
        """Of the network's tensors at their peak, measured on small images."""
        need = self.spec.input
        network = partial(self.run, compiled=False)
        return memory_use(network, need.multiple, need.min_size, str(self.device))

    def adapted(self, padded: Tensor) -> Tensor:
        """The network adapted to one padded image (1, 3, H, W), which leaves it as it was."""
        adapt = self._adaptation()
        known = {"response": self._response} if "response" in signature(adapt).parameters else {}
        return adapt(self.module, padded, **known).detach()

    @cached_property
    def _response(self) -> Tensor | None:
        """(3, C) of the camera that the network was trained with; None where it is not known, or where the
        network does not see the image as the camera gave it."""
        if self.trained_camera not in camera_names() or self.spec.input.normalise != "none":
            return None
        matrix = Camera.named(str(self.trained_camera)).matrix(self.bands)
        return torch.from_numpy(matrix).float().to(self.device)

    def _adaptation(self) -> Callable[..., Tensor]:
        if self.spec.adapt is None:
            raise InputError(f"{self.name} has no test-time adaptation", fix="Leave tta out")
        return resolve(self.spec.adapt)

    def run(self, padded: Tensor, compiled: bool = True) -> Tensor:
        """The network on a normalised and padded batch, as :attr:`execution` says."""
        how = self.execution.precision
        with torch.no_grad(), torch.autocast(self.device.type, _HALF.get(how), enabled=how in _HALF):
            network = self._compiled(padded) if self.execution.compile and compiled else self.module
            return network(padded)

    def _compiled(self, padded: Tensor) -> Callable[[Tensor], Tensor]:
        """The compiled network; the uncompiled one, with a warning, where the two disagree."""
        if self._fast is None:
            fast = torch.compile(self.module, dynamic=True)
            side = max(COMPILE_SAMPLE, self.spec.input.min_size)
            side -= side % self.spec.input.multiple
            sample = padded[:1, :, :side, :side]
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


def _trimmed(run: Iterator[Work]) -> Iterator[Work]:
    for work in run:
        give_back_freed_memory()
        yield work


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
