"""Run one command in two processes at once: ``python side_by_side.py ROUNDS`` reads commands from stdin.

Standard input holds a JSON object: name -> words of a command of hsrzoo, in which ``{round}`` is the number
of the round. Prints name -> list of rounds -> [exit code, text of standard error] of both processes. This
process imports everything and runs nothing itself, so that it can fork cheaply.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import accelerate  # noqa: F401  (imported here, once for all children)

from hsrzoo.cli.main import main


def start(words: list[str], begin: int, text: Path) -> int:
    """Pid of a child that runs the command as soon as something can be read from ``begin``."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        file = os.open(text, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.argv = ["hsrzoo", *words]
        os.read(begin, 1)
        main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def both(words: list[str]) -> list[tuple[int, str]]:
    begin, go = os.pipe()
    texts = [Path(f"{side}.txt").resolve() for side in ("left", "right")]
    children = [start(words, begin, text) for text in texts]
    os.write(go, b"go")
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    os.close(begin)
    os.close(go)
    return [(code, text.read_text()) for code, text in zip(codes, texts, strict=True)]


if __name__ == "__main__":
    commands: dict[str, list[str]] = json.load(sys.stdin)
    done = {
        name: [both([word.replace("{round}", str(i)) for word in words]) for i in range(int(sys.argv[1]))]
        for name, words in commands.items()
    }
    print(json.dumps(done))
