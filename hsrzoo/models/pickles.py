"""Untrusted files of ``torch.save``, read without running any code in them.

A pickle is a program, and reading one runs it. Here the program is first scanned without running it: every
instruction and every name it would import must be on the two lists below, which hold what ``torch.save``
writes for a dict of tensors and numbers. Only then does ``torch.load(weights_only=True)``, which has a list
of its own, read the same bytes. torch is imported inside the functions that need it.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hsrzoo.errors import WeightsError
from hsrzoo.utils.files import require_regular

ALLOWED_NAMES = frozenset(
    [
        "collections.OrderedDict",
        "torch.Size",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_tensor_v2",
        "torch.BFloat16Storage",
        "torch.BoolStorage",
        "torch.ByteStorage",
        "torch.CharStorage",
        "torch.DoubleStorage",
        "torch.FloatStorage",
        "torch.HalfStorage",
        "torch.IntStorage",
        "torch.LongStorage",
        "torch.ShortStorage",
    ]
)
"""All that a file may name. Each only makes a tensor, a storage or a dict."""

# fmt: off
ALLOWED_INSTRUCTIONS = frozenset([
    "PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "BUILD", "BINPERSID",
    "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET",
    "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
    "BINUNICODE", "SHORT_BINSTRING", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
    "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS",
])
# fmt: on
"""What ``torch.save`` writes (protocol 2). REDUCE and BUILD act on what GLOBAL brought, no other thing."""

_ZIP, _STREAM = b"PK\x03\x04", b"\x80"
_PICKLES_IN_STREAM = 5
"""Of the format before torch 1.6: mark, version, machine, the object, keys of its storages."""
_SHOWN = 4
"""Names in a message."""
_MOST_TUPLES = 100
"""Nested in one another: hashing a dict's key recurses through all of them, without a limit of Python's.
What ``torch.save`` writes holds three."""


def read_pickle(path: Path) -> Any:
    """What ``torch.save`` wrote to ``path``: dicts, lists, numbers, text and tensors on the CPU.

    Reads the zip format (torch 1.6 and later) and the stream before it. Raises WeightsError for any
    other file, for damaged ones and for one that names anything off the list, which the error shows.
    """
    import torch

    data = _bytes_of(path)
    for program in _programs(data, path):
        _require_harmless(program, path)
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # its text advises to switch the protection off
        raise _more_than_tensors(path, "one that torch refuses to make tensors of") from None
    except Exception as error:  # of any class: the file decides what goes wrong
        raise _damaged(path, _first_line(error)) from None


def _bytes_of(path: Path) -> bytes:
    """The whole file: what is scanned must be what is loaded, even if the file changes in between."""
    require_regular(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(
            "The checkpoint is missing or unreadable", expected="a file", got=f"{path}, {error.strerror}"
        ) from None


def _programs(data: bytes, path: Path) -> Iterator[io.BytesIO]:
    """All pickles in a file, each positioned at its start and used up before the next is asked for."""
    if data.startswith(_ZIP):
        yield io.BytesIO(_pickle_in_zip(data, path))
    elif data.startswith(_STREAM):
        stream = io.BytesIO(data)
        for _ in range(_PICKLES_IN_STREAM):
            yield stream
    else:
        raise WeightsError(
            f"{path} is not a checkpoint",
            expected="a file written by torch.save, or one of safetensors named .safetensors",
            got=f"a file that begins with {data[:8]!r}",
        )


def _pickle_in_zip(data: bytes, path: Path) -> bytes:
    """``data.pkl`` of a checkpoint's archive, of which there must be exactly one, as torch writes it."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            pickles = [name for name in names if name.lower().endswith(".pkl")]
            packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
            if len(pickles) != 1 or not pickles[0].endswith("/data.pkl") or packed:
                raise WeightsError(
                    f"{path} is a zip archive, but not one that torch.save wrote",
                    expected="one file data.pkl in a folder, and nothing compressed",
                    got=f"{len(names)} files: {', '.join(names[:_SHOWN])}",
                )
            return archive.read(pickles[0])
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError, NotImplementedError) as error:
        raise _damaged(path, _first_line(error)) from None


def _require_harmless(program: io.BytesIO, path: Path) -> None:
    """Scan one pickle up to its end; nothing is run. WeightsError for what is not on the lists."""
    wanted: list[str] = []
    instructions: list[str] = []
    texts = ["?", "?"]
    tuples = _Tuples()
    try:
        for instruction, argument, _ in pickletools.genops(program):
            if isinstance(argument, str) and instruction.name not in ("GLOBAL", "INST"):
                texts.append(argument)
            if instruction.name in ("GLOBAL", "INST"):
                wanted.append(str(argument).replace(" ", ".", 1))
            elif instruction.name == "STACK_GLOBAL":  # takes the two texts before it, as a rule
                wanted.append(".".join(texts[-2:]))
            if instruction.name not in ALLOWED_INSTRUCTIONS:
                instructions.append(instruction.name)
            elif not instructions:
                tuples.follow(instruction, argument)
    except Exception as error:  # genops raises several classes on bytes that are no pickle
        raise _damaged(path, _first_line(error)) from None
    foreign = list(dict.fromkeys(name for name in wanted if name not in ALLOWED_NAMES))
    if foreign or instructions:
        raise _refused(path, foreign, instructions)
    if tuples.most > _MOST_TUPLES:
        raise _more_than_tensors(path, f"one with more than {_MOST_TUPLES} nested tuples")


class _Tuples:
    """How many tuples there are in one tuple, at any depth, each occurrence counted.

    A stack like the unpickler's, but of these counts: 0 for all that is no tuple, None for a mark. Lists
    and dicts count 0, because they cannot be in a key.
    """

    def __init__(self) -> None:
        self.most = 0
        self._stack: list[int | None] = []
        self._memo: dict[Any, int | None] = {}

    def follow(self, instruction: pickletools.OpcodeInfo, argument: Any) -> None:
        """Do to the stack what ``instruction``, one of the allowed, does."""
        stack, name = self._stack, instruction.name
        if name == "MARK":
            stack.append(None)
        elif name.endswith("BINPUT"):
            self._memo[argument] = stack[-1]
        elif name.endswith("BINGET"):
            stack.append(self._memo[argument])
        else:
            taken = self._take(instruction.stack_before)
            made = 1 + sum(taken) if "TUPLE" in name else 0
            self.most = max(self.most, made)
            stack.extend(min(made, _MOST_TUPLES + 1) for _ in instruction.stack_after)

    def _take(self, before: list[pickletools.StackObject]) -> list[int]:
        """Pop what an instruction needs: a number of items, or all above a mark and some below it."""
        taken: list[int] = []
        names = [thing.name for thing in before]
        if "mark" in names:
            while (count := self._stack.pop()) is not None:
                taken.append(count)
            names = names[: names.index("mark")]
        taken += [self._stack.pop() or 0 for _ in names]
        return taken


def _refused(path: Path, names: list[str], instructions: list[str]) -> WeightsError:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    asks = f"one that names {', '.join(names[:_SHOWN])}{more}"
    if not names:
        asks = f"one with the instruction {instructions[0]}"
    return _more_than_tensors(path, asks)


def _more_than_tensors(path: Path, asks: str) -> WeightsError:
    return WeightsError(
        f"{path} is a pickle that asks for more than tensors, and was not read",
        expected="a pickle of tensors, numbers, text, lists and dicts as torch.save writes it",
        got=asks,
        fix="If it is harmless where it comes from, save its state_dict alone there, "
        "as safetensors or by torch.save",
    )


def _damaged(path: Path, reason: str) -> WeightsError:
    return WeightsError(f"{path} is damaged or cut off", got=reason, fix="Fetch it again")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200] or type(error).__name__
