"""What goes wrong on the Hub, told in one paragraph: what it was, what to do, and no token."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from hsrzoo.errors import HubError, StoreError
from hsrzoo.hub.errors import translate

ASK = """
import json, sys, time, traceback
from hsrzoo.hub import client as hub
from hsrzoo.errors import HsrzooError
time.sleep = lambda seconds: None  # the client waits between its attempts
told = []
for call in {calls!r}:
    try:
        told.append([eval(call).name, ""])
    except HsrzooError as error:
        told.append([str(error), traceback.format_exc()])
print(json.dumps(told))
"""
LOGIN = "log in with `hf auth login`, or set HF_TOKEN."


@pytest.fixture
def told(client, secrets):
    """``told(env, "hub.pull('lab/a')", ...)``: what the error of each call says, "" where it has none.

    No token may stand in it, in a traceback or in a file of the client, and no chain of inner errors.
    """

    def ask(env: dict[str, str], *calls: str) -> list[str]:
        done = client(env, ASK.format(calls=calls))
        assert done.returncode == 0, done.stderr
        answers = json.loads(done.stdout)
        everything = done.stdout + done.stderr
        assert "direct cause" not in everything and "another exception" not in everything
        home = Path(env["HF_HOME"])
        files = [path for path in home.rglob("*") if path.is_file()] if home.is_dir() else []
        everything += "".join(path.read_bytes().decode(errors="replace") for path in files)
        assert not [secret for secret in secrets if secret in everything]
        return [message if trace else "" for message, trace in answers]

    return ask


def test_private_and_missing_look_alike_for_strangers(hub, told, fake) -> None:
    hub.put("lab/secret", fake(b"x"))
    for user in ("bob", None):
        private, missing = told(hub.env(user), "hub.pull('lab/secret')", "hub.pull('lab/nothing')")
        assert private.replace("secret", "nothing") == missing
        assert private.startswith("lab/secret does not exist on the Hub, or it is private")
        assert private.endswith(LOGIN)
    assert told(hub.env(), "hub.pull('lab/secret')") == [""]


def test_a_wrong_token_is_told_even_where_none_is_needed(hub, told, fake) -> None:
    hub.put("lab/open", fake(b"x"), private=False)
    calls = ("hub.pull('lab/open')", "hub.list_repos('lab')", "hub.whoami()", "hub.head('lab/open')")
    for message in told(hub.env("wrong"), *calls):
        assert message.startswith("The Hub does not accept this token") and message.endswith(LOGIN)


def test_what_needs_a_token_or_permission_says_so(hub, told, fake) -> None:
    hub.put("lab/open", fake(b"x"), private=False)
    nobody = told(hub.env(None), "hub.whoami()", "hub.create_repo('lab/new', private=True)")
    assert nobody[0] == "There is no token for the Hub on this machine. For this, " + LOGIN
    assert "does not accept this token" in nobody[1]
    bob = told(
        hub.env("bob"), "hub.create_repo('lab/new', True)", "hub.commit('lab/open', {'a': b''}, 'x')"
    )
    assert all("This token has no permission for this on lab/" in m and "write access" in m for m in bob)


def test_a_missing_revision_names_those_that_there_are(hub, told, fake) -> None:
    hub.put("lab/a", fake(b"x"), tag="v1.0")
    (message,) = told(hub.env(), "hub.pull('lab/a', 'v1.1')")
    assert message.startswith("lab/a has no revision 'v1.1'. Expected a branch or tag (main, v1.0)")
    assert message.endswith("Nearest: v1.0.")


def test_gated_repositories_say_how_to_get_in(hub, told, fake) -> None:
    hub.put("lab/gated", fake(b"x"), private=False)
    hub.repo("lab/gated", gated=True)
    for user in ("bob", None):
        (message,) = told(hub.env(user), "hub.pull('lab/gated')")
        assert "lab/gated is gated" in message and "Ask for access" in message


def test_what_is_no_repository_of_this_zoo_is_refused(hub, told, fake) -> None:
    good = fake(b"x")
    hub.put("lab/pickle", {"config.json": good["config.json"], "pytorch_model.bin": b"\x80\x02."})
    hub.put("lab/empty", {"README.md": b"# Nothing"})
    hub.put("lab/bare", {"model.safetensors": b"x"})
    hub.put("lab/other", {"model.safetensors": b"x", "config.json": b'{"model_type": "bert"}'})
    hub.put("lab/list", {"model.safetensors": b"x", "config.json": b"[1]"})
    hub.put("lab/broken", {"model.safetensors": b"x", "config.json": b"{"})
    hub.put("lab/mixed", {**good, "model.safetensors": b"y"})
    names = ("pickle", "empty", "bare", "other", "list", "broken", "mixed")
    found = dict(zip(names, told(hub.env(), *(f"hub.pull('lab/{n}')" for n in names)), strict=True))
    assert "only as a Python pickle" in found["pickle"] and "`hsrzoo convert`" in found["pickle"]
    assert not [r for r in hub.requests("GET") if r["path"].endswith("pytorch_model.bin")]
    assert "has no weights" in found["empty"] and "Got README.md." in found["empty"]
    assert "is not a repository of hsrzoo. Expected config.json beside the weights" in found["bare"]
    assert "a config.json with a schema" in found["other"] and "one with model_type" in found["other"]
    assert "one with list" in found["list"]
    assert "config.json of lab/broken cannot be read as JSON" in found["broken"]
    x, y = (json.loads(fake(data)["config.json"])["weights_sha256"] for data in (b"x", b"y"))
    assert f"Expected sha256 {x}. Got {y}." in found["mixed"] and "it was pushed damaged" in found["mixed"]


def test_a_file_that_changed_on_its_way_is_refused_until_it_is_fetched_again(hub, told, fake) -> None:
    good, bad = b"A" * 999, b"A" * 499 + b"@" + b"A" * 499
    hub.put("lab/a", fake(good))
    hub.fault("corrupt", "/_lfs/")
    once, again, offline = (
        told(env, "hub.pull('lab/a')")[0] for env in (hub.env(), hub.env(), hub.env(HF_HUB_OFFLINE="1"))
    )
    right, wrong = (json.loads(fake(data)["config.json"])["weights_sha256"] for data in (good, bad))
    assert once == again == offline
    assert once.startswith("model.safetensors of lab/a is damaged. Expected sha256 " + right)
    assert f"Got {wrong}." in once and "hsrzoo pull --force lab/a" in once
    assert told(hub.env(), "hub.pull('lab/a', force=True)", "hub.pull('lab/a')") == ["", ""]
    hub.put("lab/b", fake(good))
    hub.fault("corrupt", "config.json")
    assert told(hub.env(), "hub.pull('lab/b')")[0].startswith(
        "config.json of lab/b is damaged. Expected git blob sha1"
    )


def test_a_hub_that_fails_is_told_with_what_still_works(hub, told, fake) -> None:
    hub.put("lab/a", fake(b"x"))
    hub.fault("status", "/api/models/lab/a", status=503, times=99)
    down = told(hub.env(), "hub.pull('lab/a')", "hub.head('lab/a')")
    assert all(m.startswith("The Hub fails. Expected an answer about lab/a. Got status 503.") for m in down)
    hub.mend()
    hub.fault("status", "/api/models/lab/a", status=429, headers={"Retry-After": "17"}, times=99)
    assert "Wait 17 seconds and try again; what was" in told(hub.env(), "hub.pull('lab/a')")[0]
    hub.mend()
    hub.fault("drop", "/_lfs/", after=0, times=99)
    assert "Try again" in told(hub.env(home="other"), "hub.pull('lab/a')")[0]
    nowhere = hub.env(HF_ENDPOINT="http://127.0.0.1:9")
    messages = told(nowhere, "hub.pull('lab/a')", "hub.list_repos('lab')")
    assert all(
        message.startswith("The Hub does not answer. Expected an answer about") for message in messages
    )
    assert all("HF_HUB_OFFLINE=1" in message for message in messages)


def test_a_log_in_page_is_not_taken_for_the_hub(hub, told, fake) -> None:
    hub.put("lab/a", fake(b"x"))
    page = {"status": 200, "body": "<html>Please log in</html>"}
    hub.fault("status", "/api/models/lab/a", **page)
    hub.fault("status", "/resolve/", method="HEAD", times=9, **page)
    for message in told(hub.env(), "hub.pull('lab/a')", "hub.pull('lab/a')"):
        assert message.startswith("The server that answers is not the Hub") and "HF_ENDPOINT" in message


def test_a_cache_that_cannot_be_written_is_told(hub, told, fake, tmp_path) -> None:
    hub.put("lab/a", fake(b"x"))
    (tmp_path / "file").write_text("")
    env = {**hub.env(), "HF_HOME": str(tmp_path / "file" / "cache")}
    (message,) = told(env, "hub.pull('lab/a')")
    assert message.startswith("The files of lab/a cannot be stored") and "Set HF_HOME" in message


def test_a_full_disk_is_told() -> None:
    error = translate(OSError(errno.ENOSPC, "No space left on device"), "lab/a", "v1")
    assert isinstance(error, StoreError)
    assert str(error) == (
        "The disk is full, and lab/a@v1 does not fit. Got No space left on device. "
        "Make room, or set HF_HOME to a folder on another disk."
    )


def test_errors_of_the_hubs_other_storage_are_not_taken_for_those_of_the_disk() -> None:
    """hf_xet, which the client sends large files with, has OSErrors of its own."""
    token = translate(type("XetAuthenticationError", (PermissionError,), {})("hf_secret"), "lab/a")
    assert "does not accept this token" in str(token) and "hf_secret" not in str(token)
    lost = translate(type("XetObjectNotFoundError", (FileNotFoundError,), {})("no"), "lab/a")
    assert str(lost).startswith("lab/a lacks a file")
    assert str(translate(ConnectionError("sending"), "lab/a")).startswith("The Hub does not answer")


def test_what_the_server_says_is_told_without_tokens() -> None:
    error = OSError("refused")
    error.response = type("Response", (), {"status_code": 403})()
    error.server_message = "token hf_AliceWritesToLab0123456789abcdefghi\nhas no right"
    told = translate(error, "lab/a")
    assert isinstance(told, HubError) and "Got token hf_... has no right." in str(told)
    assert translate(TypeError("a mistake of this program"), "lab/a") is None


def test_the_command_tells_it_in_one_paragraph_with_and_without_debug(
    hub, run_hsrzoo, fake, secrets
) -> None:
    hub.put("lab/secret", fake(b"x"))
    for arguments in (["pull", "lab/secret"], ["--debug", "show", "hf-hub:lab/secret"]):
        done = run_hsrzoo(*arguments, env=hub.env("bob"))
        assert done.returncode == 2 and done.stdout == ""
        assert done.stderr.splitlines()[-1].startswith("Error: lab/secret does not exist on the Hub")
        assert ("Traceback" in done.stderr) == ("--debug" in arguments)
        assert not [secret for secret in secrets if secret in done.stderr]
    spaces = run_hsrzoo("pull", "my lab/some net", env=hub.env())
    assert spaces.returncode == 2 and "For example my-lab/some-net." in spaces.stderr
