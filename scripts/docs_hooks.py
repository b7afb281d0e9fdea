"""What MkDocs does to a page besides Markdown: files of the repository on it, signatures, notes for tests.

``<!-- include: PATH -->`` stands for a Markdown file of the repository, or any other file as a code block;
``<!-- signature: MODULE:NAME -->`` for the signature and the docstring of a public name;
``<!-- test: ... -->`` tells tests/docs how to run the next block and is not for readers.
"""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import is_dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from textwrap import indent
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
INCLUDE = re.compile(r"^<!-- include: (\S+) -->$", re.MULTILINE)
SIGNATURE = re.compile(r"^<!-- signature: ([\w.]+):([\w.]+) -->$", re.MULTILINE)
QUOTED = re.compile(r"""(?<=: |> )(?:'([^']*)'|"([^"]*)")""")
FOR_TESTS = re.compile(r"^<!-- test: .* -->\n", re.MULTILINE)
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```\n(?=hsrzoo |make |python |torchrun |pip )", re.MULTILINE)
AS_IS = re.compile(r"^\x08\n((?:.+\n?)+)", re.MULTILINE)
ROLE = re.compile(r":\w+:`~?([^`]+)`")


def on_config(config: Any) -> Any:
    """The version of the installed package, above the search field."""
    config.extra["version"] = import_module("hsrzoo").__version__
    return config


def on_pre_build(**_: Any) -> None:
    """Lines that click is told to leave as they are become code in the command-line reference."""
    main = import_module("hsrzoo.cli.main")
    for name, entries in main.entry_points_of(main.GROUP).items():
        command = main.load_command(name, entries)
        for each in (command, *getattr(command, "commands", {}).values()):
            text = inspect.cleandoc(each.help or "")
            each.help = AS_IS.sub(lambda found: indent(found[1], " " * 4), text)


def on_files(files: Any, **_: Any) -> Any:
    """search.md is called trials.html: search.html is the theme's own page of what its search found."""
    files.get_file_from_path("search.md").dest_uri = "trials.html"
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page's Markdown as it is rendered."""
    text = SIGNATURE.sub(lambda found: _signature(found[1], found[2]), included(markdown))
    return FOR_TESTS.sub("", text)


def included(markdown: str) -> str:
    """``markdown`` with the files that it includes; commands in them are fenced as ``sh``."""
    return FENCE.sub("```sh\n", INCLUDE.sub(lambda found: _file(found[1]), markdown))


def _file(name: str) -> str:
    text = (ROOT / name).read_text(encoding="utf-8").strip()
    if not name.endswith(".md"):
        return f"```text\n{text}\n```"
    return LINK.sub(lambda found: _link(found[1], found[2]), text)


def _link(text: str, target: str) -> str:
    """A link of a file of the repository, seen from a page in docs; what is no page loses its link."""
    if "://" in target or target.startswith("#"):
        return f"[{text}]({target})"
    inside = target.removeprefix("docs/")
    return f"[{text}]({inside})" if inside != target else text


def _signature(module: str, name: str) -> str:
    """A heading, the signature and the docstring of ``name``, and what a class says of its parts."""
    thing: Any = import_module(module)
    for part in name.split("."):
        thing = getattr(thing, part)
    shown = QUOTED.sub(lambda found: found[1] or found[2], str(inspect.signature(thing)))
    words = [inspect.getdoc(thing) or ""]
    if inspect.isclass(thing):
        parts = {**_fields(thing), **_members(thing)}
        words.append("\n".join(f"- `{part}`: {text}" for part, text in parts.items()))
    title = f"{module}.{name}".replace("_", "\\_")
    head = f"### {title}\n\n```text\n{_wrapped(name + shown)}\n```"
    return "\n\n".join([head, *(ROLE.sub(r"``\1``", text) for text in words if text)])


def _fields(thing: type) -> dict[str, str]:
    """The fields of a dataclass that have a docstring below them, which only its source tells."""
    if not is_dataclass(thing):
        return {}
    (tree,) = ast.parse(inspect.getsource(thing)).body
    assert isinstance(tree, ast.ClassDef)
    return {
        ast.unparse(field.target): " ".join(str(words.value.value).split())
        for field, words in pairwise(tree.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(words, ast.Expr)
        and isinstance(words.value, ast.Constant)
    }


def _members(thing: type) -> dict[str, str]:
    """The first paragraphs of its public methods and properties."""
    found = {}
    for name, member in vars(thing).items():
        routine = inspect.isfunction(member) or isinstance(member, (staticmethod, classmethod))
        words = inspect.getdoc(member)
        if words and not name.startswith("_") and (routine or isinstance(member, property)):
            found[name + "()" * routine] = " ".join(words.split("\n\n")[0].split())
    return found


def _wrapped(head: str) -> str:
    """A long signature with one parameter a line."""
    if len(head) <= 100:
        return head
    opening, _, rest = head.partition("(")
    inner, _, result = rest.rpartition(")")
    parts, depth, start = [], 0, 0
    for place, letter in enumerate(inner):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append(inner[start:place].strip())
            start = place + 1
    parts.append(inner[start:].strip())
    return opening + "(\n    " + ",\n    ".join(parts) + f",\n){result}"
