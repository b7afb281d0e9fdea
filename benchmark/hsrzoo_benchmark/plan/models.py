"""The models of one run: every name in every requested runtime and precision.

A :class:`ModelSetup` says how to load one of them, here or in another process, and what to call it:
``mcga-s2.cave`` by default, ``mcga-s2.cave [bf16]`` or ``mcga-s2.cave [onnx, fp16]`` otherwise, and
``hrnet [untrained]`` with random weights, for speed alone. Titles tell several weights of one
architecture apart: ``table-4.k-64=local-dir:runs/table-4.k-64/weights``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.errors import HsrzooError, InputError, PluginError, unknown_name
from hsrzoo.models.loading import Described, default_tag, describe, list_models
from hsrzoo.models.names import parse_name
from hsrzoo.models.tensors import digest_of
from hsrzoo.registry import MODELS
from hsrzoo.spec import Execution, Precision

if TYPE_CHECKING:
    from hsrzoo.models.reconstructor import Reconstructor

Runtime = Literal["torch", "onnx"]
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "int8": "int8"}
SEED = 0
"""Of random weights: every process makes the same ones."""
_WILDCARDS = frozenset("*?[")
_TITLE = re.compile(r"[a-z0-9][a-z0-9.+/-]*")


@dataclass(frozen=True)
class ModelSetup:
    """One model as a run uses it; all its fields are plain values, so that it can be sent as JSON."""

    name: str
    """What ``hsrzoo.load`` takes."""
    runtime: Runtime = "torch"
    precision: Precision = "fp32"
    compile: bool = False
    tile: int | None = None
    consistency: str | None = None
    title: str | None = None
    """What to call it instead of the loaded model's own name; torch adds its remark, a title of an ONNX
    file has it."""
    random_bands: dict[str, Any] | None = None
    """Bands, as BandSet.to_json gives them, of a network with seeded random weights; None: trained ones."""

    @property
    def to_export(self) -> bool:
        """True for the runtime onnx where there is no file yet."""
        return self.runtime == "onnx" and parse_name(self.name).kind != "onnx"

    def load(self, device: str | None) -> Reconstructor:
        """The model, under the name that tables and rows give it."""
        import hsrzoo

        if self.runtime == "onnx":  # the file has its precision in it
            model = hsrzoo.load(self.name, device=device)
            model.name = self.title or model.name
        else:
            how: dict[str, Any] = {
                "device": device, "precision": self.precision, "compile": self.compile, "tile": self.tile,
                "consistency": self.consistency,
            }  # fmt: skip
            if self.random_bands is None:
                model = hsrzoo.load(self.name, **how)
            else:
                model = _random(self.name, BandSet.from_json(self.random_bands), how)
            model.name = self._label(model)
        if self.title is not None:
            _check_title(self.title, model)
        return model

    def describe(self) -> Described | None:
        """What :meth:`load` would load, without torch; None where that needs a network."""
        parsed = parse_name(self.name)
        if self.runtime != "torch" or parsed.kind == "onnx" or self.random_bands is not None:
            return None
        how = Execution(self.precision, self.compile, self.tile, consistency=self.consistency)
        found = describe(self.name, how)
        if self.title is not None:
            _check_title(self.title, found)
        return replace(found, name=self._label(found))

    def _label(self, model: Reconstructor | Described) -> str:
        suffix = remark({**execution(model), "untrained": untrained(model)})
        return (self.title or model.name) + suffix


def split_title(text: str) -> tuple[str | None, str]:
    """``TITLE=NAME`` as (title, name); (None, text) where there is no title.

    A folder or file may have "=" in its path, but only behind the colon, which no title holds. InputError
    for a title of other characters, or one that is itself a model or weights of this zoo.
    """
    title, equals, name = text.partition("=")
    if not equals or ":" in title:
        return None, text
    if not _TITLE.fullmatch(title) or not name:
        raise InputError(
            f"{text!r} is no titled model",
            expected="TITLE=NAME, the title of a-z, 0-9 and . + / -, beginning with a letter or digit",
            got=f"the title {title!r}",
        )
    if title in (*list_models(), *list_models(pretrained=True)):
        raise InputError(
            f"The title {title} is a model of this zoo",
            expected="a title of its own",
            got=text,
            fix=f"Use {title}.NAME, or leave the title out",
        )
    return title, name


def _check_title(title: str, model: Reconstructor | Described) -> None:
    """InputError where a title begins with the name of an architecture that the model is not."""
    arch = plain_name(title).partition(".")[0]
    if arch not in MODELS:
        return
    architecture = model.config["architecture"] if isinstance(model, Described) else model.spec.name
    if arch != architecture:
        raise InputError(
            f"The title {title} stands for another architecture",
            expected=f"weights of {arch}",
            got=f"weights of {architecture}",
            fix=f"Use {architecture}.NAME, or a title without an architecture",
        )


def _random(name: str, bands: BandSet, how: Mapping[str, Any]) -> Reconstructor:
    """The network with the random weights of :data:`SEED`; their digest is its identity, by which
    another process knows that it made the same ones."""
    import torch

    import hsrzoo

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = hsrzoo.load(name, weights=None, bands=bands, **how)
    model.weights_sha256 = digest_of(model.module)
    return model


def untrained(model: Reconstructor | Described) -> bool:
    """True for random weights."""
    return (model.config or {}).get("training", {}).get("weights") == "random"


def has_weights(name: str) -> bool:
    """Whether a name stands for trained weights, bundled or in a folder. PluginError, UnknownNameError."""
    parsed = parse_name(name)
    return parsed.kind != "zoo" or parsed.tag is not None or default_tag(parsed) is not None


def execution(model: Reconstructor | Described) -> dict[str, Any]:
    """How a loaded model is run, as rows keep it; camera consistency is named where it is asked for and the
    weights do not have it by themselves."""
    consistency = model.execution.consistency
    if consistency == getattr(model, "own_consistency", None):
        consistency = None
    return {
        "runtime": "torch" if isinstance(model, Described) or hasattr(model, "module") else "onnx",
        "precision": getattr(model, "precision", model.execution.precision),
        "compile": model.execution.compile,
        "tile": model.execution.tile,
        **({"consistency": consistency} if consistency else {}),
    }


def remark(execution: Mapping[str, Any]) -> str:
    """What differs from the usual way, as tables show it: "" or " [bf16, tile 512]"."""
    parts = [
        "untrained" if execution.get("untrained") else "",
        execution["runtime"] if execution["runtime"] != "torch" else "",
        execution["precision"] if execution["precision"] != "fp32" else "",
        "compiled" if execution["compile"] else "",
        f"tile {execution['tile']}" if execution["tile"] else "",
        f"consistent {execution['consistency']}" if execution.get("consistency") else "",
    ]
    text = ", ".join(filter(None, parts))
    return f" [{text}]" if text else ""


def plain_name(label: str) -> str:
    """A model's name without the remark on how it was run."""
    return label.partition(" [")[0]


@dataclass(frozen=True)
class RunModes:
    """Runtimes, precisions and execution options: every model runs in each combination."""

    runtimes: Sequence[Runtime] = ("torch",)
    precisions: Sequence[Precision] = ("fp32",)
    compile: bool = False
    tile: int | None = None
    consistency: str | None = None

    def check(self) -> None:
        """InputError for a combination that no runtime offers."""
        if "onnx" in self.runtimes and "bf16" in self.precisions:
            raise InputError("ONNX files are not made in bf16", expected="fp32 or fp16", got="bf16")
        if "torch" not in self.runtimes and (self.compile or self.tile):
            raise InputError(
                "Compiling and tiles belong to torch",
                expected="--runtime torch",
                got="--runtime onnx alone",
            )
        if "onnx" in self.runtimes and self.consistency is not None:
            raise _consistency_error("--runtime onnx")

    def of(self, text: str) -> list[ModelSetup]:
        """The setups of ``NAME`` or ``TITLE=NAME``.

        Those with the runtime onnx are not exported yet. An ONNX file (``onnx:FILE``) gives one setup,
        named after the file without its folders.
        """
        title, name = split_title(text)
        parsed = parse_name(name)
        if parsed.path is not None and parsed.kind == "onnx":
            if self.consistency is not None:
                raise _consistency_error(name)
            label = f"{title} [onnx]" if title else f"onnx:{parsed.path.name}"
            return [ModelSetup(name, runtime="onnx", title=label)]
        return [
            ModelSetup(name, "torch", precision, self.compile, self.tile, self.consistency, title)
            if runtime == "torch"
            else ModelSetup(name, runtime="onnx", precision=precision, title=title)
            for precision in self.precisions
            for runtime in self.runtimes
        ]


def _consistency_error(got: str) -> InputError:
    return InputError(
        "Exported files have no camera consistency", expected="models of torch with --consistency", got=got
    )


@dataclass
class LoadedModels:
    """The models of one run, in table order."""

    setups: dict[str, ModelSetup]
    """How each of ``models`` was loaded, by its name."""
    models: list[Reconstructor]
    broken: list[tuple[str, HsrzooError]]
    """Names that a pattern matched and that could not be loaded, and why."""
    matched: set[str] = field(default_factory=set)
    """Names of those of ``models`` that came from a pattern."""

    def require(self, names: Collection[str], device: str | None) -> dict[str, Reconstructor]:
        """Load those of ``models`` that are only described, as far as ``names`` has them.

        Returns all ``models`` that are loaded, by name. One that came from a pattern and cannot be loaded
        goes to ``broken``; the error of any other is raised, and of the last one if none is left.
        """
        for i, described in enumerate(self.models):
            if described.name in names and isinstance(described, Described):
                try:
                    self.models[i] = self.setups[described.name].load(device)
                except Exception as error:
                    if described.name not in self.matched:
                        raise
                    self.broken.append((described.name, _to_hsrzoo_error(described.name, error)))
        failed = {name for name, _ in self.broken}
        self.models = [model for model in self.models if model.name not in failed]
        if not self.models:
            raise self.broken[0][1]
        return {model.name: model for model in self.models if not isinstance(model, Described)}


def expand(names: Sequence[str]) -> dict[str, bool]:
    """Names, patterns among them replaced by what they match; True: it came from a pattern.

    A pattern is matched with the names of architectures or, where it has a dot, of bundled weights
    (``*.cave``). InputError for one that matches nothing.
    """
    found: dict[str, bool] = {}
    for text in names:
        title, name = split_title(text)
        if not _WILDCARDS & set(name) or ":" in name:  # a folder may be called anything
            found[text] = False
            continue
        if title is not None:
            raise InputError("One title stands for one model", expected="TITLE=NAME", got=text)
        pretrained = "." in name
        matches = list_models(name, pretrained=pretrained)
        if not matches:
            raise unknown_name("model", name, list_models(pretrained=pretrained))
        for match in matches:
            found.setdefault(match, True)
    return found


def load_models(
    names: Sequence[str],
    ways: RunModes,
    device: str | None,
    exports: Path | None,
    bands: BandSet = VISIBLE_31,
    random: bool = False,
    described: bool = False,
) -> LoadedModels:
    """Every model in every way; ``exports`` is the folder of files made for the run.

    Networks without trained weights get random ones for ``bands``, and all networks do with ``random``.
    "mcga-s2" and "mcga-s2.cave" may be one model: it is loaded once. A model that a pattern matched and
    that cannot be loaded is reported in ``broken`` and the others run; where none is left its error is
    raised.

    ``described``: models are only described where that is possible, as a :class:`.Described` in place of a
    Reconstructor, until :meth:`LoadedModels.require` loads them.
    """
    ways.check()
    setups: dict[str, ModelSetup] = {}
    models: dict[str, Reconstructor] = {}
    broken: list[tuple[str, HsrzooError]] = []
    matched: set[str] = set()
    for name, from_pattern in expand(names).items():
        try:
            loaded = list(_load_setups(name, ways, device, exports, bands, random, described))
        except Exception as error:
            if not from_pattern:
                raise
            broken.append((name, _to_hsrzoo_error(name, error)))
            continue
        for setup, model in loaded:
            setups.setdefault(model.name, setup)
            if from_pattern:
                matched.add(model.name)
            if models.setdefault(model.name, model).identity != model.identity:
                raise InputError("Two models have one name", expected="names that differ", got=model.name)
    if not models:
        raise broken[0][1]
    return LoadedModels(setups, list(models.values()), broken, matched)


def _load_setups(
    name: str,
    ways: RunModes,
    device: str | None,
    exports: Path | None,
    bands: BandSet,
    random: bool,
    described: bool,
) -> Iterator[tuple[ModelSetup, Reconstructor]]:
    for setup in ways.of(name):
        if random or not has_weights(setup.name):
            setup = replace(setup, random_bands=bands.to_json())
        if setup.to_export:
            setup = export(setup, exports)
        found = setup.describe() if described else None
        # offers all that planning and tables ask of a model
        yield setup, setup.load(device) if found is None else cast("Reconstructor", found)


def _to_hsrzoo_error(name: str, error: Exception) -> HsrzooError:
    if isinstance(error, HsrzooError):
        return error
    return PluginError(f"The model {name} cannot be built", got=f"{type(error).__name__}: {error}")


def export(setup: ModelSetup, folder: Path | None) -> ModelSetup:
    """``setup`` with the ONNX file that it needs, made in ``folder``."""
    if folder is None:
        raise InputError("There is no folder to export to", fix=f"Export {setup.name} and name the file")
    from hsrzoo.export import cached_export

    source = replace(setup, runtime="torch", precision="fp32").load("cpu")
    path = cached_export(source, folder, setup.precision)
    how = {"runtime": "onnx", "precision": setup.precision, "compile": False, "tile": None}
    title = plain_name(source.name) + remark({**how, "untrained": untrained(source)})
    return replace(setup, name=f"onnx:{path}", title=title, random_bands=None)
