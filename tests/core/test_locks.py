"""One process at a time writes an output: the others are refused with its pid, or wait."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from hsrzoo.errors import InputError, LockedError, StoreError
from hsrzoo.utils import locks
from hsrzoo.utils.files import atomic_file, remove_leftovers, require_regular, write_atomically
from hsrzoo.utils.locks import hold, hold_folder, is_empty

NEEDS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def elsewhere(work: Callable[[], object]) -> object:
    """The result of ``work`` in another thread, which shares no lock with this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def take(path: Path) -> None:
    with hold(path):
        pass


@contextmanager
def holder_of(path: Path) -> Iterator[int]:
    """Pid of another process that holds the lock of ``path``; it is killed at the end."""
    ready, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with hold(path):
                os.write(write_end, b"x")
                signal.pause()
        finally:
            os._exit(1)
    try:
        os.read(ready, 1)
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ready)
        os.close(write_end)


@NEEDS_FORK
def test_a_second_process_is_refused_with_the_pid_and_a_killed_one_locks_nothing(tmp_path: Path) -> None:
    out = tmp_path / "a.hdr"
    with holder_of(out) as pid, pytest.raises(LockedError, match=rf"a\.hdr is in use by process {pid}\b"):
        take(out)
    assert [path.name for path in tmp_path.iterdir()] == [".a.hdr.lock"]
    take(out)
    assert not list(tmp_path.iterdir())
    assert LockedError("").exit_code == 2


def test_another_thread_is_refused_and_the_same_thread_is_not(tmp_path: Path) -> None:
    with hold(tmp_path / "a"):
        take(tmp_path / "a")
        take(tmp_path / "b")
        with pytest.raises(LockedError, match=f"process {os.getpid()}"):
            elsewhere(lambda: take(tmp_path / "a"))
    elsewhere(lambda: take(tmp_path / "a"))


def test_one_that_waits_says_so_once_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_POLL_SECONDS", 0.001)
    said: list[str] = []
    order: list[str] = []

    def second() -> None:
        with hold_folder(tmp_path, said.append):
            order.append("second")

    with ThreadPoolExecutor(1) as pool:
        with hold_folder(tmp_path):
            waiting = pool.submit(second)
            while not said:
                assert not waiting.done()
            order.append("first")
        waiting.result()
    assert order == ["first", "second"]
    assert said == [f"Waiting for process {os.getpid()}, which is using {tmp_path}"]


@NEEDS_FORK
def test_lock_files_that_come_and_go_let_no_two_processes_in(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(locks, "_POLL_SECONDS", 0.0)
    count = tmp_path / "count"
    count.write_text("0")
    children = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                for _ in range(40):
                    with hold(count, lambda _: None):
                        count.write_text(str(int(count.read_text()) + 1))
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
    assert count.read_text() == "120" and [path.name for path in tmp_path.iterdir()] == ["count"]


def test_a_file_system_without_locks_gives_a_warning(tmp_path: Path, monkeypatch) -> None:
    def no_locks(handle: int, *, blocking: bool) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks, "lock_descriptor", no_locks)
    with pytest.warns(UserWarning, match="has no locks"), hold(tmp_path / "a") as handle:
        assert handle is None
    assert is_empty(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere.a cannot be written.*No such file"):
        take(tmp_path / "nowhere" / "a")


def test_what_a_killed_write_left_goes_with_the_next_one(tmp_path: Path) -> None:
    out = tmp_path / "a.npz"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), atomic_file(out, locked=True) as temporary:
            temporary.write_bytes(b"half")
            os.link(temporary, tmp_path / "kept")
            raise KeyboardInterrupt
        os.replace(tmp_path / "kept", temporary)  # a killed process removes nothing
    with atomic_file(out, locked=True) as temporary:
        temporary.write_bytes(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"] and out.read_bytes() == b"whole"


def test_leftovers_of_one_file_are_removed_and_no_others(tmp_path: Path) -> None:
    for name in (".config.json.x1.json", ".config.json", ".other.json.x1.json", "config.json"):
        write_atomically(tmp_path / name, b"")
    remove_leftovers([tmp_path / "config.json"])
    assert {path.name for path in tmp_path.iterdir()} == {
        ".config.json", ".other.json.x1.json", "config.json",
    }  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(InputError, match="pipe, a socket or a device"):
            require_regular(path)
    require_regular(tmp_path)
    require_regular(tmp_path / "nothing")
