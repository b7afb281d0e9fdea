"""The Hub on loopback as a separate process, and clients of it as processes of their own."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from forks import Forks
from push_worker import Worker, started
from waiting import LONG

SERVER = Path(__file__).with_name("hub_server.py")
TOKENS = {
    "alice": "hf_AliceWritesToLab0123456789abcdefghi",
    "bob": "hf_BobIsAStrangerHere0123456789abcdefg",
}
"""alice may also write to the organisation lab; bob is nobody there."""
WRONG_TOKEN = "hf_NobodyKnowsThisOne0123456789abcdefg"
_NAMES = {"alice": ["alice", "lab"], "bob": ["bob"]}


def client_env(url: str, home: Path) -> dict[str, str]:
    """What every client of the server has in its environment; long waits, as the machine may be busy."""
    return {
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_ETAG_TIMEOUT": "1800",
        "HF_HUB_DOWNLOAD_TIMEOUT": "1800",
        "OMP_NUM_THREADS": "1",
        "NO_COLOR": "1",
    }


@dataclass(frozen=True)
class HubServer:
    """The running server; :meth:`env` makes a client of somebody."""

    url: str
    folder: Path

    def env(self, user: str | None = "alice", home: str = "home", **more: str) -> dict[str, str]:
        """The environment of a client: of alice, bob, "wrong" (a wrong token) or None (no token).

        ``home``: name of its HF_HOME, a cache of its own. ``more``: other variables, e.g. HF_HUB_OFFLINE.
        """
        token = "" if user is None else WRONG_TOKEN if user == "wrong" else TOKENS[user]
        return {**client_env(self.url, self.folder / home), "HF_TOKEN": token, **more}

    def ask(self, action: str, value: Any = None) -> Any:
        """The server's own door for tests: see ``control`` in hub_server.py."""
        data = None if value is None else json.dumps(value).encode()
        with urllib.request.urlopen(f"{self.url}/_control/{action}", data, timeout=LONG) as answer:
            return json.load(answer)

    def requests(self, method: str | None = None, containing: str = "") -> list[dict[str, Any]]:
        """The log since the test began: method, path, status, sent (bytes), range, authorized, fault."""
        log = self.ask("log")
        return [r for r in log if method in (None, r["method"]) and containing in r["path"]]

    def fault(self, kind: str, path: str, **more: Any) -> None:
        """Let the next request whose path matches fail: see ``Fault`` in hub_state.py.

        kind: "status" (status, headers, body), "drop" or "stall" (after N bytes), "corrupt"; times, method.
        """
        self.ask("fault", {"kind": kind, "path": path, **more})

    def mend(self) -> None:
        """No more faults."""
        self.ask("mend", {})

    def commits(self, repo: str, revision: str = "main") -> list[dict[str, Any]]:
        """Newest first: oid, title, parent, author, files (path -> sha256, size, lfs)."""
        return self.ask("repo", {"name": repo, "revision": revision})["history"]

    def put(self, repo: str, files: Mapping[str, bytes], **more: Any) -> str:
        """A commit that holds just these files, made without a client; its id.

        more: private (of a new repository: True), revision (branch), tag.
        """
        encoded = {path: base64.b64encode(data).decode() for path, data in files.items()}
        return str(self.ask("put", {"name": repo, "files": encoded, **more})["oid"])

    def repo(self, repo: str, **changes: bool) -> dict[str, Any]:
        """private, refs, history; ``gated=True`` closes it to all but its owner."""
        return self.ask("repo", {"name": repo, **changes})


@pytest.fixture(scope="session")
def _hub_process() -> Iterator[str]:
    users = {TOKENS[user]: names for user, names in _NAMES.items()}
    env = {**os.environ, "HUB_USERS": json.dumps(users)}
    process = subprocess.Popen([sys.executable, str(SERVER)], env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def hub(_hub_process: str, tmp_path: Path) -> HubServer:
    """An empty Hub in a process of its own."""
    server = HubServer(_hub_process, tmp_path / "hub")
    server.ask("reset", {})
    return server


def weights_of(name: str, **more: bytes) -> dict[str, bytes]:
    """The files of bundled weights as they lie in a repository, with the card of a zoo's repository."""
    from hsrzoo.models.locate import folder_of
    from hsrzoo.models.names import parse_name

    files = {path.name: path.read_bytes() for path in folder_of(parse_name(name)).iterdir()}
    return {**files, "README.md": CARD, **more}


CARD = b"---\nlibrary_name: hsrzoo\ntags:\n- cave\n---\n# Weights\n"


def fake_model(data: bytes, **config: Any) -> dict[str, bytes]:
    """A repository whose weights are any bytes; good for all but loading them."""
    facts = {"schema": 1, "weights_sha256": hashlib.sha256(data).hexdigest(), **config}
    return {"config.json": json.dumps(facts).encode(), "model.safetensors": data, "README.md": CARD}


@pytest.fixture
def weights() -> Callable[..., dict[str, bytes]]:
    return weights_of


@pytest.fixture
def fake() -> Callable[..., dict[str, bytes]]:
    return fake_model


@pytest.fixture
def secrets() -> list[str]:
    """What must stand nowhere."""
    return [*TOKENS.values(), WRONG_TOKEN]


@pytest.fixture(scope="session")
def worker_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """HF_HOME of the worker."""
    return tmp_path_factory.mktemp("worker")


@pytest.fixture(scope="session")
def worker(
    _hub_process: str, forks: Forks, worker_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    """One client process for many commands: see :mod:`push_worker`."""
    with started(forks, client_env(_hub_process, worker_home), tmp_path_factory.mktemp("socket")) as one:
        yield one


Client = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def client(forks: Forks, tmp_path: Path) -> Client:
    """``client(hub.env("bob"), "print(1)")``: Python code in a process of its own, in ``tmp_path``.

    huggingface_hub reads the environment when it is imported, so this process cannot be the client.
    """

    def run(env: dict[str, str], code: str) -> subprocess.CompletedProcess[str]:
        return forks.python("-c", code, cwd=tmp_path, env=env)

    return run
