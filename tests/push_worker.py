"""One client process that runs many commands: importing torch anew for each would take most of the time.

Also a script, ``push_worker.py SOCKET``: reads one JSON request a line, ``{"arguments", "env", "cwd"}``,
and answers with the exit code and what the command printed.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from forks import Forks
from waiting import LONG


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Worker:
    """``worker(folder, env, "push", ...)`` runs one command of hsrzoo in ``folder``."""

    lines: io.TextIOWrapper

    def __call__(self, folder: Path, env: Mapping[str, str], *arguments: object) -> Result:
        request = {"arguments": [str(a) for a in arguments], "env": dict(env), "cwd": str(folder)}
        self.lines.write(json.dumps(request) + "\n")
        self.lines.flush()
        return Result(**json.loads(self.lines.readline()))


@contextlib.contextmanager
def started(forks: Forks, env: Mapping[str, str], folder: Path) -> Iterator[Worker]:
    """A worker whose environment begins as ``env``: huggingface_hub keeps what it reads at its import.

    ``folder`` is empty; the socket that leads to the worker is there, and what it prints outside commands.
    """
    path = folder / "worker"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        server.settimeout(LONG)
        with forks.running(__file__, path, cwd=folder, env=env, log=folder / "log"):
            connection, _ = server.accept()
            with connection, connection.makefile("rw") as lines:
                yield Worker(lines)


def serve(path: str) -> None:
    from hsrzoo.cli.errors import run
    from hsrzoo.cli.main import cli

    sleep = time.sleep
    time.sleep = lambda seconds: sleep(min(seconds, 0.01))  # the client waits long before it tries again
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    answers = connection.makefile("w")
    for line in connection.makefile():
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
    serve(sys.argv[1])
