"""Conversion of checkpoints, of a network's authors or of forks of their code, to folders of weights.

Every tensor must find its place in the network by name and shape (by order and shape where
``Official.by_position`` says so). torch is imported inside the functions that need it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsrzoo.bands import BandSet
from hsrzoo.errors import WeightsError
from hsrzoo.models.building import build_as_asked, without_values
from hsrzoo.models.pickles import read_pickle
from hsrzoo.models.tensors import load_tensors
from hsrzoo.models.weights import load_strictly, require_fit, without_constants
from hsrzoo.registry import MODELS
from hsrzoo.spec import ModelSpec, Official, build_module, resolve
from hsrzoo.utils.files import sha256_of_file

if TYPE_CHECKING:
    from torch import Tensor, nn

CONTAINERS = (
    "state_dict",
    "model_state_dict",
    "params_ema",
    "params",
    "model",
    "net",
    "network",
    "weights",
)
"""Keys under which trainers save a network's tensors, after those of ``Official.containers``; an average
comes before what it is the average of."""
PREFIXES = ("module.", "_orig_mod.", "net.", "model.")
"""What wrappers put before every name: DataParallel, torch.compile, the attribute of a LightningModule."""
COUNTERS = ("total_ops", "total_params")
"""Last parts of the names of buffers that the profiler thop adds to every module."""
_DEPTH = 4
"""Containers in one another."""
_SHOWN = 6
"""Names in a message."""
_TRIED = 16
"""Band counts, and prefixes, that are tried for the advice in an error."""


@dataclass(frozen=True)
class Converted:
    """A network with the weights of a checkpoint, and where they come from."""

    module: nn.Module
    """In eval mode, on the CPU."""
    record: dict[str, Any]
    """For the field ``training`` of config.json."""


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file, and how they were found."""

    tensors: dict[str, Tensor]
    """In the order of the file, under their names without :attr:`prefix`, and without thop's counters."""
    keys: tuple[str, ...]
    """Of the dict that holds them, outermost first."""
    others: tuple[str, ...]
    """Keys of other dicts of tensors beside it."""
    prefix: str = ""
    """What the names in the file begin with."""
    counters: int = 0
    """How many counters were left out."""

    def without(self, prefix: str) -> Checkpoint:
        """Those whose names begin with ``prefix``, under the rest of their names."""
        own = {k: v for k, v in self.tensors.items() if k.startswith(prefix)}
        found = {k.removeprefix(prefix).removeprefix("."): v for k, v in own.items()}
        return replace(self, tensors=found, prefix=self.prefix + prefix)

    def common_prefix(self) -> str:
        """Whole parts, with a dot each, that all names begin with; "" if there are none."""
        levels = zip(*(name.split(".")[:-1] for name in self.tensors), strict=False)
        return "".join(f"{level[0]}." for level in takewhile(lambda level: len(set(level)) == 1, levels))

    def candidates(self) -> Iterator[Checkpoint]:
        """This one, and those without one, two, ... of :data:`PREFIXES` before all names."""
        found = self
        yield found
        for _ in range(_DEPTH):
            first = next((p for p in PREFIXES if all(k.startswith(p) for k in found.tensors)), None)
            if first is None:
                return
            found = found.without(first)
            yield found


def convert(
    path: Path,
    spec: ModelSpec,
    bands: BandSet,
    *,
    arguments: Mapping[str, Any] | None = None,
    keys: Sequence[str] = (),
    prefix: str = "",
) -> Converted:
    """The network ``spec`` for ``bands`` with the weights of the authors' checkpoint ``path``.

    Args:
        path: A file of torch.save, read by :func:`.read_pickle`, or safetensors, with the tensors
            themselves or a dict that holds them under one of ``spec.official.containers`` or
            :data:`CONTAINERS`. Prefixes of wrappers before all names (:data:`PREFIXES`) and thop's counters
            are left out.
        spec: The network.
        bands: Its bands.
        arguments: Constructor arguments other than those of the spec.
        keys: Keys of the dict that holds the tensors, outermost first, where it has another name.
        prefix: Only tensors whose names begin with it are read, under the rest of their names.

    Raises:
        InputError: The network cannot be built with these arguments.
        WeightsError: The file cannot be read, belongs to another network or band count, or holds weights
            that are not finite.
    """
    official = official_of(spec)
    module = build_as_asked(spec, bands, arguments or {}).eval()
    own = module.state_dict()
    found = read_checkpoint(path, official, keys)
    if prefix:
        found = _with_prefix(found, prefix, path)
    for checkpoint in found.candidates():
        ours = _in_our_names(checkpoint.tensors, official, module, str(path))
        if ours.keys() == own.keys():
            break
    try:
        require_fit(own, ours, str(path))
    except WeightsError as error:
        counts = _other_counts(ours, module)
        raise WeightsError(str(error), fix=_advice(checkpoint, spec, bands, counts)) from None
    load_strictly(module, ours, str(path))
    record = {
        "method": "converted",
        "converted_from": path.name,
        "sha256": sha256_of_file(path),
        "key": "/".join(checkpoint.keys),
        "prefix": checkpoint.prefix,
        "counters_left_out": checkpoint.counters,
        "training_data": "as the authors trained it; not recorded in the file",
        "note": official.note,
    }
    return Converted(module, record)


def official_of(spec: ModelSpec) -> Official:
    """How the authors' checkpoints are read; WeightsError, naming who has any, where it is not known."""
    if spec.official is not None:
        return spec.official
    raise WeightsError(
        f"No checkpoints of {spec.name}'s authors are known that could be converted",
        expected=f"one of {', '.join(_names_with_official())}",
    )


def _names_with_official() -> list[str]:
    return [name for name, spec in MODELS.working() if spec.official is not None]


def read_checkpoint(path: Path, official: Official, keys: Sequence[str] = ()) -> Checkpoint:
    """The tensors of a checkpoint; ``keys``: as :func:`convert` has them."""
    found: Any = load_tensors(path) if path.suffix == ".safetensors" else read_pickle(path)
    known, taken = (*official.containers, *CONTAINERS), list(keys)
    around: Any = {}
    for key in keys:
        if not isinstance(found, dict) or key not in found:
            problem = f"{path} has no key {key!r} there"
            raise WeightsError(problem, got=_content(found), fix=_key_advice(found))
        around, found = found, dict.get(found, key)
    for _ in range(_DEPTH):  # a dict of a pickle may hold itself
        inner = _dicts_in(found)
        key = next((key for key in known if key in inner), "")
        if not key:
            break
        taken.append(key)
        around, found = found, inner[key]
    tensors = _require_tensors(found, path, official)
    kept = {name: value for name, value in tensors.items() if name.rpartition(".")[2] not in COUNTERS}
    others = [key for key, value in _dicts_in(around).items() if value is not found and _tensors_in(value)]
    return Checkpoint(kept, tuple(taken), tuple(others), counters=len(tensors) - len(kept))


def _dicts_in(found: Any) -> dict[str, dict[Any, Any]]:
    """The entries of a dict that are dicts; none if it is no dict."""
    if not isinstance(found, dict):
        return {}
    # a file can put anything in the place of found.items
    return {k: v for k, v in dict.items(found) if isinstance(k, str) and isinstance(v, dict)}


def _tensors_in(found: Any) -> dict[str, Tensor]:
    """``found`` as a plain dict if it is one of tensors by their names, else an empty one."""
    from torch import Tensor

    items = list(dict.items(found)) if isinstance(found, dict) else []
    named = all(isinstance(key, str) and isinstance(value, Tensor) for key, value in items)
    return dict(items) if named else {}


def _with_prefix(checkpoint: Checkpoint, prefix: str, path: Path) -> Checkpoint:
    found = checkpoint.without(prefix)
    if not found.tensors:
        names = ", ".join(list(checkpoint.tensors)[:_SHOWN])
        raise WeightsError(f"No name in {path} begins with {prefix!r}", got=f"{names}, ...")
    return found


def _require_tensors(found: Any, path: Path, official: Official) -> dict[str, Tensor]:
    if tensors := _tensors_in(found):
        return tensors
    known = dict.fromkeys((*official.containers, *CONTAINERS))
    raise WeightsError(
        f"{path} holds no tensors where the weights should be",
        expected=f"a dict of tensors, or one under {' or '.join(map(repr, known))}",
        got=_content(found),
        fix=_key_advice(found),
    )


def _key_advice(found: Any) -> str | None:
    """Which keys ``--key`` could name."""
    keys = " or ".join(f"--key {key}" for key in list(_dicts_in(found))[:_SHOWN])
    return f"Name the one that holds the weights: {keys}" if keys else None


def _content(found: Any) -> str:
    """What a file holds, for a message."""
    if not isinstance(found, dict):
        return f"a {type(found).__name__}"
    kinds = ", ".join(_kind(key, value) for key, value in list(dict.items(found))[:_SHOWN])
    return f"a dict of {kinds}" if kinds else "an empty dict"


def _kind(key: Any, value: Any) -> str:
    return f"{str(key)[:60]!r} ({type(value).__name__})"


def _in_our_names(
    state: Mapping[str, Tensor], official: Official, module: nn.Module, origin: str
) -> dict[str, Tensor]:
    """``state`` under the names of ``module``'s own state_dict, as far as they are known, without constants
    that the module computes itself."""
    if official.rename is not None:
        state = resolve(official.rename)(dict(state))
    state = without_constants(module, state, origin)
    own = module.state_dict()
    if official.by_position and len(own) == len(state) and own.keys() != state.keys():
        return dict(zip(own, state.values(), strict=True))
    return dict(state)


def _advice(checkpoint: Checkpoint, spec: ModelSpec, bands: BandSet, counts: Sequence[int]) -> str:
    """What these tensors fit: ``spec`` at one of the band counts ``counts``, another network, or ``spec``
    without some prefix."""
    state = checkpoint.tensors
    for count in counts:
        if _fits(state, spec, count):
            return (
                f"These are weights of {spec.name} for {count} bands, and {len(bands)} were asked for: "
                f"name the {count} band centres with --bands"
            )
    for name in _names_with_official():
        if name != spec.name and _fits(state, MODELS.get(name), len(bands)):
            return f"These are weights of {name}: --arch {name}"
    for prefix in _prefixes_in(state):
        part = checkpoint.without(prefix)
        if _fits(part.tensors, spec, len(bands)):
            some = f"{len(part.tensors)} of {len(state)}" if len(part.tensors) < len(state) else "All"
            whole = part.prefix
            return f"{some} names begin with {whole!r}, and fit without it: --prefix {whole!r}"
    advice = "Check --arch, --arg and --bands, and whether the file is the authors' own"
    if common := checkpoint.common_prefix():
        whole = checkpoint.prefix + common
        advice = f"All names begin with {whole!r}: leave it out with --prefix {whole!r}. {advice}"
    if checkpoint.others:
        under = f"They are under {'/'.join(checkpoint.keys)!r}"
        advice = f"{under}; for those under {', '.join(map(repr, checkpoint.others))} give --key. {advice}"
    return advice


def _prefixes_in(state: Mapping[str, Tensor]) -> list[str]:
    """The most frequent beginnings of names, of one part or more."""
    found: Counter[str] = Counter()
    for name in state:
        parts = name.split(".")
        found.update(".".join(parts[:count]) + "." for count in range(1, min(len(parts), _DEPTH)))
    return [prefix for prefix, _ in found.most_common(_TRIED)]


def _other_counts(ours: Mapping[str, Tensor], module: nn.Module) -> list[int]:
    """Band counts that a file may be for: lengths of its tensors that are of another length here."""
    own = module.state_dict()
    shared = [(own[key], value) for key, value in ours.items() if key in own and value.dim()]
    return sorted({there.shape[0] for here, there in shared if here.shape[:1] != there.shape[:1]})[:_TRIED]


def _fits(state: Mapping[str, Tensor], spec: ModelSpec, count: int) -> bool:
    """True if all names and shapes are those of ``spec`` at ``count`` bands; no weights are made."""
    try:
        bands = BandSet(tuple(float(400 + i) for i in range(count)))
        with without_values():
            module = build_module(spec, bands, {})
        ours = _in_our_names(state, official_of(spec), module, "the file")
    except Exception:  # this is advice for an error, which no other error may hide
        return False
    return {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in module.state_dict().items()}
