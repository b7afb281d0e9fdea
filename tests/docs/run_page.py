"""Run the steps of one page in this folder: ``python run_page.py < steps.json``.

A step is {"where", "words", "env", "console"} or {"where", "source"}. hsrzoo commands run in this one
process, those with ``console`` or with variables in one forked from it.
Leaves with 1 at the first step that fails; its output is the last.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

SCRIPTS = Path(sys.executable).parent


def import_again() -> None:
    """Forget hsrzoo and what reads the environment when it is imported."""
    for name in [name for name in sys.modules if name.startswith(("hsrzoo", "huggingface_hub"))]:
        del sys.modules[name]


def in_process(words: list[str]) -> int:
    """The exit code of the console script ``hsrzoo``, run here."""
    from hsrzoo.cli.main import main as hsrzoo

    sys.argv = words
    try:
        hsrzoo()
    except SystemExit as left:
        return int(left.code or 0)
    return 0


def forked(words: list[str], env: dict[str, str]) -> int:
    """The exit code of the console script in a process of its own, which need not import torch again."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        if env:
            os.environ.update(env)
            import_again()
        code = in_process(words)
        sys.stdout.flush()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def apart(words: list[str], env: dict[str, str]) -> int:
    """The exit code of a process of its own."""
    program = SCRIPTS / words[0]
    first = str(program) if program.exists() else words[0]
    return subprocess.run([first, *words[1:]], env={**os.environ, **env}, check=False).returncode


def run(step: dict[str, Any], names: dict[str, Any]) -> int:
    """The exit code of one step."""
    if "source" in step:
        try:
            exec(compile(step["source"], step["where"], "exec"), names)
        except Exception:
            traceback.print_exc()
            return 1
        return 0
    if step["words"][0] == "hsrzoo" and (step["console"] or step["env"]):
        return forked(step["words"], step["env"])
    if step["words"][0] == "hsrzoo":
        return in_process(step["words"])
    return apart(step["words"], step["env"])


def main() -> None:
    names: dict[str, Any] = {"__name__": "page"}
    for step in json.load(sys.stdin):
        shown = " ".join(step["words"]) if "words" in step else "(python)"
        print(f"### {step['where']}: {shown}", flush=True)
        start = time.perf_counter()
        code = run(step, names)
        sys.stdout.flush()
        print(f"### exit {code} after {time.perf_counter() - start:.1f} s", flush=True)
        if code:
            sys.exit(1)


if __name__ == "__main__":
    main()
