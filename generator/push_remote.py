"""Pushing to an object store, where nothing can be exchanged at once: the order of the operations keeps every model whole.

1. The destination's lock claims what comes, so that an interrupted push can be taken up again.
2. New files of versions, the model file last of each, so that a server that polls finds no version it could load in part.
3. What else belongs to the model, and config.pbtxt at the end, whether it changed or not; where versions leave, one whose version
   policy does not serve them (generator/leaving.py says why).
4. Deletions, and config.pbtxt once more, as it stays.
5. The lock.

tritonserver takes a model for changed when the newest time among its files is newer than before (core,
src/model_repository_manager/model_repository_manager.cc, ModelTimestamp::IsModified); an object store keeps whole seconds and has
no folder whose time would tell that something is gone (src/filesystem/implementations/s3.h, FileModificationTime). So the config
is written after all that a server might have seen, and in a later second: without that, a roll-back goes unnoticed for ever.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from generator import leaving, lock, model_config, pbtxt
from generator import push as common
from generator.carry import CACHE
from generator.completion import completed
from generator.errors import RepositoryError, ToolError, TritonRepoError
from generator.lock import Entry
from generator.push import Parcel, Pushed

#: Seconds after which a file that is written anew has a later time: Last-Modified counts whole ones.
TICK = 1.1
_CONFIG = "config.pbtxt"
#: Folders that hold nothing do not exist in an object store; an ensemble's version needs one file to be seen.
_KEEP = ".keep"
_KEPT = b"Object stores have no empty folders.\n"
#: In the place of a digest: the file is on its way.
_PENDING = "pending"
#: tritonserver's form for a store of one's own (core, src/filesystem/implementations/s3.h, s3_regex_).
_ENDPOINT = re.compile(r"s3://(https?://)?([0-9A-Za-z.-]+:[0-9]+)/([0-9a-z.-]+(?:/.*)?)")
_INSTALL = {"s3": "triton-repo-generator[s3]", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}


@dataclass(frozen=True)
class Store:
    """A place in a file system of fsspec; every name goes below `root`."""

    files: Any
    root: str
    url: str

    def path(self, name: str) -> str:
        """Where the file `name` of the repository lies. `lock.parse` has refused names that would leave it."""
        return f"{self.root}/{name}"

    def present(self, model: str) -> dict[str, int]:
        """The files in a model folder by their path in the repository, with their sizes."""
        self.files.invalidate_cache()
        found = self.files.find(self.path(model), detail=True)
        return {path[len(self.root) + 1 :]: entry["size"] for path, entry in found.items()}

    def lock(self) -> dict[str, Entry]:
        """The entries of its lock; empty where there is none."""
        self.files.invalidate_cache()
        if not self.files.exists(self.path(lock.NAME)):
            return {}
        try:
            return lock.parse(self.files.cat_file(self.path(lock.NAME)).decode(), f"{self.url}/{lock.NAME}")
        except UnicodeDecodeError as error:
            raise RepositoryError(f"{self.url}/{lock.NAME}: not a lock: {error}", "delete the folder's content") from None

    def write_lock(self, entries: Mapping[str, Entry]) -> None:
        """Replace its lock."""
        self.files.pipe_file(self.path(lock.NAME), lock.text(dict(entries)).encode())

    def put(self, source: Path, name: str) -> None:
        """Upload a file."""
        if name.endswith(f"/{_KEEP}") and not (source / name).exists():
            self.files.pipe_file(self.path(name), _KEPT)
        else:
            self.files.put_file(str(source / name), self.path(name))

    def remove(self, names: Sequence[str], folders: Iterable[str]) -> None:
        """Delete files, and the folders that they leave empty where a store has folders."""
        self.files.rm([self.path(name) for name in names])
        self.files.invalidate_cache()
        for folder in folders:
            if self.files.isdir(self.path(folder)):
                self.files.rm(self.path(folder), recursive=True)


def open_store(url: str) -> Store:
    """The place that `url` names. Raises ToolError where a library is missing, RepositoryError where there is no such kind."""
    import fsspec

    options: dict[str, Any] = {}
    plain = url.rstrip("/")
    if found := _ENDPOINT.fullmatch(plain):
        options, plain = {"endpoint_url": f"{found[1] or 'http://'}{found[2]}"}, f"s3://{found[3]}"
    kind = url.partition("://")[0]
    try:
        files, root = fsspec.core.url_to_fs(plain, **options)
    except ImportError as error:
        package = _INSTALL.get(kind, "")
        raise ToolError(f"{url}: {error}", f"pip install '{package}'" if package else "install that library") from None
    except ValueError as error:
        raise RepositoryError(f"{url}: {error}", "name a folder, or a URL that fsspec knows, such as s3://bucket/path") from None
    return Store(files, root.rstrip("/"), url.rstrip("/"))


def push(found: Parcel, url: str) -> Pushed:
    """Bring `found` to `url`, in the order given above. Raises RepositoryError with the store's own words."""
    store = open_store(url)
    with _told(store):
        return _push(found, store)


@contextmanager
def _told(store: Store) -> Iterator[None]:
    """What a store's library raises, in one message; bugs of ours go through."""
    try:
        yield
    except TritonRepoError:
        raise
    except Exception as error:
        ours = type(error).__module__.partition(".")[0] in ("builtins", "generator")
        if ours and not isinstance(error, OSError):
            raise
        words = " ".join(str(error).split()) or type(error).__name__
        remedy = "check the address, the credentials and what they may do there; a push that was cut off can be repeated"
        raise RepositoryError(f"{store.url}: {words}", remedy) from None


def _push(found: Parcel, store: Store) -> Pushed:
    theirs = store.lock()
    retired = common.owned(found, theirs, store.url)
    present = {name: size for model in (*found.models, *retired) for name, size in store.present(model).items()}
    common.strangers(list(present), theirs, store.url)
    found = replace(found, entries={name: _with_folders(found.source, entry) for name, entry in found.entries.items()})
    sizes = {name: _size(found.source / name) for entry in found.entries.values() for name in entry.files}
    rows = list(common.rows(found, _there(theirs, present, sizes), sizes))
    uploads = [name for name, _, status in rows if status in ("created", "updated")]
    gone = [name for name, _, status in rows if status == "retired"]
    if uploads or gone:
        store.write_lock({**theirs, **{name: _claim(e, theirs.get(name), uploads) for name, e in found.entries.items()}})
        bridges = _bridges(store, found, present)
        _upload(store, found, uploads, bridges)
        _retire(store, found, gone, bridges)
        store.write_lock({**theirs, **found.entries})
    return Pushed(rows, retired, common.before(found, theirs))


def _there(theirs: Mapping[str, Entry], present: Mapping[str, int], sizes: Mapping[str, int]) -> dict[str, Entry]:
    """Their entries without the files that are missing or cut short, whatever the lock says."""
    fit = {name for name, size in present.items() if sizes.get(name, size) == size}
    return {k: replace(entry, files={n: d for n, d in entry.files.items() if n in fit}) for k, entry in theirs.items()}


def _with_folders(source: Path, entry: Entry) -> Entry:
    """The entry with a file for each folder that would be empty."""
    folders = [p for model in entry.models for p in (source / model).rglob("*") if p.is_dir() and CACHE not in p.parts]
    empty = [p for p in folders if all(child.name == CACHE for child in p.iterdir())]
    digest = hashlib.sha256(_KEPT).hexdigest()
    return replace(entry, files={**entry.files, **{f"{p.relative_to(source).as_posix()}/{_KEEP}": digest for p in empty}})


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else len(_KEPT)


def _claim(entry: Entry, old: Entry | None, uploads: Sequence[str]) -> Entry:
    """Old and new files together, those on their way without a digest: what an interrupted push leaves is known to be ours."""
    files = {**(old.files if old else {}), **{name: _PENDING if name in uploads else d for name, d in entry.files.items()}}
    return replace(entry, files=files, models=list(dict.fromkeys([*entry.models, *(old.models if old else [])])))


def _bridges(store: Store, found: Parcel, present: Mapping[str, int]) -> dict[str, tuple[str, bool]]:
    """Model -> the config under which a version that leaves is not served any more, and whether its load could hang."""
    made = {}
    for name in found.served:
        config = found.source / name / _CONFIG
        if not config.is_file() or f"{name}/{_CONFIG}" not in present:
            continue
        said = store.files.cat_file(store.path(f"{name}/{_CONFIG}")).decode(errors="replace")
        folders = {file.split("/")[1] for file in present if file.startswith(f"{name}/") and file.count("/") > 1}
        old = leaving.model(name, said, folders)
        new = leaving.model(name, pbtxt.source(config), (p.name for p in config.parent.iterdir() if p.is_dir()))
        if new is not None and leaving.versions(old, new):
            made[name] = (leaving.config(new), leaving.hangs(old))
    return made


def _upload(store: Store, found: Parcel, uploads: Sequence[str], bridges: Mapping[str, tuple[str, bool]]) -> None:
    """Files of versions, the model file last of each; then the models' own; then the configs."""
    first = [name for name in uploads if not _is_config(name)]
    for name in sorted(first, key=lambda n: (lock.version(n) is None, _is_model_file(found.source, n), n)):
        store.put(found.source, name)
    _touch(
        store, found, [*uploads, *(f"{name}/{_CONFIG}" for name in bridges)], {name: text for name, (text, _) in bridges.items()}
    )


def _retire(store: Store, found: Parcel, gone: Sequence[str], bridges: Mapping[str, tuple[str, bool]]) -> None:
    if not gone:
        return
    if any(hangs for _, hangs in bridges.values()):
        time.sleep(leaving.GRACE)
    folders = {"/".join(name.split("/")[:2]) for name in gone if lock.version(name) is not None}
    models = {name.split("/")[0] for name in gone} - set(found.models)
    left = {"/".join(name.split("/")[:2]) for entry in found.entries.values() for name in entry.files}
    store.remove(gone, sorted((folders - left) | models))
    _touch(store, found, gone, {})


def _touch(store: Store, found: Parcel, names: Sequence[str], texts: Mapping[str, str]) -> None:
    """Write the config of every model among `names` in a later second than all before; its smallest file where it has none."""
    touched = {name.split("/")[0] for name in names}
    if not touched & set(found.served):
        return
    time.sleep(TICK)
    for model in found.served:
        if model in texts:
            store.files.pipe_file(store.path(f"{model}/{_CONFIG}"), texts[model].encode())
        elif model in touched:
            files = [name for entry in found.entries.values() for name in entry.files if name.startswith(f"{model}/")]
            store.put(found.source, min(files, key=lambda n: (not _is_config(n), _size(found.source / n))))


def _is_config(name: str) -> bool:
    return name.split("/", 1)[1] == _CONFIG


def _is_model_file(source: Path, name: str) -> bool:
    """Is it what the backend opens first? As the server completes its name where the config says none."""
    model, _, rest = name.partition("/")
    config = source / model / _CONFIG
    said = pbtxt.read(config) if config.is_file() else model_config.new()
    return rest.split("/")[1:2] == [completed(said, model).default_model_filename]
