"""Steps around the network: what one declares is honoured by tiles, export, contract and identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hsrzoo.contract.checks import Subject, check_export, check_onnx, check_sizes, check_tiles
from hsrzoo.errors import InputError
from hsrzoo.export import ExportError
from hsrzoo.export.graph import trace
from hsrzoo.io.raster import ArrayPixels
from hsrzoo.layers.whole_image import Region
from hsrzoo.models import steps
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.models.steps.base import ImageStep, Needs, View
from hsrzoo.models.tiling.choice import cut_for
from hsrzoo.models.tiling.saved import Saved
from hsrzoo.models.tiling.windows import PaddedImage
from hsrzoo.spec import ModelSpec, RgbInput
from tiled_networks import BANDS, NEED, Chained, Local, model

ROUNDING = 2e-6


def mean_of_7x7(x: Tensor) -> Tensor:
    """The mean over 7 x 7 pixels, those beyond the border not counted."""
    return F.avg_pool2d(x, 7, stride=1, padding=3, count_include_pad=False)


class Gain(ImageStep):
    """Half of a local mean added before the network; not exportable."""

    name = "gain"
    needs = Needs(halo=3, exports=False)

    def identity(self) -> Mapping[str, Any]:
        return {"gain": 0.5}

    def before(self, rgb: Tensor, seen: None) -> Tensor:
        return 0.5 * rgb + 0.5 * mean_of_7x7(rgb)


class Smooth(ImageStep):
    """The cube smoothed and lifted by the image, after the network."""

    name = "smoothing"
    needs = Needs(halo=3)

    def after(self, cube: Tensor, rgb: Tensor, seen: None) -> Tensor:
        return mean_of_7x7(cube) + rgb.to(cube.device).mean(1, keepdim=True)


class Exposure(ImageStep):
    """Divides by the image's greatest value, and multiplies the cube by it."""

    name = "exposure"
    needs = Needs(statistic="brightest")

    looked = 0

    def look(self, image: View) -> float:
        self.looked += 1
        return float(image.window(Region(0, 0, *image.size)).max())

    def before(self, rgb: Tensor, seen: float) -> Tensor:
        return rgb / seen

    def after(self, cube: Tensor, rgb: Tensor, seen: float) -> Tensor:
        assert float(rgb.max()) <= seen  # what the step got, not what it gave
        return cube * seen


class WholeOnly(ImageStep):
    name = "histogram"
    needs = Needs(whole_image=True)


class Doubled(ImageStep):
    """Exportable without layers of its own."""

    name = "doubling"

    def after(self, cube: Tensor, rgb: Tensor, seen: None) -> Tensor:
        return 2 * cube + rgb.mean(1, keepdim=True)


def add(monkeypatch: pytest.MonkeyPatch, *toys: ImageStep) -> None:
    """Put steps before the zoo's own, as one line in the list does."""
    makers = [lambda model, toy=toy: toy for toy in toys]
    monkeypatch.setattr(steps, "STEPS", [*makers, *steps.STEPS])


def image(height: int = 41, width: int = 53) -> np.ndarray:
    return 0.8 * np.random.default_rng(0).random((height, width, 3), dtype=np.float32)


@pytest.mark.parametrize("toys", [[Gain()], [Smooth()], [Smooth(), Gain()], [Gain(), Exposure(), Smooth()]])
@pytest.mark.parametrize("need", [NEED, RgbInput(normalise="minmax-image", multiple=4, min_size=8)])
def test_tiles_give_what_the_whole_image_gives(monkeypatch, toys, need) -> None:
    add(monkeypatch, *toys)
    rgb = image()
    for network in (Local, Chained):
        whole = model(network, need)(rgb).cube
        for tile in (8, 19):
            assert np.abs(model(network, need, tile=tile)(rgb).cube - whole).max() < ROUNDING
    batch = torch.from_numpy(np.stack([rgb, rgb[::-1]])).permute(0, 3, 1, 2)
    both = model(Local, need)(batch).cube
    alone = model(Local, need)(rgb).cube
    np.testing.assert_allclose(both[0].permute(1, 2, 0), alone, atol=ROUNDING)


def test_the_halo_of_tiles_grows_by_that_of_the_steps(monkeypatch) -> None:
    plain = model(Local)
    add(monkeypatch, Gain(), Smooth())
    toy = model(Local)
    assert (plain.halo, toy.halo) == (Local.halo, Local.halo + 6)
    before, after = (cut_for(m, (64, 64), 16).halo for m in (plain, toy))
    assert (before, after) == (8, 12)  # in multiples of 4


def test_the_network_sees_what_the_step_gives_and_the_step_what_came_before_it(monkeypatch) -> None:
    rgb = image()
    plain = model(Local)
    add(monkeypatch, Gain())
    gained = Gain().before(torch.from_numpy(rgb).permute(2, 0, 1)[None], None)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(model(Local)(rgb).cube, plain(gained).cube, atol=ROUNDING)


def test_an_entry_of_the_identity_is_added_and_the_others_stay(monkeypatch) -> None:
    def weighted() -> Reconstructor:
        spec = ModelSpec(name="toy", build="t", summary="s", source="t", input=NEED)
        return Reconstructor(
            Local(),
            spec,
            BANDS,
            name="toy",
            config={"arguments": {}},
            weights_sha256="0" * 64,
            device="cpu",
        )

    decides = {
        "weights_sha256": "0" * 64, "architecture": "toy", "arguments": {}, "input": asdict(NEED),
        "bands": BANDS.to_json(),
    }  # fmt: skip

    def digest(value: dict) -> str:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    assert weighted().identity == digest(decides)
    add(monkeypatch, Gain())
    assert weighted().identity == digest({**decides, "gain": 0.5})


def test_a_step_that_does_not_export_is_named(monkeypatch) -> None:
    add(monkeypatch, Gain())
    with pytest.raises(ExportError, match="toy cannot be exported with its gain"):
        trace(model(Local))


def test_a_step_of_pixels_exports_as_it_is(monkeypatch) -> None:
    add(monkeypatch, Doubled())
    toy = model(Local)
    rgb = np.ascontiguousarray(image(40, 60).transpose(2, 0, 1))
    with torch.no_grad():
        cube = trace(toy).module()(torch.from_numpy(rgb)[None])[0].numpy()
    np.testing.assert_allclose(cube, toy.predict(rgb), atol=1e-5)


def test_the_contract_runs_with_the_step_and_says_what_it_leaves_out(monkeypatch) -> None:
    add(monkeypatch, Gain())
    subject = Subject(ModelSpec(name="toy", build=lambda bands: Pointwise(bands), summary="s", source="t"))
    assert "images work" in check_sizes(subject)
    assert "halo of 3 agree" in check_tiles(subject)
    assert check_export(subject) == "not exported: no graph can hold its gain"
    assert check_onnx(subject) in (
        "not exported: no graph can hold its gain",
        "skipped: onnx, onnxscript, onnxruntime not installed (pip install 'hsrzoo[onnx]')",
    )


class Pointwise(torch.nn.Conv2d):
    halo = 0

    def __init__(self, bands) -> None:
        super().__init__(3, len(bands), 1)


def test_a_statistic_costs_a_pass_and_is_kept_with_an_interrupted_run(monkeypatch, tmp_path) -> None:
    exposure = Exposure()
    add(monkeypatch, exposure)
    toy, rgb = model(Local), image()
    padded = PaddedImage(ArrayPixels(rgb), toy.spec.input)
    grid = cut_for(toy, padded.size, 16)
    assert toy.passes(grid) == 2
    parts: list = []
    works = list(toy.tiles(padded, grid, lambda *part: parts.append(part)))
    assert works[-1].passes == 2 and works[0].seen == {"brightest": float(rgb.max())}
    Saved({}, 16, works[3]).write(tmp_path / "state")
    saved = Saved.read(tmp_path / "state", torch.device("cpu"))
    assert saved is not None and saved.work.seen == works[0].seen
    rest: list = []
    looked = exposure.looked
    *_, last = toy.tiles(padded, grid, lambda *part: rest.append(part), saved.work)
    assert exposure.looked == looked and last.passes == 2
    for (_, _, mine), (_, _, theirs) in zip(rest, parts[4:], strict=True):
        assert torch.equal(mine, theirs)


def test_a_step_that_needs_the_whole_image_refuses_tiles(monkeypatch) -> None:
    add(monkeypatch, WholeOnly())
    assert model(Local, tile=64)(image()).cube.shape == (41, 53, len(BANDS))
    with pytest.raises(InputError, match="Histogram needs the whole image"):
        model(Local, tile=8)(image())
