"""Processes for tests, forked from one that has imported torch: the import would take most of their time.

Also a script, the process that forks: it reads one JSON request a line and answers with the exit code.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import runpy
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from waiting import LONG

Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Forks:
    """Runs Python programs as processes of their own, with an environment and a folder of their own."""

    parent: subprocess.Popen[str]
    folder: Path

    def hsrzoo(self, *arguments: object, cwd: Path, env: Mapping[str, str] | None = None) -> Done:
        """The console script; ``env`` is added to this process's environment."""
        return self.python("hsrzoo", *arguments, cwd=cwd, env=env)

    def python(
        self,
        program: str,
        *arguments: object,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        text: str = "",
    ) -> Done:
        """``python program``: a script's path, "-c" with code as first argument, or "hsrzoo".

        ``text`` is what it reads from standard input.
        """
        given, out, err = (self.folder / name for name in ("in", "out", "err"))
        given.write_text(text)
        request = {
            "arguments": [program, *map(str, arguments)],
            "cwd": str(cwd),
            "env": {**os.environ, **(env or {})},
            "files": [str(given), str(out), str(err)],
        }
        assert self.parent.stdin is not None and self.parent.stdout is not None
        self.parent.stdin.write(json.dumps(request) + "\n")
        self.parent.stdin.flush()
        assert select.select([self.parent.stdout], [], [], LONG)[0], f"{program} does not end"
        code = int(self.parent.stdout.readline())
        return subprocess.CompletedProcess(request["arguments"], code, out.read_text(), err.read_text())


@contextlib.contextmanager
def started() -> Iterator[Forks]:
    """A process that is ready to fork; it has imported nothing that reads the environment."""
    parent = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with tempfile.TemporaryDirectory() as folder:
        try:
            yield Forks(parent, Path(folder))
        finally:
            parent.kill()
            parent.wait()


def serve() -> None:
    import_libraries()
    gc.freeze()  # no search for garbage among them in every child
    gc.set_threshold(200_000, 50, 1000)
    answers = os.dup(1)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            os.close(answers)
            become(request)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.write(answers, f"{code}\n".encode())


def import_libraries() -> None:
    import h5py  # noqa: F401
    import torchmetrics.functional.image  # noqa: F401

    # timm brings the Hub's client, which reads the environment when it is imported
    for name in [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]:
        del sys.modules[name]


def become(request: dict[str, Any]) -> None:
    """Run the program of the request in this process, and end it as an interpreter ends."""
    for number, (path, flags) in enumerate(
        zip(request["files"], (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT | os.O_TRUNC] * 2), strict=True)
    ):
        os.dup2(os.open(path, flags, 0o600), number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  (without what the parent has read ahead)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    code = 0
    try:
        run(request["arguments"])
    except SystemExit as left:
        if isinstance(left.code, str):
            print(left.code, file=sys.stderr)
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run(arguments: Sequence[str]) -> None:
    program, *rest = arguments
    sys.argv = [program, *rest]
    sys.path[0] = str(Path(program).parent)  # was this file's folder
    sys.path[1:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    if program == "hsrzoo":
        from hsrzoo.cli.main import main

        sys.exit(main())
    elif program == "-c":
        sys.argv, sys.path[0] = ["-c", *rest[1:]], ""
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    serve()
