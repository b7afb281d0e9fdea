"""Processes for tests, forked from one that has imported torch: the import would take most of their time.

Also a script, the process that forks, one for all processes of ``pytest -n``: for each that connects to its
socket it forks a process that reads one JSON request a line and answers with process id and exit code.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

from waiting import LONG

Done = subprocess.CompletedProcess[str]


@dataclass
class Running:
    """A process, used as subprocess.Popen is."""

    server: socket.socket
    pid: int
    returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        if self.returncode is None and select.select([self.server], [], [], 0)[0]:
            self.returncode = _number(self.server)
        return self.returncode

    def wait(self) -> int:
        """The exit code, once it has ended."""
        assert self.returncode is not None or select.select([self.server], [], [], LONG)[0], "it never ends"
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _number(server: socket.socket) -> int:
    """The next line; nothing behind it is read, so that select tells whether there is more."""
    line = b""
    while not line.endswith(b"\n"):
        read = server.recv(1)
        assert read, "the process that forks has ended"
        line += read
    return int(line)


@dataclass(frozen=True)
class Forks:
    """Runs Python programs as processes of their own, with an environment and a folder of their own."""

    server: socket.socket
    path: Path
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
        words = [program, *map(str, arguments)]
        code = _started(self.server, words, cwd, env, (given, out, err)).wait()
        return subprocess.CompletedProcess(words, code, out.read_text(), err.read_text())

    @contextlib.contextmanager
    def running(
        self, program: str, *arguments: object, cwd: Path, env: Mapping[str, str] | None = None, log: Path
    ) -> Iterator[Running]:
        """The same in the background; ``log`` gets standard output and error. Killed at the end."""
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(str(self.path))
            words = [program, *map(str, arguments)]
            process = _started(server, words, cwd, env, (Path(os.devnull), log, log))
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()


def _started(
    server: socket.socket,
    words: Sequence[str],
    cwd: Path,
    env: Mapping[str, str] | None,
    files: Sequence[Path],
) -> Running:
    request = {
        "arguments": words,
        "cwd": str(cwd),
        "env": {**os.environ, **(env or {})},
        "files": [str(file) for file in files],
    }
    server.sendall(json.dumps(request).encode() + b"\n")
    return Running(server, _number(server))


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Forks]:
    """Processes of the server whose socket is in ``folder``, which is started unless it is there."""
    path = folder / "forks"
    with socket.socket(socket.AF_UNIX) as server, tempfile.TemporaryDirectory() as own:
        with open(folder / "forks.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # until it listens: two must not start one
            try:
                server.connect(str(path))
            except OSError:  # there is none, or its last user has left
                path.unlink(missing_ok=True)
                start = [sys.executable, __file__, str(path)]
                process = subprocess.Popen(start, stdout=subprocess.PIPE, start_new_session=True)
                assert process.stdout is not None and process.stdout.read(5) == b"ready"
                server.connect(str(path))
        yield Forks(server, path, Path(own))


LIBRARIES = (
    "click", "filelock", "h5py", "jinja2", "onnxscript.function_libs.torch_lib.ops",
    "PIL.Image", "psutil", "rich.progress", "rich.table", "safetensors.torch", "scipy.io",
    "spectral", "tifffile", "timm", "torch.onnx._internal.exporter._core",
    "yaml", "zarr",
)  # fmt: skip
"""What the programs import, apart from what reads the environment then."""
OWN = ("hsrzoo", "hsrzoo_mcga", "hsrzoo_baselines", "hsrzoo_benchmark")


def listen(path: Path) -> None:
    """Serve all who connect to a socket, each by a process of its own, until the last one has left."""
    import_libraries()
    import_own()
    weakref.finalize._registry.clear()  # torch would take its operators apart at the end of every child
    gc.collect()
    gc.freeze()  # no search for garbage among them in every child
    gc.set_threshold(200_000, 50, 1000)
    use_huge_pages()
    with socket.socket(socket.AF_UNIX) as server, open(path.with_suffix(".lock"), "w") as lock:
        server.bind(str(path))
        server.listen()
        print("ready", end="", flush=True)
        serving: set[int] = set()
        while True:
            if select.select([server], [], [], 1.0)[0]:
                client, _ = server.accept()
                child = os.fork()
                if child == 0:
                    server.close()
                    serve(client)
                client.close()
                serving.add(child)
            serving -= {child for child in serving if os.waitpid(child, os.WNOHANG)[0]}
            if not serving:
                fcntl.flock(lock, fcntl.LOCK_EX)  # nobody connects meanwhile
                if not select.select([server], [], [], 0)[0]:
                    return
                fcntl.flock(lock, fcntl.LOCK_UN)


def serve(client: socket.socket) -> NoReturn:
    """Fork a process for each request of one client."""
    for line in client.makefile():
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            os.close(client.fileno())
            become(request)
        client.sendall(f"{child}\n".encode())
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        client.sendall(f"{code}\n".encode())
    os._exit(0)


def import_libraries() -> None:
    import_module = importlib.import_module
    import_module("accelerate")
    with mock.patch.object(atexit, "register", lambda work: work), contextlib.suppress(ImportError):
        import_module("onnx")  # it would search for garbage at the end of every child
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):  # some belong to extras
            import_module(name)
    # timm brings the Hub's client, which reads the environment when it is imported
    for name in [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]:
        del sys.modules[name]


def import_own() -> None:
    """All modules of the project: they read no environment and import no plugin when they are imported."""
    for package in OWN:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if "triton" not in module.name:  # its decorators read the environment
                with contextlib.suppress(ImportError):
                    importlib.import_module(module.name)
    entry_points = importlib.import_module("hsrzoo.utils.entry_points")
    assert not entry_points.installed.cache_info().currsize, "an import has asked for plugins"


HUGE_PAGE = 2 << 20
MADV_COLLAPSE = 25
"""Of Linux 6.1 and later; elsewhere it is refused."""


def use_huge_pages() -> None:
    """Join the memory of this process into large pages where the system can: to copy and to free the tables
    of half a million small ones took more than half the time of a fork."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for line in maps.read_text().splitlines():
        span, access, _, _, inode, *_ = line.split()
        if access.startswith("rw") and inode == "0":  # no file lies behind it
            first, end = (int(address, 16) for address in span.split("-"))
            for start in range(-(-first // HUGE_PAGE) * HUGE_PAGE, end - HUGE_PAGE + 1, HUGE_PAGE):
                madvise(start, HUGE_PAGE, MADV_COLLAPSE)


def become(request: dict[str, Any]) -> None:
    """Run the program of the request in this process, and end it as an interpreter ends."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
    for number, (path, flags) in enumerate(
        zip(request["files"], (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT | os.O_TRUNC] * 2), strict=True)
    ):
        os.dup2(os.open(path, flags, 0o600), number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  (without what the parent has read ahead)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    tempfile.tempdir = None  # is found anew
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
    listen(Path(sys.argv[1]))
