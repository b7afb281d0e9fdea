"""One client process that runs many commands: importing torch anew for each would take most of the time.

Also a script: reads one JSON request a line, ``{"arguments", "env", "cwd"}``, and answers with the exit
code and what the command printed.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str


@dataclass
class Worker:
    """``worker(folder, env, "push", ...)`` runs one command of hsrzoo in ``folder``."""

    process: subprocess.Popen[str]

    def __call__(self, folder: Path, env: Mapping[str, str], *arguments: object) -> Result:
        request = {"arguments": [str(a) for a in arguments], "env": dict(env), "cwd": str(folder)}
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return Result(**json.loads(self.process.stdout.readline()))


@contextlib.contextmanager
def started(env: Mapping[str, str]) -> Iterator[Worker]:
    """A worker whose environment begins as ``env``: huggingface_hub keeps what it reads at its import."""
    process = subprocess.Popen(
        [sys.executable, __file__],
        env={**os.environ, **env}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield Worker(process)
    finally:
        process.kill()
        process.wait()


def serve() -> None:
    from hsrzoo.cli.errors import run
    from hsrzoo.cli.main import cli

    sleep = time.sleep
    time.sleep = lambda seconds: sleep(min(seconds, 0.01))  # the client waits long before it tries again
    answers = sys.stdout
    for line in sys.stdin:
        request = json.loads(line)
        os.environ.update(request["env"])
        os.chdir(request["cwd"])
        arguments = request["arguments"]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(
                lambda given=arguments: cli.main(given, prog_name="hsrzoo", standalone_mode=False),
                debug=lambda given=arguments: "--debug" in given,
            )
        answers.write(json.dumps({"code": code, "out": out.getvalue(), "err": err.getvalue()}) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
