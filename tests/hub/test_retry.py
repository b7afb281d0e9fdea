"""A Hub that is busy is asked again, as long as it wishes and within bounds; then the cache is used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import pytest

from hsrzoo.hub import retry
from hsrzoo.hub.errors import translate

SCRIPT = """
import json, sys, time, warnings
from hsrzoo.hub import client as hub
from hsrzoo.errors import HsrzooError
slept = []
time.sleep = slept.append
warnings.simplefilter("always")
warnings.showwarning = lambda message, *_, **__: said.append(str(message))
answers = []
for call in {calls!r}:
    slept, said = [], []
    time.sleep = slept.append
    try:
        value = eval(call)
        answers.append([getattr(value, "name", value), "", slept, said])
    except HsrzooError as error:
        answers.append(["", str(error), slept, said])
print(json.dumps(answers))
"""


@pytest.fixture
def ask(client) -> Callable[..., list[Any]]:
    """``ask(env, "hub.pull('lab/a')", ...)``: value, error, waits and warnings of each call."""

    def call(env: dict[str, str], *calls: str) -> list[Any]:
        done = client(env, SCRIPT.format(calls=calls))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return call


def error_of(status: int, **headers: str) -> Exception:
    """What the client raises for an answer."""
    error = OSError("made")
    error.response = SimpleNamespace(status_code=status, headers=headers)  # type: ignore[attr-defined]
    return error


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Instead of sleeping."""
    found: list[float] = []
    monkeypatch.setattr(retry.time, "sleep", found.append)
    return found


def failing(*errors: Exception) -> Callable[[], str]:
    """A call that raises these and then succeeds."""
    left = list(errors)

    def call() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return call


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_hub_is_asked_again_with_growing_waits(waits: list[float], status: int) -> None:
    assert retry.retried(failing(*[error_of(status)] * 3)) == "done"
    assert waits == [1, 2, 4]
    with pytest.raises(OSError, match="made"):
        retry.retried(failing(*[error_of(status)] * 4))


@pytest.mark.parametrize("error", [error_of(404), error_of(401), error_of(412), ValueError("a bug")])
def test_other_errors_are_told_at_once(waits: list[float], error: Exception) -> None:
    with pytest.raises(type(error)):
        retry.retried(failing(error))
    assert waits == []


def test_the_wait_is_the_one_that_the_server_asks_for(waits: list[float]) -> None:
    soon = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=40), usegmt=True)
    errors = [error_of(429, **{"retry-after": "3"}), error_of(503, **{"retry-after": soon})]
    errors.append(error_of(429, ratelimit='"api";r=0;t=2'))
    with pytest.warns(UserWarning, match=r"busy \(status 503\): waiting (3\d|40) s"):
        assert retry.retried(failing(*errors)) == "done"
    assert waits[0] == 3 and 30 < waits[1] <= 40 and waits[2] == 2
    assert retry.asked_wait(SimpleNamespace(headers={"ratelimit": '"api";r=5;t=2'})) is None
    assert retry.asked_wait(SimpleNamespace(headers={"retry-after": "soon"})) is None


def test_a_wait_beyond_the_bound_is_not_made(waits: list[float]) -> None:
    with pytest.raises(OSError, match="made"):
        retry.retried(failing(error_of(429, **{"retry-after": "3600"})))
    assert waits == []


def test_the_status_behind_the_clients_cache_counts(waits: list[float]) -> None:
    error = type("LocalEntryNotFoundError", (FileNotFoundError,), {})("not cached")
    error.__cause__ = error_of(503)
    assert retry.retried(failing(error)) == "done" and waits == [1]


def test_what_must_not_be_done_twice_is_repeated_only_if_it_was_not_done(waits: list[float]) -> None:
    assert retry.retried(failing(error_of(429)), lambda status: status == 429) == "done"
    with pytest.raises(OSError, match="made"):
        retry.retried(failing(error_of(502)), lambda status: status == 429)


def test_any_request_of_a_pull_may_fail_for_a_moment(hub, ask, fake) -> None:
    hub.put("lab/a", fake(b"x"))
    for path in ("/api/models/lab/a$", "/revision/", "/tree/", "config.json", "/_lfs/"):
        hub.fault("status", path, status=429, headers={"Retry-After": "2"})
    for path in ("model.safetensors", "config.json"):
        hub.fault("status", path, status=503, method="HEAD")
    ((name, error, slept, _),) = ask(hub.env(), "hub.pull('lab/a')")
    assert error == "" and len(name) == 40
    assert {2, 3} & set(slept) and max(slept) <= 8  # the client adds a second to what it is asked for
    made = [r for r in hub.requests() if r["fault"]]
    assert len(made) >= 5 and any(r["method"] == "HEAD" for r in made)


def test_any_request_of_a_push_may_fail_for_a_moment(hub, ask) -> None:
    paths = {
        "/api/repos/create": "POST", "/preupload/": "POST", "/objects/batch": "POST", "/_lfs/": "PUT",
        "/verify": "POST", "/commit/": "POST", "whoami": "GET", "/api/models/lab/new": "GET",
        "/api/models$": "GET",
    }  # fmt: skip
    for path, method in paths.items():
        hub.fault("status", path, method=method, status=503)
    answers = ask(
        hub.env(),
        "hub.whoami()",
        "hub.create_repo('lab/new', private=True)",
        "hub.head('lab/new') and 'seen'",
        "hub.commit('lab/new', {'model.safetensors': b'x' * 99}, 'x', parent=hub.head('lab/new'))",
        "len(hub.list_repos('lab'))",
    )
    assert [error for _, error, _, _ in answers] == [""] * 5
    assert len([r for r in hub.requests() if r["fault"]]) == len(paths)
    assert list(hub.commits("lab/new")[0]["files"]) == ["model.safetensors"]


def test_a_hub_that_stays_busy_leaves_what_was_pulled_last(hub, ask, fake) -> None:
    first = hub.put("lab/a", fake(b"x"))
    assert ask(hub.env(), "hub.pull('lab/a')")[0][0] == first
    second = hub.put("lab/a", fake(b"y"))
    pull = "hub.pull('lab/a')"
    for path, method, status in (("/api/", "GET", 429), ("/resolve/", "HEAD", 503)):
        hub.fault("status", path, method=method, status=status, times=99)
        ((name, error, _, said),) = ask(hub.env(), pull)
        assert (name, error) == (first, "")
        assert f"using the last pulled version of lab/a, commit {first[:8]}" in said[-1]
        assert f"(status {status})" in said[-1]
        hub.mend()
    assert ask(hub.env(HF_HUB_OFFLINE="1"), pull)[0][0] == first  # still whole
    assert ask(hub.env(), pull)[0][0] == second


def test_nobody_waits_for_an_hour(hub, ask, fake) -> None:
    hub.put("lab/a", fake(b"x"))
    for path in ("/api/models/lab/a", "/tree/"):
        hub.fault("status", path, status=429, headers={"Retry-After": "3600"}, times=99)
        ((_, error, slept, _),) = ask(hub.env(home=path.strip("/").replace("/", "-")), "hub.pull('lab/a')")
        assert "Wait 3600 seconds" in error and sum(slept) == 0
        hub.mend()


def test_errors_of_large_files_are_told(hub, ask) -> None:
    refused = {"objects": [{"oid": "0", "size": 9, "error": {"code": 507, "message": "no room"}}]}
    batch = "a{}.git/info/lfs/objects/batch"
    unusable = "The Hub's answer about lab/a{} cannot be used."
    cases: list[tuple[str, str, dict[str, Any], str]] = [
        ("{sha}", "PUT", {"status": 403}, "The storage of the Hub does not take a file for lab/a{}."),
        ("{sha}", "PUT", {"status": 413}, "The storage of the Hub does not take a file for lab/a{}."),
        ("{sha}", "PUT", {"status": 500}, "The upload to lab/a{} was interrupted."),
        (batch, "POST", {"status": 422}, "The Hub rejects a request for lab/a{}."),
        (batch, "POST", {"status": 200, "body": "[1]"}, unusable),
        (batch, "POST", {"status": 200, "body": json.dumps(refused)},
         "The Hub takes no large files for lab/a{}. Got Encountered error for file with OID 0: no room."),
        ("lab/a{}/commit/", "POST", {"status": 200, "body": "[1]"}, unusable),
        ("lab/a{}/preupload/", "POST", {"status": 200, "body": "{}"}, unusable),
    ]  # fmt: skip
    calls = []
    for i, (path, method, fault, _) in enumerate(cases):
        data = b"x" * (99 + i)
        hub.put(f"lab/a{i}", {"README.md": b"# a"})
        where = path.replace("{sha}", hashlib.sha256(data).hexdigest()).replace("{}", str(i))
        hub.fault("status", where, method=method, times=99, **fault)
        calls.append(f"hub.commit('lab/a{i}', {{'model.safetensors': {data!r}}}, 'x')")
    told = [error for _, error, _, _ in ask(hub.env(), *calls)]
    for i, (error, (*_, words)) in enumerate(zip(told, cases, strict=True)):
        assert error.startswith(words.replace("{}", str(i))), error
        assert "http" not in error and "Signature" not in error
    assert "status 403" in told[0] and "write access" in told[0]


@pytest.mark.parametrize("token", ["hf_\u00e9\u00e9\u00e9\u00e9", "hf_abcd\u20ac"])
def test_a_token_with_impossible_characters_is_told_and_not_shown(hub, ask, token) -> None:
    ((_, error, _, _),) = ask({**hub.env(), "HF_TOKEN": token}, "hub.whoami()")
    assert error.startswith("The token for the Hub holds characters that no token has.")
    assert token not in error


def test_a_bug_of_this_program_is_not_taken_for_one_of_the_hub() -> None:
    with pytest.raises(TypeError) as caught:
        len(3)  # type: ignore[arg-type]
    assert translate(caught.value, "lab/a") is None
