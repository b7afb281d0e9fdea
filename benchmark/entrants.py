"""The models of one run: each name in each way of running it that was asked for.

An :class:`Entrant` says how to load one of them, here or in another process, and what to call it:
``mcga-s2.cave`` run as usual, ``mcga-s2.cave [bf16]`` or ``mcga-s2.cave [onnx, fp16]`` otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hsrzoo.errors import InputError
from hsrzoo.names import parse_name

if TYPE_CHECKING:
    from hsrzoo.reconstructor import Reconstructor

Precision = Literal["fp32", "bf16", "fp16"]
Runtime = Literal["torch", "onnx"]
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "int8": "int8"}


@dataclass(frozen=True)
class Entrant:
    """One model as a run uses it; all its fields are plain values, so that it can be sent as JSON."""

    name: str
    """What ``hsrzoo.load`` takes."""
    runtime: Runtime = "torch"
    precision: Precision = "fp32"
    compile: bool = False
    tile: int | None = None
    title: str | None = None
    """What to call it where that is not the loaded model's own name with a remark."""

    def load(self, device: str | None) -> Reconstructor:
        """The model, under the name that tables and rows give it."""
        import hsrzoo

        if self.runtime == "onnx":  # the file has its precision in it
            model = hsrzoo.load(self.name, device=device)
        else:
            model = hsrzoo.load(
                self.name, device=device, precision=self.precision, compile=self.compile, tile=self.tile
            )
            model.name += remark(execution(model))
        model.name = self.title or model.name
        return model


def execution(model: Reconstructor) -> dict[str, Any]:
    """How a loaded model is run, as rows keep it."""
    return {
        "runtime": "torch" if hasattr(model, "module") else "onnx",
        "precision": getattr(model, "precision", model.execution.precision),
        "compile": model.execution.compile,
        "tile": model.execution.tile,
    }


def remark(execution: Mapping[str, Any]) -> str:
    """What differs from the usual way, as tables show it: "" or " [bf16, tile 512]"."""
    parts = [
        execution["runtime"] if execution["runtime"] != "torch" else "",
        execution["precision"] if execution["precision"] != "fp32" else "",
        "compiled" if execution["compile"] else "",
        f"tile {execution['tile']}" if execution["tile"] else "",
    ]
    told = ", ".join(filter(None, parts))
    return f" [{told}]" if told else ""


@dataclass(frozen=True)
class Ways:
    """The ways of running that every model of a run is taken in."""

    runtimes: Sequence[Runtime] = ("torch",)
    precisions: Sequence[Precision] = ("fp32",)
    compile: bool = False
    tile: int | None = None

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

    def of(self, name: str) -> list[Entrant]:
        """The entrants that a name makes; those of the runtime onnx are still to be exported, but for
        files given as such, which are what they are and go by their own name without its folders."""
        parsed = parse_name(name)
        if parsed.path is not None and parsed.kind == "onnx":
            return [Entrant(name, runtime="onnx", title=f"onnx:{parsed.path.name}")]
        return [
            Entrant(name, precision=precision, compile=self.compile, tile=self.tile)
            if runtime == "torch"
            else Entrant(name, runtime="onnx", precision=precision)
            for precision in self.precisions
            for runtime in self.runtimes
        ]


def load_all(
    names: Sequence[str], ways: Ways, device: str | None, exports: Path | None
) -> tuple[list[Entrant], list[Reconstructor]]:
    """Entrants and their models, in table order; ``exports`` is the folder of files made for the run.

    "mcga-s2" and "mcga-s2.cave" may be one model: each is taken once.
    """
    ways.check()
    found: dict[str, tuple[Entrant, Reconstructor]] = {}
    for name in names:
        for entrant in ways.of(name):
            if entrant.runtime == "onnx" and entrant.title is None:
                entrant = export(entrant, exports)
            model = entrant.load(device)
            _, other = found.setdefault(model.name, (entrant, model))
            if other.identity != model.identity:
                raise InputError("Two models have one name", expected="names that differ", got=model.name)
    return [entrant for entrant, _ in found.values()], [model for _, model in found.values()]


def export(entrant: Entrant, folder: Path | None) -> Entrant:
    """``entrant`` with the ONNX file that it needs, made in ``folder``."""
    if folder is None:
        raise InputError("There is no folder to export to", fix=f"Export {entrant.name} and name the file")
    import hsrzoo
    from hsrzoo.export import exported

    source = hsrzoo.load(entrant.name, device="cpu")
    path = exported(source, folder, entrant.precision)
    how = {"runtime": "onnx", "precision": entrant.precision, "compile": False, "tile": None}
    return replace(entrant, name=f"onnx:{path}", title=source.name + remark(how))
