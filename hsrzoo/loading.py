"""``hsrzoo.load`` and ``hsrzoo.list_models``: from a name to a model that runs."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

from hsrzoo import weights as weight_files
from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.errors import InputError
from hsrzoo.names import parse_name
from hsrzoo.registries import MODELS
from hsrzoo.spec import build_module

if TYPE_CHECKING:
    from hsrzoo.reconstructor import Reconstructor


def load(
    name: str,
    *,
    weights: Literal["auto"] | None = "auto",
    bands: BandSet | None = None,
    device: str | None = None,
) -> Reconstructor:
    """The model called ``name``, ready to run.

    ``name``: ``arch`` (its default weights), ``arch.tag`` or ``local-dir:PATH``.
    ``weights="auto"`` loads trained weights strictly and fails without them; ``weights=None`` builds
    random ones. ``bands``: what the cube must have; with trained weights it is only compared, with
    random ones it is built for them (400-700 nm at 10 nm if not given). ``device``: a torch device,
    by default the GPU if there is one. Raises UnknownNameError, WeightsError, BandsError.
    """
    parsed = parse_name(name)
    if weights not in ("auto", None):
        raise InputError("Unknown choice of weights", expected='"auto" or None', got=repr(weights))
    if weights is None:
        return _random(name, bands or VISIBLE_31, device)
    if parsed.kind == "zoo":
        spec = MODELS.get(str(parsed.arch))
        if parsed.tag is None:
            if spec.default_tag is None:
                raise weight_files.no_weights(parsed)
            parsed = replace(parsed, tag=spec.default_tag)
    folder = weight_files.folder_of(parsed)
    config = weight_files.read_config(folder)
    if parsed.kind != "zoo":
        spec = MODELS.get(config["architecture"])
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

    from hsrzoo.reconstructor import Reconstructor  # imports torch

    return Reconstructor(
        module, spec, own, name=str(parsed), config=config, weights_sha256=sha, device=device
    )


def _random(name: str, bands: BandSet, device: str | None) -> Reconstructor:
    from hsrzoo.reconstructor import Reconstructor  # imports torch

    parsed = parse_name(name)
    if parsed.kind != "zoo" or parsed.tag is not None:
        raise InputError(
            f"{name} names trained weights, and weights=None asks for random ones",
            fix="Give the architecture's name alone, or leave weights out",
        )
    spec = MODELS.get(str(parsed.arch))
    module = build_module(spec, bands, {})
    config = weight_files.make_config(spec, bands, arguments={}, training={"weights": "random"})
    return Reconstructor(module, spec, bands, name=name, config=config, weights_sha256=None, device=device)


def list_models(pattern: str | None = None, tag: str | None = None, pretrained: bool = False) -> list[str]:
    """Names of the zoo's models, sorted; without ``tag`` no plugin is imported.

    ``pattern``: a shell pattern (``mcga-*``). ``tag``: only architectures that carry it
    ("baseline", "floor") or weights that are called so ("cave"). ``pretrained``: names ARCH.TAG of
    bundled weights instead of architectures.
    """
    names = weight_files.bundled() if pretrained else MODELS.names()
    if pattern is not None:
        names = [name for name in names if fnmatchcase(name, pattern)]
    if tag is not None:
        declared = {arch for arch, spec in MODELS.working() if tag in spec.tags}
        names = [name for name in names if _carries(name, tag, declared)]
    return names


def _carries(name: str, tag: str, declared: set[str]) -> bool:
    arch, _, weights_tag = name.partition(".")
    return arch in declared or (tag == weights_tag if weights_tag else tag in weight_files.tags_of(arch))
