"""Which version folders a build keeps, adds and takes away, and whether the kept ones still fit the config that all share.

A model has one config.pbtxt for all of its version folders (server, docs/user_guide/model_repository.md), so a version that takes
or gives something else cannot stay beside the new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from generator import config, lock, model_config, pbtxt
from generator.folder import FolderModel
from generator.pipeline import Pipeline
from generator.plan import file_digest

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInput

    from generator.serving import Serving

#: What decides how a version's files are read; the rest of a config may change under a kept version.
_READ = ("backend", "platform", "default_model_filename", "cc_model_filenames")
_REMEDY = "all versions of a model share one config.pbtxt: give the pipeline a new name, or say `serving.keep: 0`"


@dataclass(frozen=True)
class Versions:
    """The version folders of a pipeline's models before and after a build, by number, ascending."""

    before: tuple[int, ...]
    written: int
    kept: tuple[int, ...]

    @property
    def after(self) -> tuple[int, ...]:
        """What the repository will hold."""
        return (*self.kept, self.written)

    @property
    def retired(self) -> tuple[int, ...]:
        """What is taken away: more than `serving.keep` allows, and all that is later than the spec's version."""
        return tuple(v for v in self.before if v not in self.after)


def of(spec: Pipeline | FolderModel, entry: lock.Entry | None) -> Versions | None:
    """What a build of `spec` makes of the versions that the lock knows; None for a folder, which brings its own versions."""
    return None if isinstance(spec, FolderModel) else _of(spec.spec.serving, held(entry.files) if entry else ())


def _of(serving: Serving, before: tuple[int, ...]) -> Versions:
    earlier = [v for v in before if v < serving.version]
    count = len(earlier) if serving.keep == "all" else serving.keep
    return Versions(before, serving.version, tuple(earlier[len(earlier) - min(count, len(earlier)) :]))


def held(files: Iterable[str]) -> tuple[int, ...]:
    """The versions that files of a lock belong to, ascending."""
    return tuple(sorted({number for file in files if (number := lock.version(file)) is not None}))


def check(pipeline: Pipeline | FolderModel, entry: lock.Entry | None, output: Path) -> None:
    """Raise SpecError, with the line, where a kept version does not fit the new config, was changed since it was built, or
    where a version policy names a version that will not be there."""
    versions = of(pipeline, entry)
    if versions is None or isinstance(pipeline, FolderModel):
        return
    drafts = config.drafts(pipeline)
    _policy_fits(pipeline, versions)
    if entry is None or not versions.kept:
        return
    _untouched(pipeline, entry, versions, output)
    problems = []
    for name, draft in drafts.items():
        old = _served(pipeline, entry, name, output)
        problems += [f"{name}: {problem}" for problem in _unlike(old, draft.config, versions)] if old else []
    if problems:
        raise pipeline.error(("serving", "version"), "; ".join(problems), _REMEDY)


def shared(pipeline: Pipeline | FolderModel, entry: lock.Entry | None, output: Path) -> dict[str, list[str]]:
    """By model the fields of the old config that change under a kept version; for the plan."""
    versions = of(pipeline, entry)
    if versions is None or entry is None or not versions.kept or isinstance(pipeline, FolderModel):
        return {}
    found = {}
    for name, draft in config.drafts(pipeline).items():
        path = output / name / "config.pbtxt"
        if name in entry.models and path.is_file():
            old = pbtxt.read(path)
            found[name] = [f.name for f in old.DESCRIPTOR.fields if getattr(old, f.name) != getattr(draft.config, f.name)]
    return {name: fields for name, fields in found.items() if fields}


def _policy_fits(pipeline: Pipeline, versions: Versions) -> None:
    for name, draft in config.drafts(pipeline).items():
        missing = [v for v in draft.config.version_policy.specific.versions if v not in versions.after]
        if missing:
            origin = draft.origin("version_policy")
            raise pipeline.error(
                origin.loc if origin else ("serving", "version_policy"),
                f"{name}: version {missing[0]} would not be there: the repository will hold {_list(versions.after)}",
                "name versions that are kept or written, or build that version first",
            )


def _untouched(pipeline: Pipeline, entry: lock.Entry, versions: Versions, output: Path) -> None:
    """A kept version cannot be made again from this spec, so one that was changed is not passed on as if it were built."""
    for file, digest in entry.files.items():
        path = output / file
        if lock.version(file) in versions.kept and (not path.is_file() or file_digest(path) != digest):
            what = "was changed since it was built" if path.is_file() else "is missing"
            raise pipeline.error(
                ("serving", "version"),
                f"{path}, of version {lock.version(file)}, which is kept, {what}",
                "put it back, or say `serving.keep: 0`",
            )


def _served(pipeline: Pipeline, entry: lock.Entry, name: str, output: Path) -> ModelConfig | None:
    """The config that the kept versions are served with. None for a model that is new."""
    file = f"{name}/config.pbtxt"
    if file not in entry.files:
        return None
    path = output / file
    if not path.is_file() or file_digest(path) != entry.files[file]:
        raise pipeline.error(
            ("serving", "version"), f"{path} was changed since it was built, and the versions kept go by it",
            "put it back, or say `serving.keep: 0`",
        )  # fmt: skip
    return pbtxt.read(path)


def _unlike(old: ModelConfig, new: ModelConfig, versions: Versions) -> list[str]:
    """What keeps the versions before from being served with the new config."""
    found = [
        f"{_name(versions.kept)} {verb} {_tensor(a)}, version {versions.written} {verb} {_tensor(b)}"
        for verb, before, after in (("takes", old.input, new.input), ("gives", old.output, new.output))
        for a, b in _pairs(before, after)
    ]
    if old.max_batch_size != new.max_batch_size:
        found.append(f"max_batch_size of {_name(versions.kept)} is {old.max_batch_size}, the new one is {new.max_batch_size}")
    for field in _READ:
        a, b = getattr(old, field), getattr(new, field)
        if a != b:
            found.append(f"{field} of {_name(versions.kept)} is {_said(a)}, the new one is {_said(b)}")
    return found


def _pairs(old: Iterable[ModelInput], new: Iterable[ModelInput]) -> list[tuple[ModelInput | None, ModelInput | None]]:
    """Tensors of one name that differ; None where there is none of that name. Labels belong to the model, not to a version."""
    before, after = ({t.name: t for t in tensors} for tensors in (old, new))
    names = list(dict.fromkeys([*before, *after]))
    return [(before.get(n), after.get(n)) for n in names if _bare(before.get(n)) != _bare(after.get(n))]


def _bare(tensor: ModelInput | None) -> bytes:
    if tensor is None:
        return b""
    copy = type(tensor)()
    copy.CopyFrom(tensor)
    if "label_filename" in copy.DESCRIPTOR.fields_by_name:
        copy.ClearField("label_filename")
    return bytes(copy.SerializeToString(deterministic=True))


def _tensor(tensor: ModelInput | None) -> str:
    if tensor is None:
        return "nothing of that name"
    known = {"name", "data_type", "dims", "label_filename"}
    extra = [f"{field.name} {str(value).strip()}" for field, value in tensor.ListFields() if field.name not in known]
    return f"{tensor.name} {model_config.data_type(tensor.data_type)} {list(tensor.dims)} {' '.join(extra)}".rstrip()


def _name(versions: tuple[int, ...]) -> str:
    return f"version{'s' * (len(versions) > 1)} {_list(versions)}"


def _said(value: object) -> str:
    return repr(dict(value)) if isinstance(value, Mapping) else repr(value)


def _list(versions: Iterable[int]) -> str:
    return ", ".join(map(str, versions))
