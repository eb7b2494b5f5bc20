"""A Hub on the loopback interface: what huggingface_hub, datasets and transformers ask of the Hugging Face
Hub over HTTP.

    with serve(Hub({"secret": Account("me")})) as url:
        subprocess.run([...], env=os.environ | client_settings(url, token="secret", home=tmp_path))

Models and datasets: create, upload (inline and Git LFS), commits, listings with folders, revisions, download
with ranges. Each commit is kept, so that tests can look at what was pushed. A request can be made to fail
(`Hub.fail`). Missing are the Xet protocol (clients must set HF_HUB_DISABLE_XET=1), pull requests, branches
other than main, and multipart uploads.

`python -m tests.hub_server` serves one by hand. Clients read HF_ENDPOINT when they are imported, so each runs
in a process of its own.
"""

import base64
import hashlib
import json
import re
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

# As in the .gitattributes that the Hub gives a new repository
LFS_SUFFIXES = {".parquet", ".safetensors", ".bin", ".arrow"}
URL_PREFIX = {"model": "", "dataset": "datasets/"}


class HubError(Exception):
    """An answer with an error status; `code` is the Hub's X-Error-Code, which clients turn into
    exceptions.
    """

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


@dataclass(frozen=True)
class Account:
    """Whose token it is, and whether the token may write."""

    name: str
    can_write: bool = True


@dataclass(frozen=True)
class Blob:
    """A file of a commit. `oid` is what clients compare to see whether a file has changed."""

    content: bytes
    is_lfs: bool

    @property
    def oid(self) -> str:
        if self.is_lfs:
            return hashlib.sha256(self.content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()


@dataclass
class Repository:
    """The commits of a repository's only branch, oldest first; each is the whole tree, path to file."""

    kind: str
    repo_id: str
    is_private: bool
    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.add_commit({})

    def add_commit(self, files: dict[str, Blob]) -> str:
        tree = sorted((path, blob.oid) for path, blob in files.items())
        sha = hashlib.sha1(
            json.dumps([self.kind, self.repo_id, len(self.commits), tree]).encode()
        ).hexdigest()
        self.commits[sha] = files
        return sha

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    @property
    def files(self) -> dict[str, Blob]:
        return self.commits[self.head]

    def resolve(self, revision: str) -> tuple[str, dict[str, Blob]]:
        """(sha, files) of `main` or of a sha."""
        sha = self.head if revision == "main" else revision
        if sha not in self.commits:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return sha, self.commits[sha]


@dataclass
class Fault:
    """The next `n_times` requests of this method whose path matches are answered with `status`; `is_late`:
    after they were carried out.
    """

    method: str
    pattern: str
    status: int
    n_times: int
    is_late: bool


class Hub:
    """What a Hub holds: accounts by token, repositories, LFS objects, and the requests it was sent as 'METHOD
    /path'.
    """

    def __init__(self, accounts: dict[str, Account]) -> None:
        self.accounts = accounts
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.lfs_objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.faults: list[Fault] = []

    def fail(
        self, method: str, pattern: str, *, status: int = 500, n_times: int = 1, is_late: bool = False
    ) -> None:
        self.faults.append(Fault(method, pattern, status, n_times, is_late))

    def take_fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.n_times and fault.method == method and re.search(fault.pattern, path):
                fault.n_times -= 1
                return fault
        return None

    def account_of(self, request: Request) -> Account | None:
        """None for a request without a token."""
        authorization = request.headers.get("authorization")
        if authorization is None:
            return None
        token = authorization.removeprefix("Bearer ")
        if token not in self.accounts:
            raise HubError(401, "Invalid credentials in Authorization header")
        return self.accounts[token]

    def writer(self, request: Request) -> Account:
        account = self.account_of(request)
        if account is None:
            raise HubError(401, "Invalid username or password.")
        if not account.can_write:
            raise HubError(403, "Forbidden: you must use a write token to upload to a repository.")
        return account

    def readable(self, request: Request) -> Repository:
        """The repository that the path names. To whom may not read it, a private one looks as if there were
        none.
        """
        account = self.account_of(request)
        repository = self.repositories.get(_repository_key(request))
        if repository is None or (
            repository.is_private and (account is None or account.name != repository.repo_id.split("/")[0])
        ):
            raise HubError(401 if account is None else 404, "Repository not found", "RepoNotFound")
        return repository

    def writable(self, request: Request) -> Repository:
        account, repository = self.writer(request), self.readable(request)
        if account.name != repository.repo_id.split("/")[0]:
            raise HubError(403, f"You have no write access to {repository.repo_id}.")
        return repository


def _repository_key(request: Request) -> tuple[str, str]:
    parameters = request.path_params
    kind = parameters["kinds"].removesuffix("s") if "kinds" in parameters else "model"
    if kind not in URL_PREFIX:
        raise HubError(404, f"Sorry, we can't find the page you are looking for: {request.url.path}")
    return kind, f"{parameters['owner']}/{parameters['name']}"


# --- accounts and repositories


async def whoami(hub: Hub, request: Request) -> Response:
    account = hub.account_of(request)
    if account is None:
        raise HubError(401, "Invalid username or password.")
    role = "write" if account.can_write else "read"
    return JSONResponse(
        {"type": "user", "name": account.name, "orgs": [], "auth": {"accessToken": {"role": role}}}
    )


async def create_repository(hub: Hub, request: Request) -> Response:
    account, wanted = hub.writer(request), await request.json()
    kind, owner = wanted.get("type", "model"), wanted.get("organization") or account.name
    if owner != account.name:
        raise HubError(403, f"You don't have the rights to create a {kind} under the namespace {owner}")
    repo_id = f"{owner}/{wanted['name']}"
    url = f"{request.base_url}{URL_PREFIX[kind]}{repo_id}"
    if (kind, repo_id) in hub.repositories:
        return JSONResponse({"error": f"You already created this {kind} repo", "url": url}, 409)
    hub.repositories[kind, repo_id] = Repository(
        kind, repo_id, is_private=wanted.get("visibility") == "private"
    )
    return JSONResponse({"url": url, "name": repo_id, "id": repo_id})


async def repository_info(hub: Hub, request: Request) -> Response:
    repository = hub.readable(request)
    sha, files = repository.resolve(request.path_params.get("revision", "main"))
    siblings = [
        {"rfilename": path, "size": len(blob.content), "blobId": blob.oid}
        for path, blob in sorted(files.items())
    ]
    return JSONResponse(
        {
            "id": repository.repo_id,
            "sha": sha,
            "private": repository.is_private,
            "siblings": siblings,
            "tags": [],
            "downloads": 0,
            "likes": 0,
        }
    )


async def validate_yaml(hub: Hub, request: Request) -> Response:
    """Refuses a README.md whose front matter is no YAML mapping or whose license is no text."""
    hub.writer(request)
    content = (await request.json())["content"]
    matter = re.match(r"---\s*\n(.*?)\n---\s*\n", content, re.DOTALL)
    if matter is None:
        return JSONResponse(
            {"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]}
        )
    errors = []
    try:
        metadata = yaml.safe_load(matter[1])
        if not isinstance(metadata, dict):
            errors.append("metadata must be a mapping")
        elif not isinstance(metadata.get("license", ""), str):
            errors.append('"license" must be a string')
    except yaml.YAMLError as error:
        errors.append(str(error))
    return JSONResponse(
        {"errors": [{"message": message} for message in errors], "warnings": []}, 400 if errors else 200
    )


# --- uploads


async def preupload(hub: Hub, request: Request) -> Response:
    """Which of the files go into the commit and which to LFS, and what the repository holds under their
    names.
    """
    repository = hub.writable(request)
    _, files = repository.resolve(request.path_params["revision"])
    answers = [
        {
            "path": wanted["path"],
            "uploadMode": "lfs" if PurePosixPath(wanted["path"]).suffix in LFS_SUFFIXES else "regular",
            "shouldIgnore": False,
            "oid": files[wanted["path"]].oid if wanted["path"] in files else None,
        }
        for wanted in (await request.json())["files"]
    ]
    return JSONResponse({"files": answers})


async def lfs_batch(hub: Hub, request: Request) -> Response:
    hub.writable(request)
    answers = []
    for wanted in (await request.json())["objects"]:
        href = f"{request.base_url}lfs-objects/{wanted['oid']}"
        actions = {"upload": {"href": href}, "verify": {"href": f"{href}/verify"}}
        answers.append({**wanted} if wanted["oid"] in hub.lfs_objects else {**wanted, "actions": actions})
    return JSONResponse({"transfer": "basic", "objects": answers})


async def lfs_put(hub: Hub, request: Request) -> Response:
    content, oid = await request.body(), request.path_params["oid"]
    if hashlib.sha256(content).hexdigest() != oid:
        raise HubError(400, f"the sha256 of the {len(content)} bytes is not {oid}")
    hub.lfs_objects[oid] = content
    return Response()


async def lfs_verify(hub: Hub, request: Request) -> Response:
    hub.writer(request)
    wanted = await request.json()
    if len(hub.lfs_objects.get(wanted["oid"], b"")) != wanted["size"]:
        raise HubError(422, f"LFS object {wanted['oid']} of {wanted['size']} bytes is not here")
    return JSONResponse({})


async def commit(hub: Hub, request: Request) -> Response:
    """All operations of the body become one commit, or none does."""
    repository = hub.writable(request)
    sha, files = repository.resolve(request.path_params["revision"])
    files = dict(files)
    for line in (await request.body()).splitlines():
        operation = json.loads(line)
        key, value = operation["key"], operation["value"]
        if key == "header":
            if value.get("parentCommit", sha) != sha:
                raise HubError(412, "A commit has happened since. Please refresh and try again.")
        elif key == "file":
            files[value["path"]] = Blob(base64.b64decode(value["content"]), is_lfs=False)
        elif key == "lfsFile":
            if value["oid"] not in hub.lfs_objects:
                raise HubError(
                    400, f"LFS pointer of {value['path']} names a file that was not uploaded: {value['oid']}"
                )
            files[value["path"]] = Blob(hub.lfs_objects[value["oid"]], is_lfs=True)
        elif key == "deletedFile":
            if files.pop(value["path"], None) is None:
                raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
        elif key == "deletedFolder":
            files = {
                path: blob
                for path, blob in files.items()
                if not path.startswith(value["path"].rstrip("/") + "/")
            }
        else:
            raise HubError(400, f"unknown operation {key}")
    oid = repository.add_commit(files)
    url = f"{request.base_url}{URL_PREFIX[repository.kind]}{repository.repo_id}/commit/{oid}"
    return JSONResponse({"commitUrl": url, "commitOid": oid, "hookOutput": "", "success": True})


# --- listings and downloads


def _entry(path: str, blob: Blob | None) -> dict[str, Any]:
    """A line of a listing; no blob means a folder."""
    if blob is None:
        return {"type": "directory", "path": path, "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0}
    entry = {"type": "file", "path": path, "oid": blob.oid, "size": len(blob.content)}
    return entry | (
        {"lfs": {"oid": blob.oid, "size": len(blob.content), "pointerSize": 130}} if blob.is_lfs else {}
    )


def _entries(files: dict[str, Blob]) -> dict[str, dict[str, Any]]:
    """All files and the folders they imply, by path."""
    folders = {str(folder) for path in files for folder in PurePosixPath(path).parents if str(folder) != "."}
    return {path: _entry(path, files.get(path)) for path in sorted({*files, *folders})}


async def list_tree(hub: Hub, request: Request) -> Response:
    _, files = hub.readable(request).resolve(request.path_params["revision"])
    entries, folder = _entries(files), request.path_params.get("path", "").strip("/")
    if folder and entries.get(folder, {}).get("type") != "directory":
        raise HubError(404, f'"{folder}" does not exist', "EntryNotFound")
    is_recursive = request.query_params.get("recursive", "").lower() in ("true", "1")
    prefix = f"{folder}/" if folder else ""
    below = [entry for path, entry in entries.items() if path.startswith(prefix)]
    return JSONResponse([entry for entry in below if is_recursive or "/" not in entry["path"][len(prefix) :]])


async def paths_info(hub: Hub, request: Request) -> Response:
    _, files = hub.readable(request).resolve(request.path_params["revision"])
    if "json" in request.headers.get("content-type", ""):
        wanted = (await request.json())["paths"]
    else:
        wanted = (await request.form()).getlist("paths")
    entries = _entries(files)
    return JSONResponse([entries[path.rstrip("/")] for path in wanted if path.rstrip("/") in entries])


async def download(hub: Hub, request: Request) -> Response:
    """The bytes of a file; the answer to HEAD is the same without them."""
    sha, files = hub.readable(request).resolve(request.path_params["revision"])
    blob = files.get(request.path_params["path"])
    if blob is None:
        raise HubError(404, "Entry not found", "EntryNotFound")
    headers = {
        "X-Repo-Commit": sha,
        "ETag": f'"{blob.oid}"',
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
    }
    if blob.is_lfs:
        headers |= {"X-Linked-Etag": f'"{blob.oid}"', "X-Linked-Size": str(len(blob.content))}
    span = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if span is None:
        return Response(blob.content, headers=headers)
    first, last = int(span[1]), min(int(span[2] or len(blob.content)), len(blob.content) - 1)
    if first > last:
        raise HubError(416, f"range {span[0]} of {len(blob.content)} bytes")
    headers["Content-Range"] = f"bytes {first}-{last}/{len(blob.content)}"
    return Response(blob.content[first : last + 1], 206, headers=headers)


# --- serving

Handler = Callable[[Hub, Request], Awaitable[Response]]
ROUTES: list[tuple[str, str, Handler]] = [
    ("GET", "/api/whoami-v2", whoami),
    ("POST", "/api/repos/create", create_repository),
    ("POST", "/api/validate-yaml", validate_yaml),
    ("GET", "/api/{kinds}/{owner}/{name}", repository_info),
    ("GET", "/api/{kinds}/{owner}/{name}/revision/{revision}", repository_info),
    ("GET", "/api/{kinds}/{owner}/{name}/tree/{revision}", list_tree),
    ("GET", "/api/{kinds}/{owner}/{name}/tree/{revision}/{path:path}", list_tree),
    ("POST", "/api/{kinds}/{owner}/{name}/paths-info/{revision}", paths_info),
    ("POST", "/api/{kinds}/{owner}/{name}/preupload/{revision}", preupload),
    ("POST", "/api/{kinds}/{owner}/{name}/commit/{revision}", commit),
    ("PUT", "/lfs-objects/{oid}", lfs_put),
    ("POST", "/lfs-objects/{oid}/verify", lfs_verify),
    ("POST", "/{owner}/{name}.git/info/lfs/objects/batch", lfs_batch),
    ("POST", "/{kinds}/{owner}/{name}.git/info/lfs/objects/batch", lfs_batch),
    ("GET", "/{owner}/{name}/resolve/{revision}/{path:path}", download),
    ("GET", "/{kinds}/{owner}/{name}/resolve/{revision}/{path:path}", download),
]


def application(hub: Hub) -> Starlette:
    def endpoint(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            hub.requests.append(f"{request.method} {request.url.path}")
            fault = hub.take_fault(request.method, request.url.path)
            try:
                if fault is None or fault.is_late:
                    response = await handler(hub, request)
                if fault is not None:
                    raise HubError(fault.status, "a fault that the test asked for")
                return response
            except HubError as error:
                headers = {"X-Error-Message": error.message} | (
                    {"X-Error-Code": error.code} if error.code else {}
                )
                return JSONResponse({"error": error.message}, error.status, headers)

        return answer

    return Starlette(
        routes=[Route(path, endpoint(handler), methods=[method]) for method, path, handler in ROUTES]
    )


@contextmanager
def serve(hub: Hub) -> Iterator[str]:
    """Serve in a thread for the length of the `with` block; gives the URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(application(hub), log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        listener.listen(64)  # from here on clients wait instead of being refused
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=10)


def client_settings(url: str, *, home: Path, token: str | None = None) -> dict[str, str]:
    """Environment variables for a client's process: this Hub alone, a home of its own for caches and login,
    no Xet.
    """
    settings = {
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }
    return settings | ({"HF_TOKEN": token} if token else {})


def main() -> None:
    with serve(Hub({"secret": Account("me")})) as url:
        sys.stdout.write(
            f"HF_ENDPOINT={url} HF_HUB_DISABLE_XET=1 HF_TOKEN=secret; the account is 'me'; Ctrl-C ends it\n"
        )
        sys.stdout.flush()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
