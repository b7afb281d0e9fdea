"""Provenance of a number: versions, commit, machine. Part of every result row and run record."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any


def collect(device: str) -> dict[str, Any]:
    """Versions, git commit and dirty flag (None outside a checkout), device name, processor, threads.

    ``device``: the torch device that computed the numbers.
    """
    import numpy
    import torch

    commit, dirty = git_state(Path(__file__).resolve().parent)
    return {
        "hsrzoo": version("hsrzoo"),
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "device": str(device),
        "device_name": device_name(str(device)),
        "processor": processor(),
        "threads": torch.get_num_threads(),
    }


def command_line() -> str:
    """The command, with paths shortened to their last part: records name no folders of a machine."""
    return shlex.join(["hsrzoo", *(_without_folders(word) for word in sys.argv[1:])])


def _without_folders(word: str) -> str:
    if word.startswith("hf-hub:"):
        return word
    key, equals, value = word.partition("=")
    if equals and "/" in value:
        return f"{key}={Path(value).name}"
    return Path(word).name if "/" in word else word


def git_state(folder: Path) -> tuple[str | None, bool | None]:
    """(commit, dirty) of the checkout that tracks ``folder``'s files; (None, None) if there is none.

    An installed copy can be inside another repository (a virtual environment in a checkout); it belongs
    to that repository only if git tracks this folder.
    """
    if not _git(folder, "ls-files", "--", "."):
        return None, None
    commit = _git(folder, "rev-parse", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    # New source files change what runs; other untracked files (photographs, results) do not.
    added = _git(folder, "ls-files", "--others", "--exclude-standard", "--", ":/*.py")
    return commit or None, bool(changed or added)


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def device_name(device: str) -> str:
    """The name of the processor or GPU of a torch device."""
    import torch

    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def processor() -> str | None:
    """What tells processors of one name apart, which virtual machines often shorten to "AMD EPYC": family,
    model and stepping. None where Linux does not say."""
    known = _cpuinfo()
    parts = {"family": "cpu family", "model": "model", "stepping": "stepping"}
    return ", ".join(f"{name} {known[key]}" for name, key in parts.items() if key in known) or None


def _cpuinfo() -> dict[str, str]:
    """What Linux says about the first processor; empty on other systems."""
    try:
        first, _, _ = Path("/proc/cpuinfo").read_text().partition("\n\n")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
