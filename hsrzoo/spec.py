"""The values that plugins declare: models, data sets, metrics, perturbations, recipes.

All are frozen dataclasses. A field that holds code takes either the callable itself or its address
``"package.module:function"``, which is imported when it is first used: so a spec can live in a
module that imports no torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from hsrzoo.bands import BandSet
from hsrzoo.camera import Camera
from hsrzoo.errors import PluginError
from hsrzoo.extras import Extra, Segmentation, attach

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

Code = Callable[..., Any] | str

NORMALISATIONS = ("none", "minmax-image")

Precision = Literal["fp32", "bf16", "fp16"]

Augmentation = Literal["flip", "rotate", "exposure", "relight", "mixture", "mixed-patch", "camera", "noise"]
"""What may be done to a crop in training; all but the first two: :mod:`hsrzoo.training.augment`."""


def resolve(code: Code) -> Callable[..., Any]:
    """The callable behind a field that holds code.

    Args:
        code: A callable, or its address ``"package.module:function"``, which is imported.

    Returns:
        The callable.

    Raises:
        PluginError: The address cannot be imported.
    """
    if not isinstance(code, str):
        return code
    module, _, attribute = code.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise PluginError(
            f"The code {code!r} that a plugin names cannot be imported",
            expected='"package.module:function"',
            got=f"{type(error).__name__}: {error}",
        ) from error


@dataclass(frozen=True)
class RgbInput:
    """What a network expects of its RGB input, (B, 3, H, W) float32 in the order R, G, B."""

    normalise: Literal["none", "minmax-image"] = "none"
    """``none``: values as they are, in [0, 1]. ``minmax-image``: (x - min) / (max - min) per image
    over all pixels and channels, as the MST-plus-plus toolbox does."""
    multiple: int = 1
    """H and W are padded to a multiple of this (reflection at the bottom and right) and cropped
    again by the Reconstructor; 1 for networks that take any size or pad themselves."""
    min_size: int = 1
    """Smallest H and W after padding; smaller images are padded up to it by edge replication."""

    def padded(self, size: int) -> int:
        """The least number of rows or columns, ``size`` or more, that the network takes."""
        return -(-max(size, self.min_size) // self.multiple) * self.multiple

    def to_json(self) -> dict[str, Any]:
        """For config.json and exported files, which also say what all inputs have in common."""
        return {"order": "RGB", "range": [0, 1], **asdict(self)}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run except the data and the network (``hsrzoo train``)."""

    steps: int = 2000
    batch: int = 4
    """Crops in a batch; several processes share them."""
    patch: int = 64
    """Side of the square crops, pixels; smaller scenes are used whole."""
    lr: float = 2.5e-3
    """Peak learning rate."""
    schedule: Literal["one-cycle", "cosine", "constant"] = "one-cycle"
    """``one-cycle``: up and down (Smith 2017); ``cosine``: half a cosine from ``lr`` to ``final_lr``."""
    warmup: float = 0.1
    """Share of the steps before the peak, of ``one-cycle`` alone."""
    final_lr: float = 0.0
    """Learning rate at the end, of ``cosine`` alone."""
    normalise: Literal["spec", "none", "minmax-image"] = "spec"
    """How RGB is normalised, where it is not as the model's own input says."""
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    loss: Literal["charbonnier", "charbonnier+relative", "mrae", "l1", "own"] = "charbonnier+relative"
    """``own``: the task computes its own loss (stage 1). Values without data (NaN) count in none."""
    relative_weight: float = 0.05
    """Weight of mean(|x - y| / max(y, 1/255)) in ``charbonnier+relative``."""
    sam_weight: float = 0.0
    """Weight of the mean spectral angle in radians, added to any loss but ``own``."""
    ema: float = 0.995
    """Decay of the exponential moving average of the weights (0: none)."""
    ema_warmup: bool = True
    """Step k = 0, 1, ... decays by min(``ema``, (1 + k) / (10 + k)): the average of a short run then does
    not hold its first weights. Runs recorded without this field had none."""
    clip: float = 1.0
    """Gradient norm clipping (0: none)."""
    augment: tuple[Augmentation, ...] = ("flip", "rotate")
    augment_share: float = 0.5
    """Share of the crops that the physical augmentations named in ``augment`` change: each of them with
    probability 1/2, at least one. ``flip`` and ``rotate`` act on all crops."""
    seed: int = 0
    holdout: int = 0
    """How many training scenes (the last by name) are kept out for model selection."""
    fold: int = 0
    """Which ``holdout`` scenes those are: 0 the last by name, 1 as many before them, and so on; trials on
    several folds are cross-validation."""
    valid_every: int = 500
    checkpoint_every: int = 200
    precision: Precision = "fp32"
    consistency: bool = False
    """Correct the cube towards the image before the loss, by the camera that rendered the training pairs
    (:mod:`hsrzoo.models.consistency`); the trained network is then always run so."""


@dataclass(frozen=True)
class Official:
    """How the authors' checkpoints of a network are read by ``hsrzoo convert``."""

    normalise: Literal["none", "minmax-image"]
    """The input that these checkpoints were trained on: goes into the converted config.json."""
    containers: tuple[str, ...] = ("state_dict",)
    """Keys under which the file may hold the tensors; without any of them it is the tensors itself."""
    rename: Code | None = None
    """``rename(state: dict[str, Tensor]) -> dict[str, Tensor]``: official names to ours, in order; raises
    FormatError where copies of one tensor differ."""
    by_position: bool = False
    """True if names may differ and only order and shapes count (GMSR's own script loads so)."""
    note: str = ""


@dataclass(frozen=True)
class Start:
    """What a network starts training from, made by ``ModelSpec.start``.

    ``arguments`` are merged into the constructor arguments, ``state`` (name -> tensor) is copied
    into the module (every key must exist, with that shape), ``record`` goes into config.json.
    """

    arguments: Mapping[str, Any]
    state: Mapping[str, Tensor]
    record: Mapping[str, Any]


@dataclass(frozen=True)
class ModelSpec:
    """A model of the zoo: how to build it, what it expects, where it comes from."""

    name: str
    """The architecture's name, lower case with hyphens: ``mcga-s2``."""
    build: Code
    """``build(bands: BandSet, **arguments) -> nn.Module``, whose ``forward`` maps float32
    (B, 3, H, W) to (B, C, H, W), C = len(bands)."""
    summary: str
    """One line: what it is."""
    source: str
    """Paper and code it comes from."""
    licence: str = "none stated"
    """Licence of the original code; the card of pushed weights states it."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Constructor arguments of this variant (a variant is data, not a subclass)."""
    input: RgbInput = RgbInput()
    recipe: Recipe = Recipe()
    default_tag: str | None = None
    """Tag of the bundled weights that the bare name loads."""
    tags: tuple[str, ...] = ()
    """For ``list_models(tag=...)``: "baseline", "floor", "transformer", ..."""
    fit: Code | None = None
    """``fit(module, dataset, split)``: what ``hsrzoo fit`` does, in closed form or by a short training of
    its own. It may return a mapping for the record of the weights. A model without trainable parameters
    can only be fitted; any other is trained by ``hsrzoo train`` too."""
    start: Code | None = None
    """``start(path: Path, bands: BandSet, arguments: Mapping) -> Start``: what ``hsrzoo train --start
    PATH`` starts from (MCGA: codebooks and stage 1's reconstruction)."""
    adapt: Code | None = None
    """``adapt(module, rgb: (1, 3, H, W), **settings) -> cube (1, C, H, W)``: test-time adaptation
    to one image; must leave the module's weights as they were. One that takes ``response`` gets the (3, C)
    of the camera that the network was trained with, None where that is not known."""
    features: Code | None = None
    """``features(module, rgb: (1, 3, H, W)) -> {title: map (H', W')}``: what a figure shows of the inside,
    the channels of a feature averaged."""
    couples_batch: bool = False
    """True if samples of one batch influence each other (then batches are run one by one)."""
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    """Other recipes by name, for ``hsrzoo train --recipe``: ``authors`` is how the authors trained it."""
    official: Official | None = None
    """Present where checkpoints of the authors can be converted."""
    first_weights: tuple[str, ...] = ()
    """Constructor arguments that only choose the weights that training starts from (``pretrained``). They
    are not handed over where saved weights follow, so that loading never fetches anything."""
    use: str = ""
    """When to take this model, in a few words."""
    notes: str = ""
    """What else a user should know, in sentences: differences from the original, traps."""
    extras: Mapping[str, Extra] = field(default_factory=dict)
    """What ``forward`` gets besides RGB, by its keyword: the camera's response, segments of the image (see
    :mod:`hsrzoo.extras`). An argument of that name says how it is made; it is not handed to ``build``."""
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Other constructor arguments for the same weights, loaded as ``ARCH:VARIANT``: another structure
    of the same network, or a cheaper setting whose price the benchmark shows."""


@dataclass(frozen=True)
class Execution:
    """How a network is run. The defaults are exact; what may change a figure is named in every row."""

    precision: Precision = "fp32"
    """``bf16`` and ``fp16``: torch's autocast; code distances and statistics stay in fp32."""
    compile: bool = False
    """Compile with torch.compile; the first call compares with the uncompiled network."""
    tile: int | None = None
    """Side in pixels of square tiles that bound the memory; None: the whole image at once."""
    max_memory: float | None = None
    """Bytes that a prediction may take; chooses the tile."""
    approximate: bool = False
    """Let each tile use statistics of its own instead of the whole image's."""
    consistency: str | None = None
    """The camera that took the images, or "estimate": they are translated to the camera that the network
    was trained with, and cubes corrected towards them; see :mod:`hsrzoo.models.consistency`."""

    def changes(self) -> dict[str, Any]:
        """What differs from the defaults and could change an output, for identities of rows."""
        found: dict[str, Any] = {}
        if self.precision != "fp32":
            found["precision"] = self.precision
        if self.compile:
            found["compile"] = True
        if self.approximate:
            found |= {"approximate": True, "tile": self.tile, "max_memory": self.max_memory}
        if self.consistency is not None:
            found["consistency"] = self.consistency
        return found


@dataclass(frozen=True)
class DatasetSpec:
    """A data set: how to open it, and where to get it."""

    name: str
    open: Code
    """``open(root: Path, **options) -> Dataset``; ``root`` is the data root, not the set's folder.
    Raises DatasetMissingError when it is absent."""
    title: str
    where: str
    """Where to get it and under which terms, one or two sentences."""
    layout: str
    """The folder it must have under the data root, and its content."""
    size: str = ""
    """What to expect: number and size of its scenes, and bytes: measured, or what a public listing says
    ("about"), or computed ("by its shape")."""
    mirrors: tuple[str, ...] = ()
    """Other places that public listings name; nobody checked that their files are the same."""
    protocols: tuple[str, ...] = ("full-frame",)
    """Names of the protocols that make sense, the headline first."""
    mrae_epsilon: float = 1 / 255
    """Floor of the denominator of MRAE; 0 for ARAD-1K, as its challenge does it."""


@dataclass(frozen=True)
class MetricSpec:
    """A metric on one scene.

    ``compute(truth, pred, context) -> dict[str, float]``: float64 contiguous (C, H, W) arrays;
    ``context`` is a :class:`MetricContext`. Keys are column names, the first one the metric's own;
    NaN is a legal value, counts of excluded pixels have keys of their own.
    """

    name: str
    compute: Code
    version: str
    """Raised whenever the number could change; part of every protocol's hash."""
    signature: str
    """The definition in one line."""
    better: Literal["lower", "higher"]
    columns: tuple[str, ...]
    """All keys that ``compute`` returns, the headline first."""
    spatial: bool = False
    """True if it looks at neighbours. Where a scene has pixels without data, such a metric gets the whole
    image and ``context.valid``; any other gets the pixels with data alone, as (C, N, 1)."""
    same_since: Mapping[str, str] = field(default_factory=dict)
    """Earlier version -> a column: where a stored row has 0 there, its value is that of this version."""


@dataclass(frozen=True)
class MetricContext:
    """What a metric may need in addition to the two cubes."""

    bands: BandSet
    mrae_epsilon: float = 1 / 255
    peak: float = 1.0
    valid: np.ndarray | None = None
    """(H, W) bool, True where all bands have data; None: everywhere. Both cubes are 0 elsewhere."""


@dataclass(frozen=True)
class PerturbationSpec:
    """A disturbance of the input (and, where stated, of the truth).

    ``apply(rgb, cube, severity, generator) -> (rgb, cube, info)``: rgb float32 (3, H, W) in [0, 1],
    cube float32 (C, H, W), ``generator`` a numpy Generator seeded by (seed, scene, perturbation,
    severity), ``info`` a dict of measured facts for the row (e.g. the change of the mean).
    """

    name: str
    apply: Code
    severities: Mapping[str, Any]
    """Row name of each severity -> the parameter handed to ``apply``, in table order."""
    default: tuple[str, ...]
    """Severities that ``--bench`` runs."""
    summary: str
    touches_cube: bool = False
    needs_camera: bool = False
    """True if ``apply`` takes a fifth argument, a :class:`PerturbationContext`; scenes whose RGB is a
    photograph, not rendered from the cube, are then left out (DoesNotApplyError)."""
    one_draw: bool = False
    """True if all severities draw the same random numbers for a scene, so that a stronger one goes further
    in the same direction; ``generator`` is then seeded by (seed, scene, perturbation) alone."""


@dataclass(frozen=True)
class PerturbationContext:
    """How the RGB of a scene was made."""

    bands: BandSet
    camera: Camera
    """What rendered it."""
    rgb_bits: int | None = 8

    @property
    def response(self) -> str:
        """The camera's name."""
        return self.camera.name


def build_module(
    spec: ModelSpec, bands: BandSet, arguments: Mapping[str, Any], *, fresh: bool = True
) -> nn.Module:
    """Build the network of a spec.

    Args:
        spec: What to build.
        bands: The C bands of its cubes.
        arguments: Constructor arguments that override the spec's own.
        fresh: False where saved weights will replace the first ones (see ``ModelSpec.first_weights``).

    Returns:
        The network: float32 (B, 3, H, W) to (B, C, H, W).

    Raises:
        PluginError: The constructor returns something else.
    """
    merged = {**spec.arguments, **arguments}
    if not fresh:
        merged = {name: value for name, value in merged.items() if name not in spec.first_weights}
    asked = {name: merged.pop(name, None) for name in spec.extras}
    module = resolve(spec.build)(bands, **merged)
    if not hasattr(module, "state_dict"):
        raise PluginError(
            f"{spec.name} builds no network", expected="a torch.nn.Module", got=type(module).__name__
        )
    if spec.extras:
        attach(module, {name: _supplier(extra, bands, asked[name]) for name, extra in spec.extras.items()})
    return module


def _supplier(extra: Extra, bands: BandSet, asked: Any) -> Callable[[Tensor], Tensor]:
    if isinstance(extra, Segmentation):
        return extra.supplier(resolve(extra.function), asked)
    return extra.supplier(bands, asked)


def settled_extras(spec: ModelSpec, arguments: Mapping[str, Any], camera: Camera | None) -> dict[str, Any]:
    """``arguments`` with how each extra input is made: what config.json must hold. ``camera``: that of the
    training pairs, None where it is not known."""
    found = dict(arguments)
    for name, extra in spec.extras.items():
        if isinstance(extra, Segmentation):
            found[name] = extra.settled(found.get(name))
        else:
            found[name] = extra.settled(found.get(name), camera)
    return found


__all__ = [
    "BandSet",
    "Code",
    "DatasetSpec",
    "Execution",
    "MetricContext",
    "MetricSpec",
    "ModelSpec",
    "Official",
    "PerturbationContext",
    "PerturbationSpec",
    "Recipe",
    "RgbInput",
    "Start",
    "build_module",
    "resolve",
    "settled_extras",
]
