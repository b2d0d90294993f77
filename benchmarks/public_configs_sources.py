"""Where public configs come from: the list of them, git mirrors, and the network. For public_configs.py."""

from __future__ import annotations

import fnmatch
import hashlib
import http.client
import itertools
import json
import os
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from generator import paths
from generator.errors import ToolError

#: Answers {base}/{owner}/{name}/{commit}/{path} with the file.
BASE_URL = "https://raw.githubusercontent.com"
_PATTERN = "*config*.pbtxt"
#: Has files of that name, which are messages of other programs: DELF's feature extractor.
_NOT_TRITON = {"kohry/delf_sample"}
_AT_ONCE = 8
_TIMEOUT = 30.0  # seconds a file may take to download


@dataclass(frozen=True)
class Public:
    """A file of a public repository on GitHub at a commit, and what it must hash to."""

    repo: str
    commit: str
    path: str
    sha256: str

    def __str__(self) -> str:
        """owner/name:path."""
        return f"{self.repo}:{self.path}"

    @property
    def link(self) -> str:
        """To the file, as Markdown."""
        return f"[{self}](https://github.com/{self.repo}/blob/{self.commit}/{urllib.parse.quote(self.path)})"


#: The bytes of some files of one repository at one commit.
Source = Callable[[Sequence[Public]], Iterator[bytes]]


def load(path: Path) -> list[Public]:
    """The list. Raises ToolError when there is none."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return [Public(e["repo"], e["commit"], name, digest) for e in entries for name, digest in e["files"].items()]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ToolError(f"{path}: not a list of public configs ({error})", "make it with --collect") from None


def dump(publics: Sequence[Public]) -> str:
    """The list as JSON: an entry a repository, a line a file."""
    entries = [
        {"repo": repo, "commit": commit, "files": {public.path: public.sha256 for public in group}}
        for (repo, commit), group in itertools.groupby(publics, lambda p: (p.repo, p.commit))
    ]
    return json.dumps(entries, indent=1, ensure_ascii=False) + "\n"


def collect(mirrors: Path) -> list[Public]:
    """Every config in the newest commits of the mirrors, each content once, sorted by repository and path."""
    found: dict[str, Public] = {}
    for repo, git in sorted(_repositories(mirrors).items(), key=lambda pair: pair[0].lower()):
        if repo in _NOT_TRITON:
            continue
        commit = _git(git, "rev-parse", "--verify", "HEAD").decode().strip()
        names = _git(git, "ls-tree", "-r", "-z", "--name-only", "HEAD").decode("utf-8", "replace").split("\0")
        listed = [Public(repo, commit, path, "") for path in sorted(names) if _is_config(path)]
        for public, data in zip(listed, _blobs(git, listed), strict=True):
            digest = hashlib.sha256(data).hexdigest()
            found.setdefault(digest, Public(repo, commit, public.path, digest))
    return list(found.values())


def _is_config(path: str) -> bool:
    return fnmatch.fnmatchcase(path.rpartition("/")[2], _PATTERN) and "\n" not in path


def _repositories(mirrors: Path) -> dict[str, Path]:
    """owner/name -> its git directory, for DIR/OWNER+NAME/repo (also with a work tree), DIR/OWNER/NAME.git and DIR/OWNER/NAME."""
    if not mirrors.is_dir():
        raise ToolError(f"{mirrors}: no such folder", "name the folder that holds the git mirrors")
    found: dict[str, Path] = {}
    for path in [*mirrors.glob("*+*/repo"), *mirrors.glob("*/*")]:
        git = next((g for g in (path, path / ".git") if (g / "HEAD").is_file() and (g / "objects").is_dir()), None)
        if git is not None:
            inner = path.parent.name.partition("+")
            found.setdefault(f"{inner[0]}/{inner[2]}" if inner[1] else f"{inner[0]}/{path.name.removesuffix('.git')}", git)
    return found


def mirrored(mirrors: Path) -> Source:
    """Reads from the git mirrors in the folder. The source raises ToolError when a repository or a file is not there."""
    known = _repositories(mirrors)

    def read(publics: Sequence[Public]) -> Iterator[bytes]:
        repo = publics[0].repo
        if repo not in known:
            raise ToolError(
                f"{mirrors}: no mirror of {repo}",
                f"`git clone --bare https://github.com/{repo} {mirrors / repo}.git`, or download without --mirrors",
            )
        yield from _blobs(known[repo], publics)

    return read


def _blobs(git: Path, publics: Sequence[Public]) -> Iterator[bytes]:
    """The files' bytes, of one git process."""
    answer = _git(git, "cat-file", "--batch", stdin="".join(f"{p.commit}:{p.path}\n" for p in publics).encode())
    at = 0
    for public in publics:
        head, _, _ = answer[at:].partition(b"\n")
        kind, _, size = head.rpartition(b" blob ")
        if not kind:
            raise ToolError(f"{git} has no {public.path} at {public.commit}", "bring the mirror up to date (`git fetch`)")
        start = at + len(head) + 1
        at = start + int(size) + 1
        yield answer[start : at - 1]


def _git(git: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    """What git prints. A partial clone is not completed from the network. Raises ToolError."""
    environment = {**os.environ, "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", f"--git-dir={git}", *arguments], input=stdin, capture_output=True, env=environment, check=False
        )
    except FileNotFoundError:
        raise ToolError("git is not installed", "install git, or download without --mirrors") from None
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise ToolError(f"{git}: git {arguments[0]}: {reason[-1]}", "remove this mirror, or make it anew with `git clone --bare`")
    return done.stdout


def web(base: str) -> Source:
    """Downloads each file at its commit, once: the cache keeps it. The source raises ToolError when one cannot be had."""

    def read(publics: Sequence[Public]) -> Iterator[bytes]:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            yield from pool.map(lambda public: _download(base, public), publics)

    return read


def _download(base: str, public: Public) -> bytes:
    kept = paths.cache() / "public_configs" / public.sha256
    if kept.is_file():
        return kept.read_bytes()
    url = f"{base.rstrip('/')}/{public.repo}/{public.commit}/{urllib.parse.quote(public.path)}"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
            data = bytes(answer.read())
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ToolError(
            f"{url}: {error}", "connect this machine to the network, or read git mirrors with --mirrors DIR"
        ) from None
    if hashlib.sha256(data).hexdigest() == public.sha256:
        kept.parent.mkdir(parents=True, exist_ok=True)
        scratch = kept.with_suffix(f".{os.getpid()}")
        scratch.write_bytes(data)
        scratch.replace(kept)
    return data


def write(publics: Sequence[Public], source: Source, folder: Path) -> Mapping[Public, Path]:
    """Each file as FOLDER/cNNNN/config.pbtxt. Raises ToolError when one has another digest than the list says."""
    found: dict[Public, Path] = {}
    for _, group in itertools.groupby(publics, lambda p: (p.repo, p.commit)):
        listed = list(group)
        for public, data in zip(listed, source(listed), strict=True):
            if (digest := hashlib.sha256(data).hexdigest()) != public.sha256:
                raise ToolError(
                    f"{public} has sha256 {digest}, the list says {public.sha256}", "make the list anew with --collect"
                )
            path = folder / f"c{len(found):04}" / "config.pbtxt"
            path.parent.mkdir(parents=True)
            path.write_bytes(data)
            found[public] = path
    return found
