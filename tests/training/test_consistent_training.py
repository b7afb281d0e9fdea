"""Networks that are trained to agree with their images: the loss, the record, and how they run later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import hsrzoo
from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.camera import Camera
from hsrzoo.colour.spectra import bundled_spectra
from hsrzoo.datasets.synthetic import Synthetic
from hsrzoo.errors import BandsError, InputError, TrainingError
from hsrzoo.export.graph import ExportError, trace
from hsrzoo.models.consistency import Consistency, Correction
from hsrzoo.models.weights import save_folder
from hsrzoo.registry import MODELS
from hsrzoo.spec import Recipe, RgbInput
from hsrzoo.training.losses import loss_function
from hsrzoo.training.pairs import PairTask

CAMERA = "nikon-d5100"
NIKON = Camera.named(CAMERA).matrix(VISIBLE_31)
NETWORK = "linear"


def rendered(bands: BandSet = VISIBLE_31, response: str | None = CAMERA) -> Synthetic:
    """The made-up scenes, said to be rendered by ``response``."""
    data = Synthetic(bands)
    data.info = {"response": response} if response else {}
    return data


def task_of(data: Synthetic, **fields) -> PairTask:
    spec = replace(MODELS.get("linear"), input=RgbInput())
    module = nn.Conv2d(3, len(data.bands), 1)
    return PairTask(spec, module, data, Recipe(batch=2, patch=8, consistency=True, **fields))


def test_the_layer_does_what_the_correction_of_images_does_but_for_cutting_at_zero() -> None:
    consistency = Consistency(NIKON, bundled_spectra().covariance, VISIBLE_31)
    draw = torch.Generator().manual_seed(0)
    cube = torch.rand(2, 31, 12, 9, generator=draw)
    rgb = (torch.rand(2, 3, 12, 9, generator=draw) * 1.3).clamp(max=1)  # all sets of clipped channels
    got = Correction(consistency)(cube, rgb)
    assert got.min() < 0
    torch.testing.assert_close(got.clamp(min=0), consistency(cube, rgb), rtol=1e-5, atol=2e-6)


def test_the_loss_is_that_of_the_corrected_cube_and_reaches_the_weights() -> None:
    task = task_of(rendered())
    task.prepare()
    rgb, cube = task.draw(torch.Generator().manual_seed(1))
    loss, _ = task.loss((rgb, cube))
    consistency = Consistency(NIKON, bundled_spectra().covariance, VISIBLE_31)
    corrected = Correction(consistency)(task.module(rgb), rgb)
    assert loss.item() == pytest.approx(loss_function(task.recipe)(corrected, cube).item(), rel=1e-5)
    loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in task.module.parameters())


@pytest.mark.parametrize(
    ("fields", "told"), [({"loss": "own"}, "loss"), ({"augment": ("camera",)}, "augment=camera")]
)
def test_recipes_that_consistency_contradicts_are_refused(fields, told) -> None:
    with pytest.raises(TrainingError, match=told):
        task_of(rendered(), **fields)


def test_images_of_no_camera_and_bands_without_a_covariance_are_refused() -> None:
    with pytest.raises(InputError, match="not rendered by a known camera"):
        task_of(rendered(response=None))
    with pytest.raises(BandsError):
        task_of(rendered(BandSet.regular(400, 700, 75)))


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[bool], str]:
    """Weights of a network as training leaves them, with consistency or without."""

    def write(consistency: bool) -> str:
        spec = MODELS.get(NETWORK)
        torch.manual_seed(0)
        module = hsrzoo.load(NETWORK, weights=None).module
        training = {"dataset_info": {"response": CAMERA}, "recipe": {"consistency": consistency}}
        save_folder(tmp_path / str(consistency), module, spec, VISIBLE_31, arguments={}, training=training)
        return f"local-dir:{tmp_path / str(consistency)}"

    return write


def test_weights_trained_with_consistency_run_with_it_and_are_another_model(folder) -> None:
    rgb = np.random.default_rng(0).random((3, 16, 24), dtype=np.float32)
    own, plain = hsrzoo.load(folder(True)), hsrzoo.load(folder(False))
    asked = hsrzoo.load(folder(False), consistency=CAMERA)
    assert own.own_consistency == CAMERA and plain.own_consistency is None
    assert own.steps[0].needs.exports and not asked.steps[0].needs.exports
    trace(own)
    with pytest.raises(ExportError, match="camera consistency"):  # which a graph has for the first alone
        trace(asked)
    assert np.array_equal(own.predict(rgb), asked.predict(rgb))
    assert not np.allclose(own.predict(rgb), plain.predict(rgb))
    assert own.identity != plain.identity
    tiled = hsrzoo.load(folder(True), tile=8)
    np.testing.assert_allclose(tiled.predict(rgb), own.predict(rgb), atol=2e-5)


def test_an_exported_graph_corrects_too(folder, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from hsrzoo.export.graph import to_onnx
    from hsrzoo.utils.files import write_atomically

    model = hsrzoo.load(folder(True))
    write_atomically(tmp_path / "m.onnx", to_onnx(model).SerializeToString())
    exported = hsrzoo.load(f"onnx:{tmp_path / 'm.onnx'}")
    rgb = np.random.default_rng(0).random((3, 16, 24), dtype=np.float32)
    np.testing.assert_allclose(exported.predict(rgb), model.predict(rgb), atol=2e-5)
