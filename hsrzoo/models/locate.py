"""Where the weights of a name are: bundled, in a folder, or on the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

from hsrzoo.errors import WeightsError
from hsrzoo.models.names import ModelName, parse_name, path_hint
from hsrzoo.models.tensors import looks_like_pickle, pickle_refused
from hsrzoo.registry import MODELS
from hsrzoo.utils.entry_points import entry_points_of, paths_of
from hsrzoo.utils.files import CONFIG, TENSORS

GROUP = "hsrzoo.weights"


def bundled() -> list[str]:
    """Names ARCH.TAG of all weights that installed packages carry, from metadata alone."""
    return sorted(entry_points_of(GROUP))


def tags_of(arch: str) -> list[str]:
    """Tags of the weights that are bundled for an architecture."""
    return [name.partition(".")[2] for name in bundled() if name.partition(".")[0] == arch]


def bundled_files(file: str, arch: str | None = None) -> dict[str, Path]:
    """Name ARCH.TAG -> where ``file`` is, of the bundled weights (None: of all architectures) that have
    one beside them."""
    names = [name for name in bundled() if arch in (None, name.partition(".")[0])]
    found = {name: folder_of(parse_name(name)) / file for name in names}
    return {name: path for name, path in found.items() if path.is_file()}


def folder_of(name: ModelName) -> Path:
    """The folder that holds a name's weights; no plugin is imported to find it.

    ``local-dir:PATH`` is that path; ``hf-hub:ORG/REPO`` is fetched into the Hub's cache, or found there;
    ``ARCH.TAG`` is in the package that declares it under the entry-point group ``hsrzoo.weights``.
    Raises WeightsError when there is none, HubError when it cannot be fetched.
    """
    if name.kind == "local-dir" and name.path is not None:
        return require_folder(name.path)
    if name.kind == "hf-hub" and name.repo is not None:
        from hsrzoo.hub.client import pull  # imports huggingface_hub

        return pull(name.repo, name.revision)
    found = entry_points_of(GROUP).get(str(name))
    if not found:
        raise no_weights(name)
    if len(found) > 1:
        packages = " and ".join(entry.value for entry in found)
        raise WeightsError(f"Two packages carry the weights {name}", got=packages, fix="Uninstall one")
    for root in paths_of(found[0].value):
        folder = root / "weights" / str(name)
        if folder.is_dir():
            return folder
    raise WeightsError(
        f"The weights {name} are declared but not installed",
        expected=f"the folder weights/{name} in the package {found[0].value}",
        fix="Reinstall that package",
    )


def find_weights(name: ModelName) -> tuple[ModelName, Path]:
    """A name and its folder; a branch or tag of the Hub becomes the commit that it stands for now, so that
    the name says which weights these are and leads to them again."""
    folder = folder_of(name)
    return (replace(name, revision=folder.name) if name.kind == "hf-hub" else name), folder


def resolve_folder(path: Path) -> Path:
    """A folder that a user named: a path, or ``hf-hub:ORG/REPO[@REVISION]``, which is fetched."""
    return folder_of(parse_name(str(path))) if str(path).startswith("hf-hub:") else path


def weights_command(arch: str, dataset: str = "NAME", name: str | None = None) -> str:
    """The command that makes weights of an architecture on a data set, by ``fit`` or ``train``; ``name``
    stands for the architecture if given."""
    verb = "fit" if MODELS.get(arch).fit else "train"
    return f"{MODELS.program(arch)} {verb} {name or arch} {dataset_arguments(dataset)}"


def dataset_arguments(dataset: str, info: Mapping[str, Any] | None = None) -> str:
    """The arguments of a command that open a data set, as far as they are known: where a folder is, is in
    no record. ``info``: of the set that weights were trained on, with its camera."""
    from hsrzoo.camera import DEFAULT_CAMERA  # imports numpy, which `hsrzoo list` need not

    found = f"--dataset {dataset}"
    if dataset == "folder":
        found += " --data-option path=FOLDER"
    response = (info or {}).get("response") or DEFAULT_CAMERA
    if response != DEFAULT_CAMERA and "response_table" not in (info or {}):  # whose file nobody knows
        found += f" --data-option response={quote(response)}"
    return found


def no_weights(name: ModelName) -> WeightsError:
    """The error for a name that has no weights here, with what the user can do instead."""
    tags = tags_of(str(name.arch))
    offer = f"Use {' or '.join(f'{name.arch}.{t}' for t in tags)}; or make" if tags else "Make"
    return WeightsError(
        f"There are no trained weights for {name}",
        fix=path_hint(name)
        or f"{offer} your own with `{weights_command(str(name.arch))}` and load "
        "them as local-dir:PATH, or pass weights=None for random weights",
    )


def require_folder(path: Path) -> Path:
    """``path`` itself; WeightsError unless it is a folder."""
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise WeightsError("The folder of weights cannot be reached", got=str(error)) from None
    if is_folder:
        return path
    if is_file:
        if looks_like_pickle(path):
            raise pickle_refused(path)
        raise WeightsError(
            "Weights are a folder, not a file",
            expected=f"a folder with {CONFIG} and {TENSORS}",
            got=str(path),
        )
    raise WeightsError("The folder of weights does not exist", got=str(path))
