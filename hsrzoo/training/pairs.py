"""Pairs of image and cube as a task: how every network that maps RGB to a cube is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hsrzoo.datasets.base import Dataset
from hsrzoo.errors import TrainingError
from hsrzoo.metrics import compute
from hsrzoo.models.consistency import Correction, correction_for
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.registry import DATASETS
from hsrzoo.spec import MetricContext, ModelSpec, Recipe
from hsrzoo.training.augment import Augmenter
from hsrzoo.training.crops import Crops, require_data
from hsrzoo.training.init import freeze_parameters, require_trained
from hsrzoo.training.losses import loss_function
from hsrzoo.training.pools import Pool, dataset_record, pools_record, require_shares, scenes_of
from hsrzoo.training.recipe import check, split_holdout
from hsrzoo.training.task import Task

Batch = tuple[Tensor, Tensor]
"""rgb (B, 3, h, w), normalised as the network expects it, and cube (B, C, h, w), both float32."""

FIGURES = ("rmse", "psnr", "sam", "mrae")
"""Metrics of the held-out scenes."""


class PairTask(Task):
    """Random crops of the training scenes.

    ``arguments`` are the constructor arguments the module was built with; they only go into the
    record. The scenes that ``recipe.holdout`` and ``recipe.fold`` name are never drawn: they validate.

    Values without data (NaN in a cube) stay NaN in the batch and count in no loss; crops without any
    data are drawn again. ``training_loss`` of a module has to leave them out itself.

    ``init`` is the record of the weights that ``module`` holds (:mod:`hsrzoo.training.init`); parameters
    that a pattern of ``freeze`` matches stay as they are.

    ``cache``: whether scenes are mapped from the cache on disk; None: where they take more than 2 GB.

    ``pools``: what is trained on too. Of a pool of the same data set and split, scenes that are held out
    are left out.
    """

    def __init__(
        self,
        spec: ModelSpec,
        module: nn.Module,
        dataset: Dataset,
        recipe: Recipe,
        *,
        split: str = "train",
        arguments: Mapping[str, Any] | None = None,
        start: Mapping[str, Any] | None = None,
        init: Mapping[str, Any] | None = None,
        freeze: Sequence[str] = (),
        pools: Sequence[Pool] = (),
        cache: bool | None = None,
    ) -> None:
        self.spec, self.module, self.dataset, self.recipe = spec, module, dataset, recipe
        self.split, self.arguments, self.start = split, dict(arguments or {}), dict(start or {})
        self.init, self.freeze = dict(init or {}), tuple(freeze)
        self.frozen = freeze_parameters(module, self.freeze)
        require_trained(module, self.init.get("reinitialised", ()))
        names = sorted(dataset.scenes(split))
        check(recipe)
        self.scenes, self.held_out = split_holdout(names, recipe, f"{dataset.name}/{split}")
        require_shares(pools)
        self.pools = [(pool, scenes_of(pool, dataset, split, self.held_out)) for pool in pools]
        self._crops = Crops(
            dataset, split, self.scenes, recipe, spec.input, name=spec.name, pools=self.pools, cache=cache
        )
        physical = set(recipe.augment) - {"flip", "rotate"}
        self._augmenter = Augmenter(physical, recipe.augment_share, dataset, spec.input.normalise)
        self._own = recipe.loss == "own"
        if self._own and not hasattr(module, "training_loss"):
            raise TrainingError(
                f"{spec.name} has no loss of its own",
                expected="a method training_loss(rgb, cube)",
                fix="Choose another loss by --set loss=charbonnier",
            )
        self._loss = None if self._own else loss_function(recipe)
        self._correction = self._checked_correction() if recipe.consistency else None

    def _checked_correction(self) -> Correction:
        """What makes the cubes agree with the images of this task, which must be images of one camera as
        it gave them."""
        response = self.dataset.info.get("response")
        cameras = {str(pool.data.info.get("response")) for pool, _ in self.pools} | {str(response)}
        for problem, got in (
            (self._own, "loss=own"),
            (self.spec.input.normalise != "none", f"normalise={self.spec.input.normalise}"),
            ("camera" in self.recipe.augment, "augment=camera"),
            (len(cameras) > 1, f"images of {' and '.join(sorted(cameras))}"),
        ):
            if problem:
                raise TrainingError(
                    "The recipe's consistency is impossible",
                    expected="a loss of the recipe, on images of one camera that are not normalised",
                    got=got,
                )
        return correction_for(self.dataset, self.spec.name)

    def prepare(self) -> None:
        """Read all training scenes. TrainingError names the first, of these and of those held out, that
        has no data at all."""
        for name in self.held_out:  # now rather than at the first validation
            require_data(self.dataset, self.split, name, self.dataset.load(self.split, name).cube)
        self._crops.read()
        self._augmenter.require_room(*self.crop_size)
        for name, scene in zip(self._crops.names, self._crops.scenes, strict=True):
            if self._augmenter.rendered:
                self._augmenter.require_rendered(name, *scene.whole())

    def draw(self, generator: torch.Generator) -> Batch:
        """A batch of random crops, flipped and turned at random, then augmented as the recipe says."""
        batch = self.empty_batch()
        self.fill(batch, generator)
        return batch

    def empty_batch(self) -> Batch:
        """Memory for :meth:`fill`. Not torch's: numpy asks for large pages, which cost less time."""
        count, (height, width) = self.recipe.batch, self.crop_size
        sizes = ((count, channels, height, width) for channels in (3, len(self.dataset.bands)))
        rgb, cube = (torch.from_numpy(np.empty(size, np.float32)) for size in sizes)
        return rgb, cube

    def fill(self, batch: Batch, generator: torch.Generator) -> None:
        """What :meth:`draw` gives, written to ``batch``."""
        outs = list(zip(*batch, strict=True))
        places = [self._crops.draw(generator, out)[0] for out in outs]
        if not self._augmenter.names:
            return
        # After all crops are drawn, which so are those of a run without augmentation.
        for place, out in zip(places, outs, strict=True):
            for target, changed in zip(out, self._augmented(place, *out, generator), strict=True):
                target.copy_(changed)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The recipe's loss, or the module's own one."""
        rgb, cube = batch
        if self._loss is not None:
            return self._loss(self.predict(self.module, rgb), cube) * self._weight(cube), {}
        result = self.module.training_loss(rgb, cube)  # type: ignore[operator]  # checked in __init__
        return result if isinstance(result, tuple) else (result, {})

    def _weight(self, cube: Tensor) -> Tensor:
        """Number of values with data over its mean over all processes: with it, the mean of their losses is
        the loss of the whole batch. 1 in one process."""
        count = (~cube.isnan()).sum().float()
        return count / self.gather(count[None]).mean()

    def predict(self, module: nn.Module, rgb: Tensor) -> Tensor:
        """The cubes (B, C, h, w) float32 of ``module``, corrected towards the images where the recipe says
        so."""
        pred = module(rgb).float()
        return pred if self._correction is None else self._correction.to(rgb.device)(pred, rgb)

    @property
    def crop_size(self) -> tuple[int, int]:
        """Height and width of the crops."""
        return self._crops.size

    def middles(self, count: int) -> Iterator[Batch]:
        """Crops of the middle of ``count`` scenes or all, evenly spread over those of the data set: rgb
        (3, h, w) and cube (C, h, w)."""
        height, width = self.crop_size
        step = -(-len(self.scenes) // count)
        for scene in self._crops.scenes[: len(self.scenes) : step]:
            top, left = (scene.shape[0] - height) // 2, (scene.shape[1] - width) // 2
            yield scene.crop(slice(top, top + height), slice(left, left + width))

    def validate(self, module: nn.Module) -> dict[str, float]:
        """RMSE, PSNR, SAM and MRAE on the whole held-out scenes, averaged over scenes."""
        if not self.held_out:
            return {}
        data, spec = self.dataset, self.spec
        # What of config.json decides how the network is run.
        training = {"dataset_info": data.record(), "recipe": {"consistency": self.recipe.consistency}}
        device = str(next(module.parameters()).device)
        model = Reconstructor(
            module, spec, data.bands, name=spec.name, config={"training": training}, device=device
        )
        context = MetricContext(data.bands)
        if data.name in DATASETS:
            context = replace(context, mrae_epsilon=DATASETS.get(data.name).mrae_epsilon)
        scenes = (data.load(self.split, name) for name in self.held_out)
        rows = [scores(scene.cube, model.predict(scene.rgb), context) for scene in scenes]
        return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}

    def record(self) -> dict[str, Any]:
        """Model, data sets and scenes."""
        about = {
            "model": self.spec.name,
            "arguments": self.arguments,
            **dataset_record(self.dataset, self.split, self.scenes),
            "held_out": self.held_out,
            "start": self.start,
        }
        if self.init:
            about["init"] = self.init
        if self.freeze:
            about["freeze"] = list(self.freeze)
        about |= pools_record(self.pools)
        return about

    def _augmented(
        self, place: int, rgb: Tensor, cube: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        def other() -> Tensor:
            """The cube of a crop of another scene; of the same one where it is the only one."""
            window = self._crops.window(generator)
            while window.place == place and len(self._crops.scenes) > 1:
                window = self._crops.window(generator)
            return self._crops.cube(window)

        return self._augmenter(rgb, cube, other, generator)


def scores(truth: np.ndarray, pred: np.ndarray, context: MetricContext) -> dict[str, float]:
    """RMSE, PSNR (dB), SAM (degrees) and MRAE of (C, H, W) cubes, as the zoo's metrics define them."""
    row = compute(FIGURES, truth, pred, context, check_range=False)
    return {name: row[name] for name in FIGURES}
