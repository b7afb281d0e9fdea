"""What every model of the zoo must do, as plain functions: the contract.

Each check takes a :class:`Subject`, returns one sentence on what it saw, and raises
:class:`ContractError` with the first thing that is wrong. ``hsrzoo check NAME`` runs them all, and so
does every model's test. Networks get random weights; closed-form models are fitted to two small
synthetic scenes first.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.contract.subject import (
    ContractError,
    Subject,
    attributes,
    fixed_seed,
    require,
    require_close,
    require_equal,
    require_finite,
    require_unchanged,
    state,
)
from hsrzoo.datasets.synthetic import Synthetic
from hsrzoo.errors import HsrzooError, text_of
from hsrzoo.extras import Segmentation
from hsrzoo.models.names import parse_name
from hsrzoo.models.onnx_runtime import OnnxModel
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.models.tiling.seams import compare, nan_reach
from hsrzoo.models.weights import load_module, read_config, save_folder
from hsrzoo.spec import ModelSpec
from hsrzoo.utils.files import TENSORS

OTHER_BANDS = (BandSet.of((650.0, 550.0, 450.0, 560.0)), BandSet.regular(400, 2400, 50))
"""Besides 31: four that are not sorted, and 41 that reach beyond the visible."""
ODD_SIZES = ((7, 13), (1, 1))
"""H x W that no network is built for; the Reconstructor must make them fit."""
TOLERANCE = 1e-4
"""Relative norm of the difference that rounding may make."""
SANE = 1e3
"""Largest absolute value that random weights may give; trained cubes lie in about [0, 1]."""
EXPORTED = 1e-3
"""Relative norm of the difference of an exported network: rounding may flip a nearest code."""
DRAWS = 3
"""Of random weights for gradients: a gate of few channels may be shut for one draw."""
ONNX = ("onnx", "onnxscript", "onnxruntime")
"""Packages of the extra ``onnx``."""


def check_spec(subject: Subject) -> str:
    """The spec says what it is, and builds."""
    spec = subject.spec
    name = parse_name(spec.name)
    what = "The spec's name is not that of an architecture"
    expected = "lower case letters, digits and hyphens"
    require(name.kind == "zoo" and name.tag is None, what, expected, repr(spec.name))
    for field in ("summary", "source", "licence"):
        require(bool(getattr(spec, field).strip()), f"The spec's {field} is empty", "one line", "nothing")
    count = sum(p.numel() for p in subject.module.parameters())
    return f"{spec.name} builds, {count:,} parameters"


def check_shape(subject: Subject) -> str:
    """(B, 3, H, W) becomes (B, C, H, W)."""
    rgb = subject.rgb(2)
    cube = subject.forward(rgb)
    expected = (2, len(VISIBLE_31), *rgb.shape[-2:])
    require_equal("The cube has the wrong shape", expected, tuple(cube.shape))
    return f"{_size(rgb)} becomes {_size(cube)}"


def check_dtype(subject: Subject) -> str:
    """float32 becomes float32, also in mixed precision up to bfloat16."""
    rgb = subject.rgb(1)
    cube = subject.forward(rgb)
    require_equal("The cube has the wrong dtype", torch.float32, cube.dtype)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            mixed = subject.forward(rgb)
    except RuntimeError as error:
        expected = 'a cube under torch.autocast("cpu", torch.bfloat16)'
        raise ContractError("Mixed precision fails", expected=expected, got=text_of(error)) from error
    require_equal("The cube of mixed precision has the wrong shape", tuple(cube.shape), tuple(mixed.shape))
    require_finite(mixed.float(), "The cube of mixed precision")
    return "float32 becomes float32; mixed precision works"


def check_range(subject: Subject) -> str:
    """Images of one value and random ones give finite cubes of sane magnitude."""
    noise = subject.rgb(1)
    images = {
        "a black image": torch.zeros_like(noise),
        "a mid-grey image": torch.full_like(noise, 0.5),
        "a white image": torch.ones_like(noise),
        "random pixels": noise,
    }
    largest = 0.0
    for what, rgb in images.items():
        cube = subject.forward(rgb)
        require_finite(cube, f"The cube of {what}")
        here = cube.abs().max().item()
        expected = f"values up to {SANE:g}"
        require(here <= SANE, f"The cube of {what} is out of range", expected, f"{here:.3g}")
        largest = max(largest, here)
    return f"black, grey, white and random images give finite cubes, largest value {largest:.3g}"


def check_bands(subject: Subject) -> str:
    """Any band count, sorted or not."""
    rgb = subject.rgb(1)
    for bands in OTHER_BANDS:
        try:
            channels = subject.forward(rgb, subject.build(bands)).shape[1]
        except HsrzooError:
            raise
        except Exception as error:
            problem = f"The network cannot be built and run for {bands}"
            raise ContractError(problem, got=f"{type(error).__name__}: {error}") from error
        require_equal(f"The cube for {bands} has the wrong depth", len(bands), int(channels))
    return f"also runs with {' and '.join(str(len(b)) for b in OTHER_BANDS)} bands"


def check_sizes(subject: Subject) -> str:
    """Images of any size, down to one pixel, through the Reconstructor."""
    model = subject.reconstructor()
    for height, width in ODD_SIZES:
        rgb = np.random.default_rng(3).random((height, width, 3), dtype=np.float32)
        try:
            cube = np.asarray(model(rgb).cube)
        except Exception as error:
            raise ContractError(
                f"An image of {height} x {width} pixels fails",
                got=f"{type(error).__name__}: {error}",
                fix="Declare what the network needs in RgbInput(multiple=..., min_size=...)",
            ) from error
        what = f"The cube of a {height} x {width} image"
        require_equal(f"{what} has the wrong shape", (height, width, len(VISIBLE_31)), cube.shape)
        require_finite(torch.from_numpy(cube), what)
    return f"{' and '.join(f'{h} x {w}' for h, w in ODD_SIZES)} images work"


def check_batch(subject: Subject) -> str:
    """An image's cube does not depend on the others in its batch."""
    rgb, coupled = subject.rgb(3), subject.spec.couples_batch
    together = torch.as_tensor(subject.reconstructor()(rgb).cube) if coupled else subject.forward(rgb)
    for one, cube in zip(rgb.split(1), together.split(1), strict=True):
        what = "An image's cube depends on the others in its batch"
        fix = "If that is meant, declare couples_batch=True"
        require_close(subject.forward(one), cube, what, TOLERANCE, fix)
    return f"images of a batch are {'run one by one, as declared' if coupled else 'independent'}"


def check_determinism(subject: Subject) -> str:
    """An image gives the same bits regardless of earlier images; a pass changes and keeps nothing."""
    module, rgb, other = subject.module, subject.rgb(1), subject.rgb(1, (48, 80))
    given, before = rgb.clone(), state(module)
    first = subject.forward(rgb)
    same = torch.equal(rgb, given)
    require(same, "The forward pass changes its input", "the image as it was", "another")
    require_unchanged(before, module, "The forward pass changes the weights")
    second = subject.forward(rgb)
    # Twice there and back: what is kept for a size is there after the first time.
    kept, last = [], second
    for _ in range(2):
        subject.forward(other)
        last = subject.forward(rgb)
        kept.append(attributes(module))
    grown = next((name for name, value in kept[1].items() if kept[0].get(name) != value), None)
    nothing = "A network must keep nothing from one image to the next"
    expected = "the same attributes after the same images"
    require(grown is None, "The network keeps state between calls", expected, f"{grown}, changed", nothing)
    require_close(first, second, "Two passes over one image differ", 0, nothing)
    require_close(first, last, "The cube of an image depends on the images before it", 0, nothing)
    return "an image gives the same bits each time, and nothing is changed or kept"


def check_save_and_load(subject: Subject) -> str:
    """Saved and loaded, the model gives the same cube; saved twice, the same bytes."""
    with tempfile.TemporaryDirectory() as root:
        folders = [Path(root, "first"), Path(root, "second")]
        for folder in folders:
            save_folder(folder, subject.module, subject.spec, VISIBLE_31, arguments={}, training={})
        with fixed_seed(1):  # what the file does not hold must not agree by chance
            loaded, _ = load_module(folders[0], subject.spec, read_config(folders[0]))
        same_bytes = len({(folder / TENSORS).read_bytes() for folder in folders}) == 1
    require(same_bytes, "Saved twice, the weights differ", "the same bytes", "other bytes")
    rgb = subject.rgb(1)
    what = "Saved and loaded, the network gives another cube"
    fix = "All that decides the output must be a parameter, a buffer or a constructor argument"
    require_close(subject.forward(rgb), subject.forward(rgb, loaded), what, 0, fix)
    return "saved and loaded, it gives the same cube to the bit"


def check_gradient(subject: Subject) -> str:
    """Every trainable parameter receives a finite gradient that is not all zero."""
    module = subject.build(VISIBLE_31)
    trainable = [name for name, p in module.named_parameters() if p.requires_grad]
    if subject.spec.fit is not None and not trainable:
        return "fitted in closed form, nothing to train"
    require(bool(trainable), "The network has nothing to train", "parameters with a gradient", "none")
    unreached = trainable
    for seed in range(DRAWS):
        reached = _reached_by_gradient(subject, seed)
        unreached = [name for name in unreached if name not in reached]
        if not unreached:
            return f"a gradient reaches all {len(trainable)} trainable tensors"
    everywhere = "a gradient in every trainable parameter"
    raise ContractError(f"No gradient reaches {unreached[0]}", expected=everywhere, got="none")


def _reached_by_gradient(subject: Subject, seed: int) -> set[str]:
    """Trainable parameters with a gradient that is not all zero, for random weights and a random loss."""
    module = subject.build(VISIBLE_31, seed).train()
    trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
    with fixed_seed(seed):
        # A layer that starts at zero hides all before it from the gradient: move off that start.
        for p in trainable.values():
            p.data.add_(torch.randn_like(p), alpha=0.02)
        cube = module(subject.rgb(2))
        (cube * torch.randn_like(cube)).sum().backward()
    found = {name: p.grad for name, p in trainable.items() if p.grad is not None}
    for name, gradient in found.items():
        require_finite(gradient, f"The gradient of {name}")
    return {name for name, gradient in found.items() if gradient.any()}


def check_export(subject: Subject) -> str:
    """Traced by torch.export with height and width left free, it gives the same cube at another size."""
    from hsrzoo.export.graph import trace  # imports more than the other checks need

    model, need = subject.reconstructor(), subject.spec.input
    if left_out := _steps_not_exported(model):
        return left_out
    program = trace(model).module()
    rgb = subject.rgb(1, (max(40, 3 * need.multiple), max(56, 4 * need.multiple)))
    with torch.inference_mode():
        cube = program(rgb)
    what = "The torch.export program gives another cube than the network"
    gap = require_close(_predict(model, rgb[0].numpy()), cube, what, EXPORTED)
    return f"traced by torch.export, it gives the same cube at another size (relative difference {gap:.1g})"


def check_onnx(subject: Subject) -> str:
    """As an ONNX file it gives the same cube, of an odd size too."""
    absent = [name for name in ONNX if find_spec(name) is None]
    if absent:
        return f"skipped: {', '.join(absent)} not installed (pip install 'hsrzoo[onnx]')"
    from hsrzoo.export import export_onnx
    from hsrzoo.export.check import example

    model, rgb = subject.reconstructor(), example(37, 51)
    if left_out := _steps_not_exported(model):
        return left_out
    with tempfile.TemporaryDirectory() as folder:
        exported, _ = export_onnx(model, Path(folder, "network.onnx"))
        cube = _predict(exported, rgb)
    what = "The ONNX file gives another cube than the network"
    gap = require_close(_predict(model, rgb), cube, what, EXPORTED)
    return f"as an ONNX file it gives the same cube (relative difference {gap:.1g})"


def _predict(model: Reconstructor | OnnxModel, rgb: np.ndarray) -> Tensor:
    """(1, C, H, W) of (3, H, W)."""
    return torch.from_numpy(model.predict(rgb))[None]


def _steps_not_exported(model: Reconstructor) -> str:
    """A sentence on the steps that no exported graph can hold; empty without such steps."""
    names = [step.name for step in model.steps if not step.needs.exports]
    names += [name for name, extra in model.spec.extras.items() if isinstance(extra, Segmentation)]
    return f"not exported: no graph can hold its {' and '.join(names)}" if names else ""


def check_fit(subject: Subject) -> str:
    """A model with a fit predicts what it was fitted to better than zeros do."""
    if subject.spec.fit is None:
        return "trained by gradient descent, nothing to fit"
    scene, module = Synthetic(VISIBLE_31).load("train", "a"), subject.build(VISIBLE_31)
    model = subject.reconstructor(subject.fit(module, VISIBLE_31))
    error = float(np.abs(model.predict(scene.rgb) - scene.cube).mean())
    nothing = float(np.abs(scene.cube).mean())
    expected = f"a mean error below {nothing:.3f}"
    require(error < nothing, "The fit has learned nothing", expected, f"{error:.3f}")
    return f"fitted to synthetic scenes, mean error {error:.3f} (of {nothing:.3f})"


def check_adaptation(subject: Subject) -> str:
    """Test-time adaptation gives a cube and leaves the weights to the bit as they were."""
    if subject.spec.adapt is None:
        return "no test-time adaptation"
    before = state(subject.module)
    rgb = subject.rgb(1)[0].numpy()
    cube = subject.reconstructor().predict(rgb, tta=True)
    require_finite(torch.from_numpy(cube), "The adapted cube")
    require_unchanged(before, subject.module, "Adaptation changes the weights for good")
    return "adapts to an image and leaves the weights as they were"


def check_tiles(subject: Subject) -> str:
    """A network that declares ``halo`` gives the same cube in tiles as whole."""
    model, need = subject.reconstructor(), subject.spec.input
    halo = model.halo
    if halo is None:
        reach = nan_reach(subject.module, need)
        hint = "" if reach is None else f" (measured: a pixel reaches {reach} around it)"
        return f"not tileable: declares no halo{hint}"
    step = math.lcm(need.multiple, getattr(subject.module, "tile_step", 1))
    # longer than the halo, so that no window sees the whole image
    tile = -(-max(halo + 1, 16, need.min_size) // step) * step
    text = ""
    for size in ((15, 2 * tile - 1), (2 * tile - 1, 15)):
        rgb = np.random.default_rng(5).random((*size, 3), dtype=np.float32)
        seams = compare(model, rgb, tile)
        what = f"In tiles the cube of {size[0]} x {size[1]} pixels is another one"
        expected = f"a relative difference of at most {TOLERANCE:g}"
        got = f"{seams.relative:.2g} (largest {seams.largest:.2g})"
        fix = "Declare a larger halo, and ask for what depends on all pixels by hsrzoo.layers.whole_image"
        require(seams.relative <= TOLERANCE, what, expected, got, fix)
        passes = f"{seams.passes} pass{'es' * (seams.passes != 1)}"
        text = f"tiles with a halo of {seams.grid.halo} agree with the whole image, {passes}"
    return text


_IN_ORDER = (
    check_spec, check_shape, check_dtype, check_range, check_bands, check_sizes, check_batch,
    check_determinism, check_save_and_load, check_tiles, check_gradient, check_fit, check_adaptation,
    check_export, check_onnx,
)  # fmt: skip
CHECKS = {check.__name__.removeprefix("check_").replace("_", "-"): check for check in _IN_ORDER}
"""All checks by name, in the order in which they are worth reading."""


@dataclass(frozen=True)
class Result:
    """How one check ended: ``text`` is what it saw, or what is wrong."""

    check: str
    passed: bool
    text: str
    error: Exception | None = None


def run_all(spec: ModelSpec) -> Iterator[Result]:
    """Run every check. A model that fails the first one cannot be built: the others are left out."""
    subject = Subject(spec)
    for name, check in CHECKS.items():
        try:
            yield Result(name, True, check(subject))
        except Exception as error:  # a model under test may raise anything
            yield Result(name, False, text_of(error), error)
            if check is check_spec:
                return


def _size(x: Tensor) -> str:
    return " x ".join(str(n) for n in x.shape)


__all__ = ["CHECKS", "ContractError", "Result", "Subject", "run_all"]
