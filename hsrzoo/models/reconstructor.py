"""What ``hsrzoo.load`` returns: RGB in, hyperspectral cube out, for images of any size.

The life of one image, in the order of the steps:

1. Decode: shape, dtype and range are validated; values become float32 in [0, 1] (:mod:`.rgb`).
2. Image steps, :meth:`.steps.base.ImageStep.before`: camera consistency translates the colours to the
   camera that the network was trained with; normalisation is the network's own.
3. Pad to the network's multiple and smallest size.
4. Network (:class:`.steps.network.Network`), or the network adapted to the image
   (:class:`.steps.adaptation.Adaptation`) with the extra inputs that it asks for.
5. Crop to the image's size.
6. The same steps in reverse order, :meth:`.steps.base.ImageStep.after`: camera consistency corrects the
   cube towards the image.

Large images go through the same steps tile by tile (:mod:`.tiling`). :data:`.steps.STEPS` lists the steps
in their order; what they declare decides about tiles, exports and the identity of rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.errors import InputError, PluginError
from hsrzoo.io.raster import ArrayPixels
from hsrzoo.layers.whole_image import Region
from hsrzoo.models.complexity import KeptUse, MemoryUse
from hsrzoo.models.metadata import identity_of
from hsrzoo.models.reconstruction import METAMER, Level, Reconstruction
from hsrzoo.models.rgb import Array, check_rgb, check_shape, pad, to_unit
from hsrzoo.models.steps import steps_of
from hsrzoo.models.steps.adaptation import Adaptation
from hsrzoo.models.steps.base import BoundSteps, LoadedModel, TensorView
from hsrzoo.models.steps.network import Network
from hsrzoo.models.tiling.choice import check_execution, plan
from hsrzoo.models.tiling.grid import Grid
from hsrzoo.models.tiling.kept import KeptTiles, tiles_kept
from hsrzoo.models.tiling.passes import Sink, Work, into_memory, run_tiles
from hsrzoo.models.tiling.windows import PaddedImage
from hsrzoo.spec import Execution, ModelSpec
from hsrzoo.uncertainty.apply import add_intervals, add_metamers, intervals_of, require_as_calibrated
from hsrzoo.uncertainty.conformal import stored_level
from hsrzoo.uncertainty.intervals import Intervals
from hsrzoo.uncertainty.metamer_cache import metamers_of
from hsrzoo.uncertainty.metamers import MetamerTable
from hsrzoo.utils.allocator import give_back_freed_memory
from hsrzoo.utils.devices import torch_device

__all__ = ["Reconstruction", "Reconstructor"]


class Reconstructor:
    """A network with all that is needed to call it on images of any size.

    Args:
        module: The network.
        spec: Its architecture, with the input that these weights expect.
        bands: The bands of its cubes.
        name: The model's name, as results show it.
        config: The content of config.json, or of what it would be for random weights.
        weights_sha256: Of the file of weights, hexadecimal; None for random weights.
        device: A torch device; by default the GPU if there is one, else the CPU.
        execution: Precision, tiles and what else may be chosen when a network is run.
        folder: Of the weights, where a calibration of intervals is looked for.

    Raises:
        InputError: A device, tile or memory limit that cannot be used.
    """

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
        folder: Path | None = None,
    ) -> None:
        self.spec, self.bands, self.name, self.config = spec, bands, name, config
        self.weights_sha256, self.folder = weights_sha256, folder
        self.execution = execution or Execution()
        check_execution(self.execution, spec.input, name)
        self.device = torch_device(device)
        self.loaded = LoadedModel(name, spec, bands, config, self.execution)
        self.network = Network(module, self.device, self.loaded)
        self.module = self.network.module
        self.steps = steps_of(self.loaded)
        """Around the network, outermost first."""

    @property
    def identity(self) -> str | None:
        """sha256 (hex) of all that decides an output: the weights and what every step declares. None for
        random weights."""
        if self.weights_sha256 is None:
            return None
        decides: dict[str, Any] = {"weights_sha256": self.weights_sha256}
        for step in (*self.steps, self.network):
            decides |= step.identity()
        return identity_of(decides)

    @property
    def halo(self) -> int | None:
        """Pixels around a pixel of the cube that it depends on, in each direction; None where the network
        or a step does not declare them."""
        halos = [step.needs.halo for step in (*self.steps, self.network)]
        known = [halo for halo in halos if halo is not None]
        return sum(known) if len(known) == len(halos) else None

    @property
    def own_consistency(self) -> str | None:
        """The camera that cubes are corrected for because the network was trained so; None otherwise."""
        return self.loaded.own_consistency

    def __repr__(self) -> str:
        return f"Reconstructor({self.name}, {self.bands}, {self.device})"

    @cached_property
    def intervals(self) -> Intervals:
        """The calibration of its prediction intervals. WeightsError, InputError where there is none for
        this model."""
        return intervals_of(self.loaded, self.folder, self.weights_sha256)

    def require_intervals(self, level: Level, tta: bool = False) -> Intervals:
        """:attr:`intervals`, if they hold for the way in which the model is run; InputError else, also for
        a level that is not calibrated."""
        require_as_calibrated(self.loaded, tta=tta)
        self.intervals.factors(level)
        return self.intervals

    @cached_property
    def metamers(self) -> MetamerTable:
        """The spectra that a colour can have. InputError, BandsError where they are not known for the
        camera or the bands of this model."""
        return metamers_of(self.loaded)

    def __call__(
        self,
        rgb: Array,
        value_range: tuple[float, float] | None = None,
        tta: bool = False,
        interval: Level | None = None,
    ) -> Reconstruction:
        """Reconstruct the cube of an image or a batch.

        Args:
            rgb: numpy (H, W, 3) or torch (B, 3, H, W), channels in the order R, G, B. uint8 and uint16 are
                divided by their full scale; floats must lie in [0, 1].
            value_range: (low, high): any other range, of any dtype.
            tta: Adapt the network to each image first (models that can).
            interval: Also return prediction intervals of this probability: 0.5, 0.8, 0.9 or 0.95; or
                "metamer": the range of all spectra that have the colour of the pixel, which is no
                prediction and takes minutes to prepare once. Both assume pixels as in the training pairs:
                linear, of the same camera.

        Returns:
            The cube with its bands, of the kind of ``rgb``.

        Raises:
            InputError: Another shape, dtype or range, with what was seen; no adaptation; too little memory;
                a probability that the calibration does not support.
            WeightsError: ``interval`` is given, and the model was not calibrated.
        """
        metamers = self.metamers if interval == METAMER else None
        asked = None if interval is None or metamers is not None else interval
        intervals = None if asked is None else self.require_intervals(asked, tta)
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
        found = Reconstruction(result, self.bands, self.name, self.weights_sha256)
        if metamers is not None:
            return add_metamers(found, rgb, value_range, metamers)
        if intervals is None or asked is None:
            return found
        return add_intervals(found, rgb, value_range, intervals, stored_level(asked))

    def predict(self, rgb: np.ndarray, tta: bool = False) -> np.ndarray:
        """Reconstruct the cube of one image, channels first.

        Args:
            rgb: (3, H, W) float32 in [0, 1].
            tta: Adapt the network to the image first (models that can).

        Returns:
            The cube, (C, H, W) float32.

        Raises:
            InputError: Another shape or range, or values that are not finite.
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
        # steps that change cubes, and an adaptation, act on one image
        one_by_one = tta or self.spec.couples_batch or any(step.changes_cube for step in self.steps)
        pieces = batch.split(1) if one_by_one else (batch,)
        cubes = [self._whole(piece, tta) for piece in pieces]
        return cubes[0] if len(cubes) == 1 else torch.cat(cubes)

    def _whole(self, batch: Tensor, tta: bool) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, C, H, W): one image, or several that share a run."""
        height, width = batch.shape[-2:]
        bound = [BoundSteps(self.steps, TensorView(image)) for image in batch.split(1)]
        images = [steps.image.window(Region(0, 0, height, width)) for steps in bound]
        rgb = images[0] if len(images) == 1 else torch.cat(images)
        padded = pad(rgb.to(self.device), self.spec.input)
        cube = self._network(tta).run(padded)
        expected = (len(batch), len(self.bands), *padded.shape[-2:])
        if tuple(cube.shape) != expected:
            raise PluginError(
                f"The network {self.spec.name} returns the wrong shape",
                expected=expected,
                got=tuple(cube.shape),
            )
        cube = cube[..., :height, :width].float()
        return bound[0].finish(cube, Region(0, 0, height, width)) if len(bound) == 1 else cube

    @cached_property
    def _adaptation(self) -> Adaptation:
        return Adaptation(self.network)

    def _network(self, tta: bool) -> Network | Adaptation:
        return self._adaptation if tta else self.network

    def _in_tiles(self, image: PaddedImage, tta: bool) -> Tensor:
        """One image -> (1, C, H, W) on the CPU, a view of (H, W, C), within the memory allowed."""
        cube, keep = into_memory(image.size, len(self.bands))
        grid = plan(self, image.size, kept=cube.nbytes)
        for _ in self.tiles(image, grid, keep, tta=tta, kept=tiles_kept(self, grid, result=cube.nbytes)):
            pass
        return cube.permute(2, 0, 1)[None]

    def tiles(
        self,
        image: PaddedImage,
        grid: Grid,
        sink: Sink,
        work: Work | None = None,
        *,
        tta: bool = False,
        kept: KeptTiles | None = None,
    ) -> Iterator[Work]:
        """Run over the tiles of ``grid``, exactly unless ``execution.approximate``.

        Args:
            image: The image without conversions.
            grid: Its tiles (:func:`.tiling.choice.plan`).
            sink: Called as ``sink(top, left, part)`` with every part (C, h, w) of the cube.
            work: Of an interrupted run, which goes on from there.
            tta: Adapt the network to the image first; needs a grid of one tile.
            kept: Which tiles keep their features between passes (:func:`.tiling.kept.tiles_kept`).

        Yields:
            The work done so far, after every tile; to be iterated, and closed, in one thread.

        Raises:
            InputError: A step needs the whole image, and the grid has more than one tile.
        """
        self.check_grid(grid, tta=tta)
        work = work or Work()
        steps = BoundSteps(self.steps, image, work.seen)
        new = len(steps.statistics.keys() - work.seen.keys())
        work = replace(work, seen=steps.statistics, passes=work.passes + new)
        exact = not self.execution.approximate
        network: Callable[[Tensor], Tensor] = self._network(tta).run
        if not tta and exact and not grid.whole and self.execution.compile and self.statistics:
            warnings.warn(
                f"{self.name} needs statistics of the whole image, which a compiled network cannot take "
                "from tiles: the uncompiled one runs.",
                stacklevel=2,
            )
            network = partial(self.network.run, compiled=False)
        run = run_tiles(
            network,
            steps.image,
            grid,
            sink,
            work,
            bands=len(self.bands),
            device=self.device,
            exact=exact,
            finish=steps.finish,
            margin=sum(step.needs.halo or 0 for step in self.steps),
            kept=tiles_kept(self, grid) if kept is None else kept,
        )
        return run if self.execution.max_memory is None else _trim_memory(run)

    def check_grid(self, grid: Grid, *, tta: bool = False) -> None:
        """InputError where a step needs the whole image and ``grid`` has more than one tile."""
        for step in (*self.steps, self._network(tta)):
            if step.needs.whole_image and not grid.whole:
                raise InputError(
                    f"{step.name.capitalize()} needs the whole image",
                    expected="an image that fits into one tile",
                    got=f"{grid.size[0]} x {grid.size[1]} pixels in {len(grid.tiles)} tiles",
                    fix="Leave it out, or allow a larger tile",
                )

    def passes(self, grid: Grid) -> int:
        """How many times a run over ``grid`` reads the image, as far as a small image tells."""
        steps = sum(step.needs.statistic is not None for step in self.steps)
        network = 0 if grid.whole or self.execution.approximate else self.statistics
        return steps + network + 1

    @property
    def statistics(self) -> int:
        """How many statistics of the whole image the network asks for, one after the other."""
        return self.network.statistics

    @property
    def memory_use(self) -> MemoryUse:
        """Of the network's tensors at their peak, measured on small images."""
        return self.network.memory_use

    @property
    def kept_use(self) -> KeptUse:
        """Of a tile between passes."""
        return self.network.kept_use

    def run(self, padded: Tensor) -> Tensor:
        """The network alone on a normalised and padded batch on its device."""
        return self.network.run(padded)


def _trim_memory(run: Iterator[Work]) -> Iterator[Work]:
    for work in run:
        give_back_freed_memory()
        yield work
