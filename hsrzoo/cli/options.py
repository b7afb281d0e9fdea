"""Options that several commands share, their types, and how their values are parsed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from hsrzoo.cli.names import DATASET

if TYPE_CHECKING:
    from hsrzoo.bands import BandSet
    from hsrzoo.spec import Recipe
    from hsrzoo.utils.workers import Workers

F = TypeVar("F", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)
DEFAULT_STORE = Path("results")
"""Folder of rows that `hsrzoo bench` writes and every command reads, unless --store names another."""
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)


class Bytes(click.ParamType):
    """``4GiB``, ``512M``, ``1000000``: a decimal number without an exponent; units are powers of 1024, and
    without one it is bytes."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = _SIZE.fullmatch(str(value).strip())
        if not found or float(found[1]) <= 0:
            self.fail(f"{value!r} is not a size: write 4GiB, 512MiB or a number of bytes", param, ctx)
        return float(found[1]) * _UNITS[found[2].upper()]


class PerCore(click.IntRange):
    """A number of threads or processes: 1 or more, and a few for each core of this machine."""

    def __init__(self) -> None:
        super().__init__(min=1)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from hsrzoo.utils.workers import most_threads

        number = super().convert(value, param, ctx)
        if number > most_threads():
            self.fail(f"{number} is too many for this machine: at most {most_threads()}", param, ctx)
        return number


def numbers_of(text: str) -> tuple[float, ...]:
    """Numbers separated by commas; none where the text is something else."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        return ()


class Wavelengths(click.ParamType):
    """``450,550,650``: numbers above 0, in nm."""

    name = "wavelengths"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        found = numbers_of(value)
        if not found or not all(0 < nm < float("inf") for nm in found):
            self.fail(f"{value!r} are not wavelengths: write 450,550,650", param, ctx)
        return found


def forbid(wrong: object, message: str) -> None:
    """UsageError with ``message`` if ``wrong`` is true or not empty."""
    if wrong:
        raise click.UsageError(message)


def given(names: Iterable[str]) -> str:
    """Those of the parameters ``names`` of the running command that stand on its command line, as text."""
    context = click.get_current_context()
    found = [
        parameter.human_readable_name if isinstance(parameter, click.Argument) else parameter.opts[0]
        for parameter in context.command.params
        if parameter.name in tuple(names)
        and context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE
    ]
    return ", ".join(sorted(found))


def forbid_without(needed: str, names: Iterable[str]) -> None:
    """UsageError if one of the parameters ``names`` is given, which have an effect only with ``needed``."""
    found = given(names)
    forbid(found, f"{found} {'have' if ',' in found else 'has'} no effect without {needed}")


def parse_pairs(pairs: Iterable[str], hint: str) -> dict[str, str]:
    """``("key=value", ...)`` as a dictionary; BadParameter for the option ``hint`` otherwise."""
    found: dict[str, str] = {}
    for pair in pairs:
        key, _, value = (part.strip() for part in pair.partition("="))
        if not key or not value:
            raise click.BadParameter(f"{pair!r} is not of the form KEY=VALUE", param_hint=hint)
        if key in found:
            raise click.BadParameter(f"{key} is given twice", param_hint=hint)
        found[key] = value
    return found


def parse_options(pairs: Iterable[str], hint: str = "--data-option") -> dict[str, str]:
    """Options of a data set, which parses the values itself."""
    return parse_pairs((_with_underscores(pair) for pair in pairs), hint)


def _with_underscores(pair: str) -> str:
    key, equals, value = pair.partition("=")
    return key.strip().replace("-", "_") + equals + value


def parse_arguments(pairs: Iterable[str], hint: str = "--arg") -> dict[str, Any]:
    """Constructor arguments: JSON values (numbers, true, lists), else text."""
    return {key: json_or_text(text) for key, text in parse_pairs(pairs, hint).items()}


def json_or_text(text: str) -> Any:
    """The JSON value of ``text``, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def pairs(
    name: str, to: str, help: str, metavar: str = "KEY=VALUE", parse: Callable[..., Any] = parse_pairs
) -> Callable[[F], F]:
    """A repeatable option of KEY=VALUE pairs; the command gets them as a dictionary under ``to``."""

    def callback(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> Any:
        return parse(given, name)

    return click.option(name, to, multiple=True, metavar=metavar, help=help, callback=callback)


data_option = partial(pairs, parse=parse_options)


def store(help: str) -> Callable[[F], F]:
    """``--store``, one folder of rows."""
    return click.option("--store", type=PATH, default=DEFAULT_STORE, show_default=True, help=help)


as_json = click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
data_root = click.option(
    "--data-root", type=PATH, help="Folder of all data sets [HSRZOO_DATA, else the user's data folder]."
)
data_options = data_option("--data-option", "data_options", "Option of the data set, repeatable.")
arguments = pairs("--arg", "arguments", "Constructor argument, repeatable.", parse=parse_arguments)
pools = click.option(
    "--pool", "pool_texts", type=DATASET, multiple=True, metavar="NAME:share=SHARE[,KEY=VALUE,...]",
    help="Another data set to train on, repeatable. Keys: share of the crops, split, exposure=LOW-HIGH, "
    "dark, repaint, resample, and options of the set.",
)  # fmt: skip
threads = click.option("--threads", type=PerCore(), help="CPU threads [torch's default].")


def recipe(
    chosen: Recipe, fields: Mapping[str, Any], sets: Mapping[str, str], resumed: Path | None
) -> Recipe:
    """The recipe ``chosen`` with the fields that have options of their own (None: not given) and those of
    ``--set``. ``resumed``: the folder of the run to go on with."""
    from hsrzoo.training.recipe import override
    from hsrzoo.training.rundir import as_started  # imports torch

    given = {key: str(value) for key, value in fields.items() if value is not None}
    twice = sorted(given.keys() & sets.keys())
    forbid(twice, f"--{''.join(twice[:1])} and --set {''.join(twice[:1])}=... exclude each other")
    changed = override(chosen, {**given, **sets})
    return changed if resumed is None else as_started(changed, resumed, sets)


def json_or_csv(function: F) -> F:
    """``--json`` and ``--csv``, which exclude each other, as ``as_json`` and ``as_csv``."""

    def callback(context: click.Context, _: click.Parameter, given: bool) -> bool:
        other = context.params.get("as_json") or context.params.get("as_csv")
        forbid(given and other, "--json and --csv exclude each other")
        return given

    for name in ("csv", "json"):
        text = f"All figures as {name.upper()} on stdout."
        option = click.option(f"--{name}", f"as_{name}", is_flag=True, help=text, callback=callback)
        function = option(function)
    return function


def workers(function: F) -> F:
    """``--workers`` and ``--ray``, as ``worker_count`` and ``ray_address``."""
    count = click.option(
        "--workers", "worker_count", type=PerCore(), metavar="N",
        help="Run N processes on this machine, by Ray.",
    )  # fmt: skip
    address = click.option(
        "--ray", "ray_address", metavar="HOST:PORT",
        help="Use a running Ray cluster (`ray start --head`); auto: the one on this machine.",
    )  # fmt: skip
    return count(address(function))


def choose_workers(
    worker_count: int | None, ray_address: str | None, threads: int | None, device: str | None
) -> Workers | None:
    """The workers that were asked for; None: this process does the work itself.

    ``device`` as the user gave it: None is the GPU if there is one.
    """
    if worker_count is None and ray_address is None:
        return None
    forbid(worker_count is not None and ray_address is not None, "--workers and --ray exclude each other")
    from hsrzoo.utils.devices import torch_device  # imports torch
    from hsrzoo.utils.workers import Workers

    return Workers(worker_count, ray_address, threads, torch_device(device).type == "cuda")


def parse_bands(text: str, root: Path | None = None) -> BandSet:
    """Bands from the name of a data set, or in the form that ``datasets.wavelengths`` reads."""
    from hsrzoo.datasets import open_dataset, wavelengths
    from hsrzoo.errors import unknown_name
    from hsrzoo.registry import DATASETS

    if text in DATASETS.names():
        return open_dataset(text, root).bands
    if text[:1].isalpha() and text != "visible" and not text.lower().endswith(".csv"):
        raise unknown_name("data set or list of bands", text, DATASETS.names())
    return wavelengths.parse_bands(text)
