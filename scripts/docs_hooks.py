"""What MkDocs does to a page besides Markdown: files of the repository on it, signatures, notes for tests.

``<!-- include: PATH -->`` stands for a Markdown file of the repository, or any other file as a code block;
``<!-- signature: MODULE.NAME -->`` for the signature and the docstring of a public name; ``<!-- test: ... -->``
tells tests/docs how to run the next block and is not for readers.
"""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
INCLUDE = re.compile(r"^<!-- include: (\S+) -->$", re.MULTILINE)
SIGNATURE = re.compile(r"^<!-- signature: (\S+)\.(\w+) -->$", re.MULTILINE)
FOR_TESTS = re.compile(r"^<!-- test: .* -->\n", re.MULTILINE)
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```\n(?=hsrzoo |make |python |torchrun |pip )", re.MULTILINE)
ROLE = re.compile(r":\w+:`~?([^`]+)`")


def on_config(config: Any) -> Any:
    """The version of the installed package, above the search field."""
    config.extra["version"] = import_module("hsrzoo").__version__
    return config


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
    """A code block with what a caller of ``name`` must know, as its docstring says it."""
    thing = getattr(import_module(module), name)
    words = inspect.getdoc(thing) or ""
    if inspect.isclass(thing):
        words += _members(thing)
    head = f"{module}.{name}{inspect.signature(thing, eval_str=False)}"
    return f"```text\n{_wrapped(head)}\n\n" + ROLE.sub(r"\1", words) + "\n```"


def _members(thing: type) -> str:
    """The public methods and properties of a class that say something of themselves."""
    rows = []
    for name, member in vars(thing).items():
        call = "(...)" if callable(member) else ""
        if name.startswith("_") or not inspect.getdoc(member) or isinstance(member, (str, int, float)):
            continue
        rows.append(f".{name}{call}  {(inspect.getdoc(member) or '').splitlines()[0]}")
    return "\n\n" + "\n".join(rows) if rows else ""


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
