"""A Hub on loopback for the tests of push and pull: a process of its own that speaks to the real client.

Started as ``python hub_server.py`` with HUB_USERS (JSON: token -> names of the user and of the
organisations they may write to) in the environment; it takes a free port and prints it. Everything is kept
in memory. ``/_control/...`` is for the tests: the log of requests, faults, and a clean start. It shows that
our calls are right, not how the real Hub behaves under load.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import secrets
import socket
from dataclasses import asdict
from typing import Any
from urllib.parse import unquote

import uvicorn
from hub_state import Fault, File, Hub, Repo
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HUB = Hub(json.loads(os.environ.get("HUB_USERS", "{}")))
_LARGE = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".npz")
_MODEL, _DATASET = "/api/models/{org}/{name}", "/api/datasets/{org}/{name}"


class Refused(Exception):
    """An answer with an error, in the headers that the client reads."""

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.response = JSONResponse({"error": message}, status, headers=headers)


def names_of(request: Request) -> list[str]:
    """The user and their organisations; [] for nobody. A token that is not known is refused at once."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if not token:
        return []
    if scheme.lower() != "bearer" or token not in HUB.users:
        raise Refused(401, message="Invalid credentials in Authorization header")
    return HUB.users[token]


def of_dataset(request: Request) -> bool:
    return request.url.path.startswith(("/api/datasets/", "/datasets/"))


def repo_of(request: Request, write: bool = False) -> Repo:
    name = f"{request.path_params['org']}/{request.path_params['name']}"
    name = f"datasets/{name}" if of_dataset(request) else name
    repo, names = HUB.repos.get(name), names_of(request)
    if repo is None or (repo.private and repo.owner not in names):
        raise Refused(404 if names else 401, "RepoNotFound", "Repository not found")
    if write and repo.owner not in names:
        if not names:
            raise Refused(401, message="Invalid username or password.")
        raise Refused(403, message=f"Forbidden: no permission to write to {repo.owner}")
    return repo


def commit_of(request: Request, repo: Repo) -> str:
    revision = unquote(request.path_params.get("revision", "main"))
    oid = repo.find(revision)
    if oid is None:
        raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    return oid


def is_pr(request: Request) -> bool:
    return request.query_params.get("create_pr") == "1"


async def whoami(request: Request) -> Response:
    names = names_of(request)
    if not names:
        raise Refused(401, message="Invalid username or password.")
    orgs = [{"type": "org", "name": name} for name in names[1:]]
    auth = {"type": "access_token", "accessToken": {"displayName": "test", "role": "write"}}
    return JSONResponse({"type": "user", "id": names[0], "name": names[0], "orgs": orgs, "auth": auth})


async def validate_yaml(request: Request) -> Response:
    return JSONResponse({"errors": [], "warnings": []})


async def create(request: Request) -> Response:
    names, wanted = names_of(request), await request.json()
    if not names:
        raise Refused(401, message="Invalid username or password.")
    owner = wanted.get("organization") or names[0]
    if owner not in names:
        raise Refused(403, message=f"You don't have the rights to create a model under {owner}")
    full = f"{'datasets/' * (wanted.get('type') == 'dataset')}{owner}/{wanted['name']}"
    url = f"{request.base_url!s}{full}"
    if full in HUB.repos:
        return JSONResponse({"error": "You already created this model repo", "url": url}, 409)
    private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
    HUB.repos[full] = Repo(full, private)
    HUB.repos[full].add({}, "initial commit", names[0], "main", None)
    return JSONResponse({"url": url, "name": HUB.repos[full].id, "id": HUB.repos[full].id})


async def models(request: Request) -> Response:
    names, query = names_of(request), request.query_params
    own = [r for r in HUB.repos.values() if r.id == r.name]
    seen = [r for r in own if not r.private or r.owner in names]
    found = [HUB.details(r, r.refs["main"]) for r in seen]
    if query.get("author"):
        found = [d for d in found if d["author"] == query["author"]]
    for tag in query.getlist("filter"):
        found = [d for d in found if tag in d["tags"]]
    return JSONResponse(found)


async def model(request: Request) -> Response:
    repo = repo_of(request)
    blobs = request.query_params.get("blobs", "").lower() in ("true", "1")
    return JSONResponse(HUB.details(repo, commit_of(request, repo), blobs))


async def settings(request: Request) -> Response:
    repo, wanted = repo_of(request, write=True), await request.json()
    repo.private = wanted.get("visibility") == "private"
    return JSONResponse({"private": repo.private})


async def tree(request: Request) -> Response:
    repo = repo_of(request)
    files = repo.commits[commit_of(request, repo)].files
    return JSONResponse([file.entry(path) for path, file in sorted(files.items())])


async def refs(request: Request) -> Response:
    repo = repo_of(request)

    def listed(prefix: str, found: dict[str, str]) -> list[dict[str, str]]:
        return [{"name": n, "ref": f"{prefix}{n}", "targetCommit": o} for n, o in found.items()]

    branches = {n: o for n, o in repo.refs.items() if not n.startswith("refs/pr/")}
    return JSONResponse(
        {
            "branches": listed("refs/heads/", branches),
            "tags": listed("refs/tags/", repo.tags),
            "converts": [],
        }
    )


async def commits(request: Request) -> Response:
    repo = repo_of(request)
    return JSONResponse(
        [
            {"id": c.oid, "title": c.title, "message": "", "date": c.date, "authors": [{"user": c.author}]}
            for c in repo.history(commit_of(request, repo))
        ]
    )


async def add_branch(request: Request) -> Response:
    repo, branch = repo_of(request, write=True), unquote(request.path_params["branch"])
    if branch in repo.refs:
        return JSONResponse({"error": "Reference already exists"}, 409)
    repo.refs[branch] = repo.refs["main"]
    return JSONResponse({})


async def add_tag(request: Request) -> Response:
    repo = repo_of(request, write=True)
    tag = (await request.json())["tag"]
    if tag in repo.tags:
        return JSONResponse({"error": "Tag reference exists already"}, 409)
    repo.tags[tag] = commit_of(request, repo)
    return JSONResponse({})


async def preupload(request: Request) -> Response:
    repo = repo_of(request, write=not is_pr(request))
    files = repo.commits[commit_of(request, repo)].files
    answer = []
    for wanted in (await request.json())["files"]:
        path, known = wanted["path"], files.get(wanted["path"])
        mode = "lfs" if path.endswith(_LARGE) or wanted["size"] > 10 * 2**20 else "regular"
        oid = known.etag if known else None
        answer.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
    return JSONResponse({"files": answer})


async def add_commit(request: Request) -> Response:
    pr = is_pr(request)
    repo = repo_of(request, write=not pr)
    names = names_of(request)
    if not names:
        raise Refused(401, message="Invalid username or password.")
    parent = commit_of(request, repo)
    lines = [json.loads(line) for line in (await request.body()).splitlines() if line.strip()]
    header = lines[0]["value"]
    if header.get("parentCommit") not in (None, parent):
        raise Refused(412, message="A commit has happened since. Please refresh and try again.")
    files = dict(repo.commits[parent].files)
    for line in lines[1:]:
        _apply(line["key"], line["value"], files)
    number = 1 + sum(ref.startswith("refs/pr/") for ref in repo.refs)
    ref = f"refs/pr/{number}" if pr else unquote(request.path_params["revision"])
    made = repo.add(files, header["summary"], names[0], ref, parent)
    base = f"{request.base_url}{repo.name}"
    url = f"{base}/discussions/{number}" if pr else None
    answer = {"success": True, "commitUrl": f"{base}/commit/{made.oid}", "commitOid": made.oid}
    return JSONResponse({**answer, "hookOutput": "", "pullRequestUrl": url})


def _apply(key: str, value: dict[str, Any], files: dict[str, File]) -> None:
    """One operation of a commit on the files of its parent."""
    path = value["path"]
    if key == "file":
        files[path] = HUB.store(base64.b64decode(value["content"]), lfs=False)
    elif key == "lfsFile":
        if value["oid"] not in HUB.blobs:
            raise Refused(400, message=f"LFS pointer points to a file that does not exist: {path}")
        files[path] = File.of(HUB.blobs[value["oid"]], lfs=True)
    elif key == "deletedFile":
        if path not in files:
            raise Refused(404, "EntryNotFound", "A file with this name doesn't exist")
        del files[path]
    else:
        raise Refused(400, message=f"Unknown operation: {key}")


async def lfs_batch(request: Request) -> Response:
    repo, wanted = repo_of(request), await request.json()
    if not names_of(request):  # for a pull request, whoever may read may upload
        raise Refused(401, message="Invalid username or password.")
    objects = []
    for item in wanted["objects"]:
        one: dict[str, Any] = {"oid": item["oid"], "size": item["size"]}
        if item["oid"] not in HUB.blobs:
            upload = f"{request.base_url}_lfs/{item['oid']}?X-Signature={secrets.token_hex(8)}"
            verify = f"{request.base_url}{repo.name}.git/info/lfs/verify"
            one["actions"] = {"upload": {"href": upload, "header": {}}, "verify": {"href": verify}}
        objects.append(one)
    answer = {"transfer": "basic", "objects": objects}
    return JSONResponse(answer, media_type="application/vnd.git-lfs+json")


async def lfs_verify(request: Request) -> Response:
    wanted = await request.json()
    if len(HUB.blobs.get(wanted["oid"], b"")) != wanted["size"]:
        raise Refused(404, message="No such object")
    return JSONResponse({})


async def lfs_put(request: Request) -> Response:
    data = await request.body()
    if File.of(data, lfs=True).sha256 != request.path_params["oid"]:
        raise Refused(400, message="The content has another sha256")
    HUB.store(data, lfs=True)
    return Response()


async def lfs_get(request: Request) -> Response:
    return _ranged(request, HUB.blobs[request.path_params["oid"]], {})


async def resolve(request: Request) -> Response:
    repo = repo_of(request)
    if repo.gated and repo.owner not in names_of(request):
        status = 403 if names_of(request) else 401
        raise Refused(status, "GatedRepo", "Access to this model is restricted.")
    oid = commit_of(request, repo)
    file = repo.commits[oid].files.get(request.path_params["path"])
    if file is None:
        raise Refused(404, "EntryNotFound", "Entry not found")
    headers = {"X-Repo-Commit": oid, "ETag": f'"{file.etag}"'}
    if not file.lfs:
        return _ranged(request, HUB.blobs[file.sha256], headers)
    # Another host name: the client follows a redirect to the same one and then lacks X-Repo-Commit.
    target = f"http://localhost:{request.url.port}/_lfs/{file.sha256}?X-Signature={secrets.token_hex(8)}"
    linked = {"X-Linked-ETag": headers["ETag"], "X-Linked-Size": str(file.size)}
    return RedirectResponse(target, 302, headers={**headers, **linked})


def _ranged(request: Request, data: bytes, headers: dict[str, str]) -> Response:
    headers = {**headers, "Accept-Ranges": "bytes"}
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if found is None:
        return Response(data, media_type="application/octet-stream", headers=headers)
    first, last = int(found[1]), int(found[2] or len(data) - 1)
    headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
    return Response(data[first : last + 1], 206, headers=headers)


async def control(request: Request) -> Response:
    """/_control/ACTION: for the tests alone."""
    action = request.path_params["action"]
    wanted = await request.json() if request.method == "POST" else {}
    if action == "log":
        return JSONResponse(HUB.log)
    if action == "reset":
        HUB.reset()
    elif action == "fault":
        HUB.faults.append(Fault(**wanted))
    elif action == "mend":
        HUB.faults.clear()
    elif action == "put":
        return JSONResponse({"oid": _put(**wanted)})
    elif action == "repo":
        repo = HUB.repos[wanted["name"]]
        repo.gated = wanted.get("gated", repo.gated)
        history = [asdict(commit) for commit in repo.history(repo.find(wanted.get("revision", "main")))]
        return JSONResponse({"private": repo.private, "history": history, "refs": repo.refs})
    return JSONResponse({})


def _put(
    name: str, files: dict[str, str], private: bool = True, revision: str = "main", tag: str | None = None
) -> str:
    """A commit of ``files`` (path -> base64) in place of all that was there, without a client."""
    repo = HUB.repos.setdefault(name, Repo(name, private))
    large = {path: path.endswith(_LARGE) for path in files}
    stored = {path: HUB.store(base64.b64decode(data), large[path]) for path, data in files.items()}
    made = repo.add(stored, "put", repo.owner, revision, repo.refs.get(revision))
    if tag is not None:
        repo.tags[tag] = made.oid
    return made.oid


class Cut(Exception):
    """Ends a connection in the middle; uvicorn closes it when an application fails half way."""


class Faults:
    """Writes the log and lets requests fail as :class:`hub_state.Fault` says."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/_control"):
            return await self.app(scope, receive, send)
        # A slash inside a revision (refs/pr/1) comes quoted and must not split the path.
        scope = {**scope, "path": unquote(re.sub("(?i)%2f", "%252F", scope["raw_path"].decode()))}
        fault = HUB.fault_for(scope["method"], scope["path"])
        headers = {key.decode(): value.decode() for key, value in scope["headers"]}
        line = {"method": scope["method"], "path": unquote(scope["path"]), "fault": fault and fault.kind}
        line |= {"range": headers.get("range"), "authorized": "authorization" in headers, "sent": 0}
        HUB.log.append(line)
        passed = 0

        async def received() -> Message:
            nonlocal passed
            message = await receive()
            passed += len(message.get("body", b""))
            if (
                fault
                and fault.kind == "drop"
                and scope["method"] in ("PUT", "POST")
                and passed > fault.after
            ):
                # A started answer is the only one that uvicorn breaks off instead of replacing by a 500.
                await send(
                    {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]}
                )
                raise Cut
            return message

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                line["status"] = message["status"]
            body = message.get("body", b"")
            line["sent"] += len(body)
            if fault is None or not body or scope["method"] not in ("GET",):
                return await send(message)
            if fault.kind == "corrupt":
                middle = len(body) // 2
                changed = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
                return await send({**message, "body": changed})
            line["sent"] = min(len(body), fault.after)
            await send({**message, "body": body[: fault.after], "more_body": True})
            if fault.kind == "stall":
                while (await receive())["type"] != "http.disconnect":
                    await asyncio.sleep(0.02)
            raise Cut

        if fault and fault.kind == "status":
            line["status"] = fault.status
            answer = Response(fault.body, fault.status, headers=fault.headers)
            return await answer(scope, receive, send)
        await self.app(scope, received, sent)


def _refused(_: Request, error: Exception) -> Response:
    return error.response if isinstance(error, Refused) else Response(status_code=500)


ROUTES = [
    Route("/_control/{action}", control, methods=["GET", "POST"]),
    Route("/api/whoami-v2", whoami),
    Route("/api/validate-yaml", validate_yaml, methods=["POST"]),
    Route("/api/repos/create", create, methods=["POST"]),
    Route("/api/models", models),
    *(Route(kind + below, model) for kind in (_MODEL, _DATASET) for below in ("", "/revision/{revision}")),
    Route(_DATASET + "/preupload/{revision}", preupload, methods=["POST"]),
    Route(_DATASET + "/commit/{revision}", add_commit, methods=["POST"]),
    Route("/datasets/{org}/{name}/resolve/{revision}/{path:path}", resolve),
    Route(_MODEL + "/settings", settings, methods=["PUT"]),
    Route(_MODEL + "/tree/{revision}", tree),
    Route(_MODEL + "/refs", refs),
    Route(_MODEL + "/commits/{revision}", commits),
    Route(_MODEL + "/branch/{branch}", add_branch, methods=["POST"]),
    Route(_MODEL + "/tag/{revision}", add_tag, methods=["POST"]),
    Route(_MODEL + "/preupload/{revision}", preupload, methods=["POST"]),
    Route(_MODEL + "/commit/{revision}", add_commit, methods=["POST"]),
    Route("/_lfs/{oid}", lfs_put, methods=["PUT"]),
    Route("/_lfs/{oid}", lfs_get),
    Route("/{org}/{name}.git/info/lfs/objects/batch", lfs_batch, methods=["POST"]),
    Route("/{org}/{name}.git/info/lfs/verify", lfs_verify, methods=["POST"]),
    Route("/{org}/{name}/resolve/{revision}/{path:path}", resolve),
]


def serve() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        print(listening.getsockname()[1], flush=True)
        app = Faults(Starlette(routes=ROUTES, exception_handlers={Refused: _refused}))
        uvicorn.Server(uvicorn.Config(app, log_level="critical")).run(sockets=[listening])


if __name__ == "__main__":
    serve()
