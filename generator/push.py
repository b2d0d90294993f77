"""A built repository -> the repository of a running server: a folder, or any place that fsspec reaches (s3://, gs://, memory://).

Only what the lock lists is pushed, after every digest was verified and the checker found nothing that the server would refuse.
At the destination lies a lock of the same kind; what it does not list is not ours and is never touched.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from generator import carry, check, lock, repository
from generator.errors import RepositoryError
from generator.lock import Entry
from generator.plan import file_digest
from generator.rules import World

Row = tuple[str, int, str]
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_LOCAL = re.compile(r"(file|local)://")


@dataclass(frozen=True)
class Parcel:
    """What is pushed: the entries of the source's lock, and which versions of each model a server will then serve."""

    source: Path
    entries: Mapping[str, Entry]
    #: Model -> versions, each model after those that it calls.
    served: Mapping[str, tuple[int, ...]]

    @property
    def models(self) -> list[str]:
        """Every model folder."""
        return [name for entry in self.entries.values() for name in entry.models]


@dataclass(frozen=True)
class Pushed:
    """What was done: a row a file (path, bytes, created | updated | identical | retired), and the models that are gone."""

    rows: Sequence[Row]
    retired: Sequence[str] = ()
    #: Pipeline -> the versions that were there before.
    before: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        """Was anything written or taken away?"""
        return any(status != "identical" for _, _, status in self.rows)


def parcel(source: Path) -> Parcel:
    """Read and judge a repository. Raises RepositoryError where it has no lock, was changed since, or would be refused."""
    entries = lock.read(source)
    if not entries:
        raise RepositoryError(f"{source} has no {lock.NAME}, so it is not known what belongs to it", "build it first")
    changed = [what for entry in entries.values() for what in repository.differences(source, entry)]
    if changed:
        raise RepositoryError(f"{source} was changed since it was built: {_few(changed)}", "build it again")
    world, findings = check.read(source)
    names = {name for entry in entries.values() for name in entry.models}
    findings = [f for f in findings + check.check(world) if f.level == "error" and f.model in names]
    if findings:
        said = _few([str(finding) for finding in findings])
        raise RepositoryError(f"tritonserver would refuse {source}: {said}", "correct it and build it again")
    return Parcel(source, entries, {name: world.models[name].served for name in _called_first(world, names)})


def _few(found: Sequence[str]) -> str:
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")


def _called_first(world: World, names: set[str]) -> list[str]:
    """Each model after the steps that it calls; the checker has found no circle."""
    done: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in done or name not in names:
            return
        for step in world.models[name].config.ensemble_scheduling.step:
            visit(step.model_name)
        done[name] = None

    for name in sorted(names):
        visit(name)
    return list(done)


def push(found: Parcel, destination: str) -> Pushed:
    """Bring it there: a folder, or a URL that fsspec knows. Where it lies already, nothing is done.

    Raises RepositoryError for a destination that cannot be written, or that holds models of others by these names.
    """
    if _URL.match(destination) and not _LOCAL.match(destination):
        from generator.push_remote import push as remote

        return remote(found, destination)
    folder = Path(_LOCAL.sub("", destination))
    if folder.exists() and folder.resolve() == found.source.resolve():
        return Pushed([(name, 0, "identical") for entry in found.entries.values() for name in entry.files])
    return _local(found, folder)


def owned(found: Parcel, theirs: Mapping[str, Entry], where: str) -> list[str]:
    """The models that go because their pipeline no longer has them. Raises RepositoryError for names that others have taken."""
    for pipeline, entry in found.entries.items():
        for other, held in theirs.items():
            if other != pipeline and (taken := sorted(set(entry.models) & set(held.models))):
                raise RepositoryError(
                    f"{where}/{taken[0]} belongs to the pipeline {other!r} there", "rename one of the pipelines"
                )
    return [n for name, e in found.entries.items() for n in (theirs[name].models if name in theirs else ()) if n not in e.models]


def rows(found: Parcel, theirs: Mapping[str, Entry], sizes: Mapping[str, int]) -> Iterator[Row]:
    """What becomes of each file, by the digests of both locks."""
    for name, entry in found.entries.items():
        old = theirs[name].files if name in theirs else {}
        for file, digest in entry.files.items():
            yield file, sizes[file], "created" if file not in old else "identical" if old[file] == digest else "updated"
        yield from ((file, 0, "retired") for file in old if file not in entry.files)


def strangers(present: Sequence[str], theirs: Mapping[str, Entry], where: str) -> None:
    """Raise RepositoryError for files in our model folders that the lock there does not list: they would be served, or lost."""
    ours = {file for entry in theirs.values() for file in entry.files}
    if other := sorted(file for file in present if file not in ours and carry.CACHE not in file):
        raise RepositoryError(f"{where}: {_few(other)}: not pushed by triton-repo", "move it away, or rename the pipeline")


def before(found: Parcel, theirs: Mapping[str, Entry]) -> dict[str, tuple[int, ...]]:
    """Pipeline -> the versions that the destination holds."""
    from generator.versions import held

    return {name: held(theirs[name].files) for name in found.entries if name in theirs}


def _local(found: Parcel, folder: Path) -> Pushed:
    """Each model folder is staged beside the destination and exchanged at once, the lock last."""
    theirs = lock.read(folder)
    repository.claim(folder, theirs, found.models)
    retired = owned(found, theirs, str(folder))
    present = [p for name in (*found.models, *retired) for p in (folder / name).rglob("*") if p.is_file()]
    strangers([p.relative_to(folder).as_posix() for p in present], theirs, str(folder))
    sizes = {name: (found.source / name).stat().st_size for entry in found.entries.values() for name in entry.files}
    with repository.staging(folder) as staged:
        for name, entry in found.entries.items():
            _stage(found.source, entry, staged, folder, theirs.get(name, Entry()))
        done = list(rows(found, theirs, sizes))
        repository.publish(staged, folder, list(found.served), retired, {**theirs, **found.entries})
    return Pushed(done, retired, before(found, theirs))


def _stage(source: Path, entry: Entry, staged: Path, served: Path, old: Entry) -> None:
    """A pipeline's model folders; what is there already is passed on with its times."""
    for model in entry.models:
        for folder in (source / model, *(p for p in (source / model).rglob("*") if p.is_dir() and p.name != carry.CACHE)):
            (staged / folder.relative_to(source)).mkdir(parents=True, exist_ok=True)
    for name, digest in entry.files.items():
        there = served / name
        if old.files.get(name) == digest and there.is_file() and file_digest(there) == digest:
            carry.link(there, staged / name)
        else:
            shutil.copyfile(source / name, staged / name)
    for model in entry.models:
        carry.times(served / model, staged / model)
