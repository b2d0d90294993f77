"""Writes the model folders: staged beside the repository, exchanged in one rename each, the lock last."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import generator
from generator import carry, config, leaving, lock, paths, pbtxt, target, warmup
from generator.backends import Order
from generator.config_serving import labels_file
from generator.draft import Draft
from generator.errors import RepositoryError
from generator.folder import FolderModel
from generator.pipeline import Part, Pipeline
from generator.plan import file_digest
from generator.postprocessing import Postprocess
from generator.tensors import Tensor, numpy_dtype

#: What may lie in a repository folder without being ours.
_HARMLESS = {lock.NAME, "README.md", ".gitignore", ".gitkeep"}


def claim(repository: Path, entries: dict[str, lock.Entry], wanted: Sequence[str]) -> None:
    """Make sure that we may write `wanted` model folders. Raises RepositoryError; changes nothing."""
    if repository.exists() and not repository.is_dir():
        raise RepositoryError(f"{repository} is not a folder", "name another output with -o")
    if repository.is_dir():
        others = sorted(p.name for p in repository.iterdir() if p.name not in _HARMLESS and not p.is_dir())
        if others and not entries:
            raise RepositoryError(
                f"{repository} is not a model repository of ours: it holds {', '.join(others[:5])}",
                "name an empty or new folder with -o",
            )
    ours = {name for entry in entries.values() for name in entry.models}
    for name in wanted:
        if name not in ours and (repository / name).exists():
            raise RepositoryError(
                f"{repository / name} was not written by triton-repo", "rename the pipeline in its spec, or move that folder away"
            )
    _writable(repository)


def _writable(repository: Path) -> None:
    folder = repository
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise RepositoryError(f"{folder} is not writable", "name another output with -o, or change its permissions")
    probe = folder / f".triton-repo-{os.getpid()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RepositoryError(f"{folder} is not writable: {error.strerror}", "name another output with -o") from None


@contextmanager
def staging(repository: Path) -> Iterator[Path]:
    """A folder on the repository's file system that a polling server does not see; gone afterwards, whatever happens."""
    try:
        repository.mkdir(parents=True, exist_ok=True)
        beside = repository.resolve().parent
        same = os.access(beside, os.W_OK) and beside.stat().st_dev == repository.stat().st_dev
        folder = Path(tempfile.mkdtemp(prefix=f".{repository.resolve().name}-staging-", dir=beside if same else repository))
    except OSError as error:
        raise RepositoryError(f"{repository}: {error.strerror}", "name another output with -o") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write(pipeline: Pipeline, results: Mapping[str, Path], folder: Path) -> dict[str, str]:
    """Every model folder of one pipeline into `folder`, from the folders of its steps; the digest of each file by its path."""
    graph = target.final(results)
    order = pipeline.order(graph, results.get("target", graph.parent))
    for part in pipeline.parts:
        _part(pipeline, part, order, folder / part.name)
    if pipeline.spec.preprocess is not None:
        _ensemble(pipeline, folder / pipeline.spec.name)
    warmup.write(pipeline, graph, folder)
    return _digests(folder, models(pipeline))


def copy(model: FolderModel, folder: Path) -> dict[str, str]:
    """A model that is there already, and its config, into `folder`; the digest of each file by its path."""
    target = folder / model.spec.name
    target.mkdir()
    for name in sorted(model.folders):
        (target / name).mkdir(parents=True, exist_ok=True)
    for name, path in model.files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(path, target / name)
        except OSError as error:
            raise RepositoryError(f"{path}: {error.strerror}", "make it readable") from None
    if model.draft is not None:
        text = pbtxt.text(model.draft.config, model.draft.comments())
        (target / "config.pbtxt").write_text(text, encoding="utf-8")
    return _digests(folder, [model.spec.name])


def _digests(folder: Path, names: Sequence[str]) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): file_digest(p) for name in names for p in sorted((folder / name).rglob("*")) if p.is_file()
    }


def models(pipeline: Pipeline | FolderModel) -> list[str]:
    """Names of the folders that a pipeline writes; the ensemble last."""
    return list(dict.fromkeys([*(part.name for part in pipeline.parts), pipeline.served.name]))


def _part(pipeline: Pipeline, part: Part, order: Order, folder: Path) -> None:
    version = folder / str(pipeline.spec.serving.version)
    version.mkdir(parents=True)
    if part.template is None:
        what = _artefact(pipeline, part, order, version)
    else:
        shutil.copyfile(paths.templates() / "models" / part.template / "model.py", version / "model.py")
        what = f"The {part.role} step of the ensemble `{pipeline.spec.name}` (python backend)."
    post = pipeline.spec.postprocess
    if post is not None and post.named and part.role == "postprocess":
        _labels(post, folder / "labels.txt")
    for output, path in pipeline.spec.serving.labels.items() if part is pipeline.served else ():
        shutil.copyfile(path, folder / labels_file(output))
    draft = config.part_config(pipeline, part)
    if part is pipeline.network:
        pipeline.spec.target.seal(draft.config, order)
    _describe(pipeline, part, folder, what, draft)


def _artefact(pipeline: Pipeline, part: Part, order: Order, version: Path) -> str:
    """Put the model of a part there; what it is, in words."""
    spec = pipeline.spec
    if part.backend is not None:
        part.backend.artefact(replace(order, graph=order.made / target.HEAD), version)
        return f"Head and NMS of the ensemble `{spec.name}`, behind {spec.model_name}, on {part.backend.kind}."
    spec.target.artefact(order, version)
    return f"The trained model ({spec.checkpoint.kind}), {spec.precision.kind}, on {spec.target.kind}."


def _labels(post: Postprocess, path: Path) -> None:
    """The user's own file as it is, or the names of the checkpoint, a line each."""
    if post.labels is not None:
        shutil.copyfile(post.labels, path)
    else:
        path.write_text("".join(f"{name}\n" for name in post.names), encoding="utf-8")


def _ensemble(pipeline: Pipeline, folder: Path) -> None:
    (folder / str(pipeline.spec.serving.version)).mkdir(parents=True)
    what = "An ensemble: one encoded picture (JPEG, PNG) a batch row in, the answer out."
    _describe(pipeline, pipeline.served, folder, what, config.ensemble_config(pipeline))


def _describe(pipeline: Pipeline, part: Part, folder: Path, what: str, draft: Draft) -> None:
    (folder / "config.pbtxt").write_text(pbtxt.text(draft.config, draft.comments()), encoding="utf-8")
    steps = [p.name for p in pipeline.parts] if part is pipeline.served and pipeline.spec.preprocess else []
    (folder / "README.md").write_text(_render(
        "readme/model.md.j2", part=part, what=what, version=generator.__version__, spec_name=pipeline.path.name,
        max_batch_size=draft.config.max_batch_size, steps=steps, numpy_dtype=numpy_dtype, shape=_shape,
        example=lambda t: _example(t, draft.config.max_batch_size), encoded=[t.dtype for t in part.inputs] == ["BYTES"],
    ), encoding="utf-8")  # fmt: skip


def _render(template: str, **values: Any) -> str:
    import jinja2

    loader = jinja2.FileSystemLoader(paths.templates())
    # Markdown and the like: escaping for HTML would be wrong
    options: dict[str, Any] = {"undefined": jinja2.StrictUndefined, "keep_trailing_newline": True, "autoescape": False}
    environment = jinja2.Environment(loader=loader, **options)  # noqa: S701
    return environment.get_template(template).render(**values)


def _shape(tensor: Tensor) -> str:
    return str(tensor).split(tensor.dtype, 1)[1]


def _example(tensor: Tensor, max_batch_size: int) -> str:
    dims = [1 if d < 0 else d for d in tensor.shape] or ([1] if max_batch_size else [])
    return str([1, *dims] if tensor.batched or max_batch_size else dims)


def publish(staged: Path, repository: Path, names: Sequence[str], retired: Sequence[str], entries: dict[str, lock.Entry]) -> None:
    """Exchange the staged folders for the served ones, take the retired away, write the lock; an interrupt waits.

    A folder in which nothing changed is left alone, so that a polling server does not load its model again.
    """
    with _uninterrupted():
        changed = [name for name in names if not carry.unchanged(repository / name, staged / name)]
        bridged = [name for name in changed if leaving.bridge(repository / name, staged / name, staged / f"bridge-{name}")]
        for name in changed:
            _replace(staged / (f"bridge-{name}" if name in bridged else name), repository / name)
        if bridged or any(leaving.may_hang(repository / name) for name in retired):
            time.sleep(leaving.GRACE)
        for name in bridged:
            _replace(staged / name, repository / name)
        for name in retired:
            if (repository / name).exists():
                (repository / name).rename(staged / f"retired-{name}")
        text = staged / lock.NAME
        text.write_text(lock.text(entries), encoding="utf-8")
        text.replace(repository / lock.NAME)


def add(repository: Path, model: str, files: Mapping[str, Path]) -> None:
    """Put what was made after the build (engines) into its place, and into the lock; an interrupt waits.

    `files` are by their path in the repository, and lie on its file system. Raises RepositoryError where that place is gone, or
    not ours to write.
    """
    with _uninterrupted():
        entries = lock.read(repository)
        for name, staged in files.items():
            try:
                staged.replace(repository / name)
            except OSError as error:
                remedy = "make it writable; where the repository was built anew meanwhile, run the command again"
                raise RepositoryError(f"{repository / name}: {error.strerror}", remedy) from None
        entry = next((entry for entry in entries.values() if model in entry.models), None)
        if entry is None:
            return  # a repository of somebody else's making
        entry.files = dict(sorted({**entry.files, **{name: file_digest(repository / name) for name in files}}.items()))
        _write_lock(repository, entries)


def _write_lock(repository: Path, entries: dict[str, lock.Entry]) -> None:
    scratch = repository / f".{lock.NAME}-{os.getpid()}"
    scratch.write_text(lock.text(entries), encoding="utf-8")
    scratch.replace(repository / lock.NAME)


def _replace(new: Path, old: Path) -> None:
    """Such that a server that polls notices."""
    carry.noticed(old, new)
    _exchange(new, old)


def _exchange(new: Path, old: Path) -> None:
    """At once where kernel and file system can (renameat2 RENAME_EXCHANGE), file by file elsewhere.

    Never by moving the old folder away first: a polling server that looks in between unloads the model.
    """
    if not old.exists():
        new.rename(old)
        return
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    at_cwd, exchange = -100, 2
    if renameat2 is None or renameat2(at_cwd, os.fsencode(new), at_cwd, os.fsencode(old), exchange) != 0:
        carry.in_place(new, old)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """^C and SIGTERM are answered after the block."""
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, lambda n, _: came.append(n)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def whole(repository: Path, entry: lock.Entry) -> bool:
    """Is every file of the entry there, unchanged, and nothing beside them, no version folder either?"""
    return next(differences(repository, entry), "") == ""


def differences(repository: Path, entry: lock.Entry) -> Iterator[str]:
    """What of the entry is missing, was changed, or lies beside it, a sentence each."""
    found = {p.relative_to(repository).as_posix(): p for name in entry.models for p in (repository / name).rglob("*")}
    found = {name: path for name, path in found.items() if carry.CACHE not in name}
    for name, digest in entry.files.items():
        if name not in found or not found[name].is_file():
            yield f"{name} is missing"
        elif file_digest(found[name]) != digest:
            yield f"{name} was changed"
    yield from (f"{name} was added" for name, path in found.items() if path.is_file() and name not in entry.files)
    if not entry.versions:
        return
    there = {name for name, path in found.items() if path.is_dir() and lock.version(f"{name}/") is not None}
    wanted = {f"{model}/{version}" for model in entry.models for version in _versions(model, entry)}
    yield from (f"version folder {name} is missing" for name in sorted(wanted - there))
    yield from (f"version folder {name} was added" for name in sorted(there - wanted))


def _versions(model: str, entry: lock.Entry) -> set[int]:
    """Of one model: those that hold files; an ensemble's hold none, and are those of its steps."""
    found = {number for name in entry.files if name.startswith(f"{model}/") and (number := lock.version(name)) is not None}
    return found or set(map(int, entry.versions))
