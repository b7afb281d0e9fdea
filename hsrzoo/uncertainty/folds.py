"""Which models and scenes a calibration uses: the folds of a cross-validation, or a split of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from hsrzoo.datasets.base import Dataset
from hsrzoo.datasets.common import FOLDS
from hsrzoo.errors import InputError, UnknownNameError, WeightsError
from hsrzoo.models.loading import load
from hsrzoo.models.locate import weights_command
from hsrzoo.models.weights import make_config
from hsrzoo.spec import build_module, resolve
from hsrzoo.uncertainty.apply import is_refitted, require_same_camera
from hsrzoo.uncertainty.calibrate import Fold
from hsrzoo.uncertainty.conformal import smallest_count

if TYPE_CHECKING:
    from hsrzoo.models.reconstructor import Reconstructor

PLACE = "{fold}"
"""In a pattern of folders: the number of a fold."""


def training_split(model: Reconstructor, dataset: Dataset) -> str:
    """The split of ``dataset`` that a model was trained on, by its config.json.

    Raises:
        InputError: It was trained on another data set, on images of another camera, or nobody knows.
        BandsError: Its bands are others.
    """
    training: Mapping[str, Any] = model.config.get("training") or {}
    if training.get("dataset") != dataset.name or not training.get("split"):
        raise InputError(
            f"{model.name} is calibrated on the data set that it was trained on",
            expected=training.get("dataset") or "weights whose config.json names their training data",
            got=dataset.name,
        )
    dataset.bands.require_same(model.bands, dataset.name, model.name)
    require_same_camera(model.name, model.config, dataset.info.get("response"))
    return str(training["split"])


def split_fold(model: Reconstructor, dataset: Dataset, split: str) -> list[Fold]:
    """The scenes of a split that ``model`` itself was not trained on."""
    return [Fold(split, lambda: model, (split, training_split(model, dataset)))]


def cross_validation(
    model: Reconstructor, dataset: Dataset, pattern: str | None, folds: Sequence[int] | None
) -> list[Fold]:
    """The folds of the training scenes, each with a model that was trained without it.

    Args:
        model: Was trained on all of them.
        dataset: Has the splits ``fold-0``, ``without-fold-0`` and so on.
        pattern: Folders of weights, ``runs/mcga-s2.fold-{fold}/weights``; None: the model can be fitted in
            seconds, and is, where it was fitted to this data set alone.
        folds: Their numbers; None: all.

    Raises:
        InputError: The pattern has no place for the number, or there must be one; there are no folds.
    """
    if pattern is None and not is_refitted(model.spec, model.config):
        raise InputError(
            f"{model.name} was trained on the scenes of all folds",
            expected="weights trained without each fold, or a split that it has not seen",
            fix=f"Make them ({weights_command(model.spec.name, dataset.name)} --split without-fold-0, and "
            "so on) and give their folders, as in "
            f"--fold-models 'runs/{model.spec.name}.fold-{PLACE}/weights'; "
            "or name a split by --split",
        )
    if pattern is not None and PLACE not in pattern:
        raise InputError(
            "The pattern of folders has no place for the number of a fold",
            expected=f"{PLACE} in it, as in runs/{model.spec.name}.fold-{PLACE}/weights",
            got=repr(pattern),
        )
    try:
        dataset.scenes("fold-0")
    except UnknownNameError:
        raise InputError(
            f"{dataset.name} has no folds: they need {FOLDS} training scenes or more",
            expected="a split that the weights have not seen, of "
            f"{smallest_count(0.9)} scenes or more for 90 %",
            fix="Name it by --split; known: "
            + ", ".join(f"{split} ({len(dataset.scenes(split))})" for split in dataset.splits()),
        ) from None
    found = []
    for fold in range(FOLDS) if folds is None else folds:
        scenes, training = f"fold-{fold}", f"without-fold-{fold}"
        dataset.scenes(scenes)  # an unknown fold is an error before any work
        if pattern is None:
            opened = partial(_refitted, model, dataset, training)
        else:
            folder = pattern.replace(PLACE, str(fold))
            _require_trained(model, dataset, training, folder)
            opened = partial(_trained, model, folder)
        found.append(Fold(scenes, opened, (scenes, training)))
    return found


def pattern_record(pattern: str | None) -> str | None:
    """A pattern of folders as records name it, without the folders above that of the fold."""
    if pattern is None or pattern.startswith("hf-hub:"):
        return pattern
    above, place, below = pattern.partition(PLACE)
    return re.split(r"[/\\:]", above)[-1] + place + below


def _require_trained(model: Reconstructor, dataset: Dataset, training: str, folder: str) -> None:
    """WeightsError with the command that makes them if ``folder`` on this machine does not exist."""
    path = Path(folder)
    if ":" in folder or path.is_dir():
        return
    fix = f"Make them: {weights_command(model.spec.name, dataset.name)} --split {training}"
    if model.spec.fit or path.name == "weights":
        fix += f" --out {quote(str(path if model.spec.fit else path.parent))}"
    raise WeightsError("The folder of weights does not exist", got=folder, fix=fix)


def _trained(model: Reconstructor, folder: str) -> Reconstructor:
    """The weights of a fold; WeightsError unless they are of the architecture of ``model``."""
    found = load(folder if ":" in folder else f"local-dir:{folder}", device=str(model.device))
    if found.spec.name != model.spec.name:
        expected, got = model.spec.name, found.spec.name
        raise WeightsError(f"{found.name} is of another architecture", expected=expected, got=got)
    return found


def _refitted(model: Reconstructor, dataset: Dataset, training: str) -> Reconstructor:
    """The same model, fitted to another split."""
    from hsrzoo.models.reconstructor import Reconstructor  # imports torch

    arguments = model.config["arguments"]
    module = build_module(model.spec, model.bands, arguments)
    if model.spec.fit is not None:
        resolve(model.spec.fit)(module, dataset, training)
    record = {"dataset": dataset.name, "split": training, "scenes": dataset.scenes(training)}
    config = make_config(model.spec, model.bands, arguments=arguments, training=record)
    name = f"{model.spec.name} on {training}"
    return Reconstructor(
        module, model.spec, model.bands, name=name, config=config, device=str(model.device)
    )


__all__ = ["PLACE", "cross_validation", "pattern_record", "split_fold", "training_split"]
