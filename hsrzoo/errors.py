"""The errors of hsrzoo. Every message states what was expected, what was found and what to do.

The command line prints ``str(error)`` as one paragraph and leaves with ``error.exit_code``;
library users catch :class:`HsrzooError`.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

_NO_MEMORY = (
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "out of memory",
    "bad_alloc",
    "failed to map segment",  # a library that is imported late
)


class HsrzooError(Exception):
    """Base of all errors that a user can cause or fix.

    ``summary`` is a sentence; ``expected``, ``got`` and ``fix`` complete the paragraph.
    """

    exit_code = 2

    def __init__(
        self,
        summary: str,
        *,
        expected: object | None = None,
        got: object | None = None,
        fix: str | None = None,
    ) -> None:
        parts = [summary.rstrip(".") + "."]
        if expected is not None:
            parts.append(f"Expected {expected}.")
        if got is not None:
            parts.append(f"Got {got}.")
        if fix is not None:
            parts.append(fix.rstrip(".") + ".")
        super().__init__(" ".join(parts))


class UnknownNameError(HsrzooError):
    """A name that no registry, tag, split or severity list holds."""


class PluginError(HsrzooError):
    """A plugin that cannot be imported, or two plugins that claim one name."""


class InputError(HsrzooError):
    """An array or image of the wrong shape, dtype, range or content."""


class FormatError(HsrzooError):
    """A file that is truncated, corrupt or of another format than its name implies."""


class BandsError(HsrzooError):
    """Band sets that do not match, or a band that is missing."""


class DatasetMissingError(HsrzooError):
    """A data set that is not on this machine; the message states where to get it and where to put it."""


class DatasetError(HsrzooError):
    """A data set that is there but incomplete or inconsistent."""


class WeightsError(HsrzooError):
    """Weights that are absent, corrupt, of another architecture, or in a refused format."""


class StoreError(HsrzooError):
    """Results, runs or weights that cannot be stored: no permission, no room, a damaged file."""


class LockedError(StoreError):
    """An output that another process is writing; the message has its pid."""


class ExistsError(StoreError):
    """An output that is there already and must not be replaced."""


class HubError(HsrzooError):
    """The Hugging Face Hub: a repository, revision or file that cannot be had, or no permission."""


class WorkersError(HsrzooError):
    """Several processes or machines that cannot be had: Ray is missing or does not answer."""


class TrainingError(HsrzooError):
    """Training that cannot be done: an impossible recipe, crops that are too small, a checkpoint of another
    run."""


class DivergedError(TrainingError):
    """Training that was done and has no result: loss or weights are not finite."""

    exit_code = 1


class Note(UserWarning):
    """How a file was read where that may surprise: a scale that was applied, bands that were sorted. The
    command line prints each text once."""


def note(text: str) -> None:
    """Issue a :class:`Note`; ``text`` does not name the file, so that a set of equal files gives one."""
    warnings.warn(text, Note, stacklevel=2)


@contextmanager
def notes_to(tell: Callable[[str], object]) -> Iterator[None]:
    """Pass the text of every note that is issued meanwhile to ``tell``; other warnings stay as they are."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, Note):
                tell(str(message))
            else:
                shown(message, category, *place, **more)

        warnings.simplefilter("always", Note)
        warnings.showwarning = show
        yield


def text_of(error: BaseException) -> str:
    """What an error says; of those that are not ours, with the name of the class."""
    return str(error) if isinstance(error, HsrzooError) else f"{type(error).__name__}: {error}"


def is_out_of_memory(error: BaseException) -> bool:
    """True for MemoryError and for what torch raises in its place."""
    in_words = any(sign in str(error).lower() for sign in _NO_MEMORY)
    return isinstance(error, MemoryError) or (in_words and isinstance(error, RuntimeError | ImportError))


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """An :class:`UnknownNameError` that suggests the nearest known names."""
    known = sorted(known)
    near = nearest_names(name, known)
    fix = f"Nearest: {', '.join(near)}" if near else f"Known: {', '.join(known) or 'none'}"
    return UnknownNameError(f"There is no {kind} named {name!r}", fix=fix)


def nearest_names(name: str, known: Collection[str]) -> list[str]:
    """The known names that are most like ``name``, or that contain it; the nearest first."""
    plain = {_plain(one): one for one in known}
    name = _plain(name)
    near = difflib.get_close_matches(name, plain, n=3)
    near += [one for one in plain if name and name in one and one not in near][:3]
    return [plain[one] for one in near]


def _plain(name: str) -> str:
    """A name for comparisons: people write Canon EOS 5D for canon-eos-5d."""
    return name.lower().replace(" ", "-")


def require_known(kind: str, name: str, known: Collection[str]) -> None:
    """Raise :func:`unknown_name` unless ``name`` is one of ``known``."""
    if name not in known:
        raise unknown_name(kind, name, known)
