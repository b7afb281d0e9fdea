"""``hsrzoo.load`` and ``hsrzoo.list_models``: from a name to a model that runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.camera import Camera
from hsrzoo.errors import InputError, UnknownNameError, unknown_name
from hsrzoo.hub.ids import is_requirement
from hsrzoo.models import locate
from hsrzoo.models import weights as weight_files
from hsrzoo.models.metadata import (
    ESTIMATE,
    camera_identity,
    identity_of,
    input_identity,
    network_identity,
    own_consistency,
)
from hsrzoo.models.names import ModelName, parse_name, path_hint
from hsrzoo.models.parts import require_intact
from hsrzoo.registry import MODELS
from hsrzoo.spec import Execution, ModelSpec, RgbInput, build_module
from hsrzoo.zoo import read_zoo, recommended

if TYPE_CHECKING:
    from hsrzoo.models.reconstructor import Reconstructor


def load(
    name: str | None = None,
    *,
    weights: Literal["auto"] | None = "auto",
    bands: BandSet | None = None,
    device: str | None = None,
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32",
    compile: bool = False,
    tile: int | None = None,
    max_memory: float | None = None,
    approximate: bool = False,
    consistency: str | None = None,
) -> Reconstructor:
    """Load a model by its name.

    Args:
        name: ``arch`` (its default weights) or ``arch.tag``, ``local-dir:PATH`` or
            ``hf-hub:ORG/REPO[@REVISION]``, all of these also with ``:variant`` (the same weights, run in
            another way), or ``onnx:FILE`` (written by ``hsrzoo export``; needs no torch). The loaded
            model's name keeps the commit of a repository on the Hub. None: the model that
            ``hsrzoo.recommended()`` names for photographs.
        weights: "auto" loads trained weights strictly and fails without them; None builds random ones.
        bands: The bands that cubes must have. Trained weights are only compared with them; random ones are
            built for them (by default 400-700 nm at 10 nm).
        device: A torch device; by default the GPU if there is one, else the CPU.
        precision: See :class:`hsrzoo.spec.Execution`, also for the arguments that follow. "auto" is bf16
            where the device has instructions for it, else fp32.
        compile: Compile the network.
        tile: Side of square tiles in pixels.
        max_memory: Bytes that a prediction may take.
        approximate: Let tiles have statistics of their own.
        consistency: Name of the camera that took the images, or "estimate".

    Returns:
        The model; call it with an image.

    Raises:
        UnknownNameError: No such model, variant or camera.
        WeightsError: There are no trained weights, or they are damaged.
        HubError: They cannot be fetched.
        BandsError: The weights have other bands.
        InputError: A device, tile or memory limit that cannot be used.
    """
    parsed = parse_name(recommended() if name is None else name)
    if weights not in ("auto", None):
        raise InputError("Unknown choice of weights", expected='"auto" or None', got=repr(weights))
    if precision == "auto":
        precision = "fp32" if parsed.kind == "onnx" else _fastest_precision(device)
    execution = Execution(precision, compile, tile, max_memory, approximate, consistency)
    if weights is None:
        return _random(parsed, bands or VISIBLE_31, device, execution)
    if parsed.kind == "onnx":
        return _exported(parsed, bands, device, execution)
    if parsed.kind == "zoo":
        spec = spec_of(parsed)
        parsed = with_tag(parsed, spec)
    parsed, folder, config = _find(parsed)
    if parsed.kind != "zoo":
        spec = spec_of_config(config, str(parsed))
        _require_variant(spec, parsed.variant)
    if parsed.variant:
        config = {**config, "arguments": {**config["arguments"], **spec.variants[parsed.variant]}}
    own = BandSet.from_json(config["bands"])
    if bands is not None:
        own.require_same(
            bands,
            str(parsed),
            "the bands asked for",
            fix="Leave bands out and resample the result, or load weights trained on these bands",
        )
    module, sha = weight_files.load_module(folder, spec, config)
    spec = replace(spec, input=weight_files.input_of(config, folder))

    from hsrzoo.models.reconstructor import Reconstructor  # imports torch

    return Reconstructor(
        module,
        spec,
        own,
        name=str(parsed),
        config=config,
        weights_sha256=sha,
        device=device,
        execution=execution,
        folder=folder,
    )


def _fastest_precision(device: str | None) -> Literal["fp32", "bf16"]:
    from hsrzoo.utils.devices import has_bf16, torch_device  # imports torch

    return "bf16" if has_bf16(torch_device(device)) else "fp32"


@dataclass(frozen=True)
class Described:
    """What :func:`load` would load, as far as files of JSON say it: neither torch nor the network's module
    is imported."""

    name: str
    config: Mapping[str, Any]
    bands: BandSet
    input: RgbInput
    execution: Execution

    @property
    def weights_sha256(self) -> str:
        """Of the file of weights, which is compared when it is loaded."""
        return str(self.config["weights_sha256"])

    @property
    def own_consistency(self) -> str | None:
        """As :attr:`.Reconstructor.own_consistency`."""
        return own_consistency(self.config)

    @property
    def identity(self) -> str:
        """As :attr:`.Reconstructor.identity` of the loaded model."""
        architecture, arguments = self.config["architecture"], self.config["arguments"]
        asked, own = self.execution.consistency, self.own_consistency
        camera = own if asked in (None, own) else asked
        if camera not in (None, own, ESTIMATE):
            camera = Camera.named(str(camera)).name
        decides = {
            "weights_sha256": self.weights_sha256,
            **input_identity(self.input),
            **network_identity(architecture, arguments, self.bands, self.execution),
            **(camera_identity(camera) if camera is not None else {}),
        }
        return identity_of(decides)

    @cached_property
    def spec(self) -> ModelSpec:
        """The architecture, with the input that these weights expect; imports the network's module."""
        return replace(spec_of_config(self.config, self.name), input=self.input)


def describe(name: str, execution: Execution) -> Described:
    """What ``load(name)`` would load with ``execution``, for a name of trained weights in safetensors.
    Raises as :func:`load` does, but of what only the network or the file of weights shows."""
    parsed = parse_name(name)
    if parsed.kind == "zoo" and parsed.tag is None:
        tag = default_tag(parsed)
        parsed = replace(parsed, tag=tag) if tag else with_tag(parsed, spec_of(parsed))
    parsed, folder, config = _find(parsed)
    require_intact(folder, config)
    if parsed.variant:
        spec = spec_of_config(config, str(parsed))
        _require_variant(spec, parsed.variant)
        config = {**config, "arguments": {**config["arguments"], **spec.variants[parsed.variant]}}
    bands, wanted = BandSet.from_json(config["bands"]), weight_files.input_of(config, folder)
    return Described(str(parsed), config, bands, wanted, execution)


def _find(name: ModelName) -> tuple[ModelName, Path, dict[str, Any]]:
    """A name of trained weights with what it is resolved to, their folder and its config.json."""
    found, folder = locate.find_weights(replace(name, variant=None))
    return replace(found, variant=name.variant), folder, weight_files.read_config(folder)


def default_tag(name: ModelName) -> str | None:
    """Tag of the default weights of an architecture. UnknownNameError, PluginError."""
    arch = str(name.arch)
    known = read_zoo().networks.get(arch) if arch in MODELS else None
    return known["default"] if known else spec_of(name).default_tag


def spec_of(name: ModelName) -> ModelSpec:
    """The architecture of a zoo name; UnknownNameError also for a variant that it does not have."""
    arch = str(name.arch)
    if arch not in MODELS and (hint := path_hint(name)):
        raise UnknownNameError(f"There is no model named {arch!r}", fix=hint)
    spec = MODELS.get(arch)
    _require_variant(spec, name.variant)
    return spec


def with_tag(name: ModelName, spec: ModelSpec) -> ModelName:
    """A zoo name with the tag of its weights: the default one where it has none. WeightsError if ``spec``
    has no default."""
    if name.tag is not None:
        return name
    if spec.default_tag is None:
        raise locate.no_weights(name)
    return replace(name, tag=spec.default_tag)


def spec_of_config(config: Mapping[str, Any], where: str) -> ModelSpec:
    """The architecture that a config.json names; UnknownNameError says who defines it where no installed
    package does. ``where``: the weights, for the message."""
    name = config["architecture"]
    if name in MODELS:
        return MODELS.get(name)
    requires = str(config.get("requires"))
    if not is_requirement(requires):
        fix = "Install the package that defines it, or load its file with `hsrzoo --plugin FILE`"
    elif requires.startswith("--plugin"):
        file = requires.partition(" ")[2]
        fix = (
            f"Its plugin is the file {file}: get it from the authors, and run `hsrzoo --plugin {file} ...`"
        )
    else:
        fix = f"It comes with a package: {requires}"
    raise UnknownNameError(
        f"{where} needs the architecture {name!r}, which neither hsrzoo nor an installed plugin defines",
        fix=f"{fix}. Plugins are programs: take them from authors whom you trust",
    )


def _require_variant(spec: ModelSpec, variant: str | None) -> None:
    if variant is not None and variant not in spec.variants:
        raise unknown_name(f"variant of {spec.name}", variant, spec.variants)


def _random(name: ModelName, bands: BandSet, device: str | None, execution: Execution) -> Reconstructor:
    from hsrzoo.models.reconstructor import Reconstructor  # imports torch

    if name.kind != "zoo" or name.tag is not None:
        raise InputError(
            f"{name} names trained weights, and weights=None asks for random ones",
            fix="Give the architecture's name alone, or leave weights out",
        )
    spec = spec_of(name)
    arguments = spec.variants[name.variant] if name.variant else {}
    module = build_module(spec, bands, arguments)
    config = weight_files.make_config(spec, bands, arguments=arguments, training={"weights": "random"})
    return Reconstructor(
        module, spec, bands, name=str(name), config=config, device=device, execution=execution
    )


def _exported(
    name: ModelName, bands: BandSet | None, device: str | None, execution: Execution
) -> Reconstructor:
    """An exported file: it offers what a Reconstructor does for images, without torch."""
    from hsrzoo.models.onnx_runtime import OnnxModel  # imports onnxruntime when it opens a file

    if execution != Execution():
        raise InputError(
            f"{name} is run as it was exported",
            expected="no precision, compile, tile, max_memory or consistency",
            fix="Choose the precision with `hsrzoo export --precision`",
        )
    model = OnnxModel(str(name.path), name=str(name), device=device)
    if bands is not None:
        model.bands.require_same(bands, str(name), "the bands asked for", fix="Leave bands out")
    return cast("Reconstructor", model)


def list_models(pattern: str | None = None, tag: str | None = None, pretrained: bool = False) -> list[str]:
    """List the zoo's models.

    Args:
        pattern: A shell pattern that names must match (``mcga-*``).
        tag: Only architectures with this tag ("baseline", "floor") or weights of this name ("cave").
            Without it no plugin is imported.
        pretrained: List bundled weights as ARCH.TAG instead of architectures.

    Returns:
        Their names, sorted.
    """
    names = locate.bundled() if pretrained else MODELS.names()
    if pattern is not None:
        names = [name for name in names if fnmatchcase(name, pattern)]
    if tag is not None:
        declared = {arch for arch, spec in MODELS.working() if tag in spec.tags}
        names = [name for name in names if _carries(name, tag, declared)]
    return names


def _carries(name: str, tag: str, declared: set[str]) -> bool:
    arch, _, weights_tag = name.partition(".")
    return arch in declared or (tag == weights_tag if weights_tag else tag in locate.tags_of(arch))
