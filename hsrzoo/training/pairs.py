"""Pairs of image and cube as a task: how every network that maps RGB to a cube is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hsrzoo.datasets.base import Dataset, data_masks
from hsrzoo.errors import TrainingError
from hsrzoo.metrics import compute
from hsrzoo.models.consistency import Correction, correction_for
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.models.rgb import normalise
from hsrzoo.registry import DATASETS
from hsrzoo.spec import MetricContext, ModelSpec, Recipe
from hsrzoo.training.augment import Augmenter
from hsrzoo.training.init import freeze_parameters, require_trained
from hsrzoo.training.losses import loss_function
from hsrzoo.training.recipe import check, split_holdout
from hsrzoo.training.task import Task

Batch = tuple[Tensor, Tensor]
"""rgb (B, 3, h, w), normalised as the network expects it, and cube (B, C, h, w), both float32."""

FIGURES = ("rmse", "psnr", "sam", "mrae")
"""Metrics of the held-out scenes."""


class PairTask(Task):
    """Random crops of the training scenes, held in memory (4 (C + 3) H W bytes a scene).

    ``arguments`` are the constructor arguments the module was built with; they only go into the
    record. The scenes that ``recipe.holdout`` and ``recipe.fold`` name are never drawn: they validate.

    Values without data (NaN in a cube) stay NaN in the batch and count in no loss; crops without any
    data are drawn again. ``training_loss`` of a module has to leave them out itself.

    ``init`` is the record of the weights that ``module`` holds (:mod:`hsrzoo.training.init`); parameters
    that a pattern of ``freeze`` matches stay as they are.

    ``extra``: data sets and splits of the same bands that are trained on too, wholly: ``extra_share`` of
    the crops come from their scenes, each as often as any other. They never validate.
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
        extra: Sequence[tuple[Dataset, str]] = (),
        extra_share: float = 0.25,
    ) -> None:
        self.spec, self.module, self.dataset, self.recipe = spec, module, dataset, recipe
        self.split, self.arguments, self.start = split, dict(arguments or {}), dict(start or {})
        self.init, self.freeze = dict(init or {}), tuple(freeze)
        self.frozen = freeze_parameters(module, self.freeze)
        require_trained(module, self.init.get("reinitialised", ()))
        names = sorted(dataset.scenes(split))
        check(recipe)
        self.scenes, self.held_out = split_holdout(names, recipe, f"{dataset.name}/{split}")
        self.extra, self.extra_share = tuple(extra), extra_share
        self._check_extra()
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
        self._pairs: list[tuple[Tensor, Tensor]] = []
        self._gaps: list[Tensor | None] = []
        """(H, W) bool of each scene, True at pixels without any data; None: nowhere."""
        self._size = (0, 0)

    def _checked_correction(self) -> Correction:
        """What makes the cubes agree with the images of this task, which must be images of one camera as
        it gave them."""
        response = self.dataset.info.get("response")
        cameras = {str(data.info.get("response")) for data, _ in self.extra} | {str(response)}
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
        if self.held_out:
            # Slow to import: not in the first validation, whose time a budget of minutes counts.
            import torchmetrics.functional.image  # noqa: F401
        for name in self.held_out:  # now rather than at the first validation
            self._require_data(self.dataset, self.split, name, self.dataset.load(self.split, name).cube)
        wanted = [(self.dataset, self.split, name) for name in self.scenes]
        wanted += [(data, split, name) for data, split in self.extra for name in data.scenes(split)]
        self._pairs = [self._load(*scene) for scene in wanted]
        missing = [cube.isnan().all(dim=0) for _, cube in self._pairs]
        self._gaps = [where if where.any() else None for where in missing]
        self._size = self._crop_size()
        self._augmenter.require_room(*self._size)
        for (_, _, name), (rgb, cube) in zip(wanted, self._pairs, strict=True):
            self._augmenter.require_rendered(name, rgb, cube)

    def _check_extra(self) -> None:
        for data, split in self.extra:
            self.dataset.bands.require_same(
                data.bands, self.dataset.name, data.name, fix="Add a data set of the same bands"
            )
            if not data.scenes(split):
                raise TrainingError(
                    f"{data.name}/{split} has nothing to add", expected="at least one scene", got="none"
                )
            held_out = sorted(set(self.held_out) & set(data.scenes(split)))
            if held_out and _place_of(data) == _place_of(self.dataset):
                raise TrainingError(
                    f"{data.name}/{split} would add scenes that are held out",
                    expected="scenes to train on that validate nothing",
                    got=", ".join(held_out),
                    fix="Add another split or data set, or train with --holdout 0",
                )
        if self.extra and not 0 < self.extra_share < 1:
            what = "No such share of crops from the data added"
            raise TrainingError(what, expected="above 0, below 1", got=self.extra_share)

    def draw(self, generator: torch.Generator) -> Batch:
        """A batch of random crops, flipped and turned at random, then augmented as the recipe says."""
        crops = [self._crop(generator) for _ in range(self.recipe.batch)]
        # After all crops are drawn, which so are those of a run without augmentation.
        pairs = [self._augmented(*crop, generator) for crop in crops]
        return torch.stack([rgb for rgb, _ in pairs]), torch.stack([cube for _, cube in pairs])

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The recipe's loss, or the module's own one."""
        rgb, cube = batch
        if self._loss is not None:
            return self._loss(self.predict(self.module, rgb), cube), {}
        result = self.module.training_loss(rgb, cube)  # type: ignore[operator]  # checked in __init__
        return result if isinstance(result, tuple) else (result, {})

    def predict(self, module: nn.Module, rgb: Tensor) -> Tensor:
        """The cubes (B, C, h, w) float32 of ``module``, corrected towards the images where the recipe says
        so."""
        pred = module(rgb).float()
        return pred if self._correction is None else self._correction.to(rgb.device)(pred, rgb)

    @property
    def crop_size(self) -> tuple[int, int]:
        """Height and width of the crops."""
        return self._size

    def middles(self, count: int) -> Iterator[Batch]:
        """Crops of the middle of ``count`` scenes or all, evenly spread over those of the data set: rgb
        (3, h, w) and cube (C, h, w)."""
        height, width = self._size
        step = -(-len(self.scenes) // count)
        for rgb, cube in self._pairs[: len(self.scenes) : step]:
            top, left = (rgb.shape[1] - height) // 2, (rgb.shape[2] - width) // 2
            window = (slice(None), slice(top, top + height), slice(left, left + width))
            yield rgb[window], cube[window]

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
            **_about(self.dataset, self.split, self.scenes),
            "held_out": self.held_out,
            "start": self.start,
        }
        if self.init:
            about["init"] = self.init
        if self.freeze:
            about["freeze"] = list(self.freeze)
        if self.extra:
            about["extra"] = [_about(data, split, data.scenes(split)) for data, split in self.extra]
            about["extra_share"] = self.extra_share
        return about

    def _load(self, data: Dataset, split: str, name: str) -> tuple[Tensor, Tensor]:
        scene = data.load(split, name)
        self._require_data(data, split, name, scene.cube)
        # The whole scene is normalised, as the whole image will be when the network is used.
        rgb = normalise(torch.from_numpy(np.ascontiguousarray(scene.rgb))[None], self.spec.input.normalise)
        return rgb[0], torch.from_numpy(np.ascontiguousarray(scene.cube))

    def _require_data(self, data: Dataset, split: str, name: str, cube: np.ndarray) -> None:
        if not data_masks(cube)[1].any():
            raise TrainingError(
                f"The scene {name} of {data.name}/{split} has no pixel with data",
                expected="a pixel whose values in the bands with data are all known",
                got=f"NaN in every one of {cube[0].size} pixels",
                fix="Leave the scene out of the split, or choose other bands",
            )

    def _crop_size(self) -> tuple[int, int]:
        """Crops are as large as the patch and as the smallest scene allow, in whole multiples."""
        multiple = self.spec.input.multiple
        least = max(self.spec.input.min_size, multiple)
        high, wide = (min(rgb.shape[axis] for rgb, _ in self._pairs) for axis in (1, 2))
        height, width = (min(self.recipe.patch, side) // multiple * multiple for side in (high, wide))
        if min(height, width) < least:
            smallest = f"{high} pixels high" if height < least else f"{wide} pixels wide"
            raise TrainingError(
                f"The crops are too small for {self.spec.name}",
                expected=f"at least {least} pixels",
                got=f"patch {self.recipe.patch}, smallest scene {smallest}",
                fix="Raise --patch",
            )
        return height, width

    def _window(self, generator: torch.Generator) -> tuple[int, tuple[slice, slice, slice]]:
        """A scene's place and a window of it that has some data."""
        height, width = self._size
        while True:
            place = self._place(generator)
            rows, columns = self._pairs[place][0].shape[1:]
            top = _below(rows - height + 1, generator)
            left = _below(columns - width + 1, generator)
            window = (slice(None), slice(top, top + height), slice(left, left + width))
            gaps = self._gaps[place]
            if gaps is None or not gaps[window[1:]].all():
                return place, window

    def _place(self, generator: torch.Generator) -> int:
        """A scene: one of the data set, or in ``extra_share`` of the draws of those added to it."""
        own = len(self.scenes)
        if self.extra and float(torch.rand((), generator=generator)) < self.extra_share:
            return own + _below(len(self._pairs) - own, generator)
        return _below(own, generator)

    def _crop(self, generator: torch.Generator) -> tuple[int, Tensor, Tensor]:
        """The place of a scene and a crop of it, rgb and cube."""
        place, window = self._window(generator)
        augment = self.recipe.augment
        axes = [axis for axis in (1, 2) if "flip" in augment and _below(2, generator)]
        turns = _below(4, generator) if "rotate" in augment else 0
        if self._size[0] != self._size[1]:
            turns -= turns % 2  # a quarter turn would not fit the batch

        def view(x: Tensor) -> Tensor:
            return torch.rot90(x[window].flip(axes), turns, dims=(1, 2))

        rgb, cube = self._pairs[place]
        return place, view(rgb), view(cube)

    def _augmented(
        self, place: int, rgb: Tensor, cube: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        if not self._augmenter.names:
            return rgb, cube

        def other() -> Tensor:
            """The cube of a crop of another scene; of the same one where it is the only one."""
            found, window = self._window(generator)
            while found == place and len(self._pairs) > 1:
                found, window = self._window(generator)
            return self._pairs[found][1][window]

        return self._augmenter(rgb, cube, other, generator)


def _place_of(data: Dataset) -> tuple[str, Any]:
    """Where the scenes come from, independent of options: all folders of the user have the same name."""
    return data.name, getattr(data, "folder", None)


def _about(data: Dataset, split: str, scenes: list[str]) -> dict[str, Any]:
    """The entries of a record that describe a data set."""
    return {
        "dataset": data.name,
        "dataset_info": data.record(),
        "split": split,
        "scenes": scenes,
        "fingerprint": data.fingerprint(),
    }


def _below(n: int, generator: torch.Generator) -> int:
    return int(torch.randint(n, (), generator=generator))


def scores(truth: np.ndarray, pred: np.ndarray, context: MetricContext) -> dict[str, float]:
    """RMSE, PSNR (dB), SAM (degrees) and MRAE of (C, H, W) cubes, as the zoo's metrics define them."""
    row = compute(FIGURES, truth, pred, context, check_range=False)
    return {name: row[name] for name in FIGURES}
