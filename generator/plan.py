"""Pipelines -> steps with keys. A key holds everything that decides the step's result; equal key, equal result."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import generator
from generator import paths, plugin
from generator.errors import CheckpointError
from generator.folder import FolderModel
from generator.pipeline import Pipeline

_PACKAGE = Path(generator.__file__).parent
#: Bytes from which on a file's digest is remembered.
_LARGE = 2**26

#: What decides a step besides the spec: libraries by distribution name, our own files by their path in the package.
_EXPORT = (
    ("onnx",),
    (
        "export.py", "exporters.py", "export_proof.py", "export_reasons.py", "frozen.py", "places.py", "rows.py", "flatten.py",
        "inputs.py", "module_surgery.py", "user_code.py", "graph.py", "weights.py", "weight_files.py", "worker.py",
        "frontends/__init__.py", "module_passes/__init__.py",
    ),
)  # fmt: skip
_SURGERY = (
    ("onnx", "onnx-graphsurgeon", "onnxscript", "numpy"),
    (
        "surgery.py",
        "scalars.py",
        "builder.py",
        "graph.py",
        "weights.py",
        "weight_files.py",
        "picture.py",
        "passes/image_input.py",
        "passes/fold_constants.py",
        "passes/set_opset.py",
        "proof.py",
        "tensors.py",
        "detection.py",
        "selection.py",
        "suppression.py",
    ),
)
_PASSES = (
    ("onnx", "onnx-ir", "onnxscript", "onnx-graphsurgeon", "onnxruntime", "numpy"),
    (
        "surgery.py", "proof.py", "change.py", "editing.py", "matching.py", "rewrites.py", "nearest.py", "user_code.py",
        "graph.py", "weights.py", "weight_files.py", "builder.py", "compare.py", "passes/__init__.py", "tensors.py",
    ),
)  # fmt: skip
_PRECISION = (
    ("onnx", "onnx-ir", "onnxruntime", "numpy"),
    (
        "precision.py", "graph.py", "weights.py", "weight_files.py", "sampling.py", "ladder_samples.py", "step_code.py",
        "precisions/__init__.py",
    ),
)  # fmt: skip
_TARGET = (("onnx",), ("target.py", "worker.py", "environment.py", "parts.py", "module_target.py", "backends/__init__.py"))
_REPOSITORY = (
    ("tritonclient", "protobuf", "jinja2"),
    (
        "config.py", "config_block.py", "config_reading.py", "config_merge.py", "config_serving.py", "descriptors.py", "draft.py",
        "serving.py", "warmup.py", "step_code.py", "repository.py", "pipeline.py", "parts.py", "module_target.py", "pbtxt.py",
        "tensors.py",
    ),
)  # fmt: skip
#: A folder spec is only written.
_FOLDER = ("folder.py", "draft.py", "repository.py", "pbtxt.py", "config_block.py", "config_reading.py", "descriptors.py")


@dataclass(frozen=True)
class Step:
    """A piece of work. `parts` says in plain words what it depends on; `key` is their digest."""

    pipeline: str
    name: str
    parts: dict[str, str]

    @property
    def key(self) -> str:
        """sha256 over `parts`, hexadecimal."""
        return _digest(json.dumps(self.parts, sort_keys=True).encode())

    @property
    def id(self) -> str:
        """How lock and progress call it."""
        return f"{self.pipeline}/{self.name}"


def steps(pipeline: Pipeline) -> tuple[Step, ...]:
    """export, passes, surgery, precision, target, repository: each key contains the one before.

    Passes are there where the spec has `surgery:`, precision where it is not as trained, target where it converts the graph.

    Raises CheckpointError for a file that cannot be read.
    """
    spec, name = pipeline.spec, pipeline.spec.name
    made = export_step(pipeline)
    edited = _edited(pipeline, made)
    cut = Step(name, "surgery", {
        **{step.name: step.key for step in edited or [made]},
        "external data from": f"{spec.external_data_from} MiB",
        **_said("head", pipeline.head and pipeline.head.model_dump(mode="json"), pipeline.head.files() if pipeline.head else ()),
        **{f"file {path.name}": file_digest(path) for path in (pipeline.head.files() if pipeline.head else ())},
        **_said("nms", spec.nms and spec.nms.model_dump(mode="json")),
        **_said("preprocess", spec.preprocess and spec.preprocess.model_dump(mode="json")),
        "sources": _sources(_SURGERY[1], [p for p in (pipeline.head, spec.nms, spec.preprocess) if p]),
        **_versions(_SURGERY[0]),
    })  # fmt: skip
    made_of = [cut, *_held(pipeline, cut)]
    made_of += _converted(pipeline, made_of[-1])
    labels = spec.postprocess.labels if spec.postprocess else None
    warmed = spec.serving.warmup.files() if spec.serving.warmup else []
    plugins = (spec.target, spec.postprocess, *(part.backend for part in pipeline.parts))
    written = Step(name, "repository", {
        made_of[-1].name: made_of[-1].key,
        **_said("postprocess", spec.postprocess and spec.postprocess.model_dump(mode="json", exclude={"labels"})),
        **_said("serving", spec.serving.model_dump(mode="json"), [*spec.serving.labels.values(), *warmed]),
        **{f"file {path.name}": file_digest(path) for path in (*spec.serving.labels.values(), *warmed)},
        **_said("config", spec.config.model_dump(mode="json", exclude_unset=True)),
        **_said("target", spec.target.model_dump(mode="json"), spec.target.files()),
        **{f"file {path.name}": file_digest(path) for path in spec.target.files()},
        "labels": file_digest(labels) if labels else "none",
        "sources": _sources(_REPOSITORY[1], [p for p in plugins if p]),
        "templates": _tree(part.template for part in pipeline.parts),
        **_versions(_REPOSITORY[0]),
    })  # fmt: skip
    return made, *edited, *made_of, written


def _held(pipeline: Pipeline, cut: Step) -> list[Step]:
    """The graph in another precision; pictures of `verify` are what it is judged on."""
    spec = pipeline.spec
    if spec.precision.trained:
        return []
    pictures = spec.verify.images
    arrays = [value for one in spec.verify.samples for value in one.values() if isinstance(value, str) and value.endswith(".npy")]
    return [Step(spec.name, "precision", {
        "surgery": cut.key,
        **_said("precision", spec.precision.model_dump(mode="json", exclude={"bounds"})),
        **_said("verify", spec.verify.model_dump(mode="json", include={"images", "samples"}), pictures),
        **{f"file {path.name}": file_digest(path) for path in (*pictures, *(pipeline.path.parent / name for name in arrays))},
        "sources": _sources(_PRECISION[1], [spec.precision]),
        **_versions(_PRECISION[0]),
    })]  # fmt: skip


def _converted(pipeline: Pipeline, before: Step) -> list[Step]:
    """What the target makes of the graph."""
    spec = pipeline.spec
    if not spec.target.converts:
        return []
    batcher = spec.serving.dynamic_batching
    return [Step(spec.name, "target", {
        before.name: before.key,
        **_said("target", spec.target.model_dump(mode="json"), spec.target.files()),
        **{f"file {path.name}": file_digest(path) for path in spec.target.files()},
        **_said("batch", [pipeline.batch_size("model"), *(batcher.preferred_batch_sizes if batcher else ())]),
        "sources": _sources(_TARGET[1], [spec.target]),
        **_versions(dict.fromkeys((*_TARGET[0], *spec.target.libraries))),
    })]  # fmt: skip


def export_step(pipeline: Pipeline) -> Step:
    """The first step: it depends on the checkpoint alone."""
    spec, checkpoint = pipeline.spec, pipeline.spec.checkpoint
    files = checkpoint.files()
    return Step(spec.name, "export", {
        "opset": str(spec.opset),
        "external data from": f"{spec.external_data_from} MiB",
        **_said("checkpoint", checkpoint.model_dump(mode="json"), files),
        **{f"file {path.name}": file_digest(path) for path in _data(files)},
        "sources": _sources(_EXPORT[1], [checkpoint, *checkpoint.plugins()], [p for p in files if p.suffix == ".py"]),
        **_versions(dict.fromkeys((*_EXPORT[0], *checkpoint.libraries))),
        "python": platform.python_version(),
    })  # fmt: skip


def _edited(pipeline: Pipeline, made: Step) -> list[Step]:
    """The spec's own passes: their settings, their sources, the user's files, and the bounds that results are held to."""
    passes, bounds = pipeline.spec.surgery, pipeline.spec.verify.bounds
    files = [path for step in passes for path in step.files()]
    parts = {
        "export": made.key,
        "external data from": f"{pipeline.spec.external_data_from} MiB",
        **_said("surgery", [step.model_dump(mode="json") for step in passes], files),
        **_said("bounds", [bounds.absolute, bounds.relative, bounds.of_largest]),
        **{f"file {path.name}": file_digest(path) for path in _data(files)},
        "sources": _sources(_PASSES[1], passes, [path for path in files if path.suffix == ".py"]),
        **_versions(_PASSES[0]),
    }
    return [Step(pipeline.spec.name, "passes", parts)] if passes else []


def folder_step(model: FolderModel) -> Step:
    """Of a model that is there already: one step, which copies it."""
    return Step(model.spec.name, "repository", {
        "files": _digest("".join(f"{name}{file_digest(path)}" for name, path in model.files.items()).encode()),
        "folders": json.dumps(sorted(model.folders)),
        **_said("config", model.spec.model_dump(mode="json", include={"config"})),
        "sources": _sources(_FOLDER, []),
        **_versions(_REPOSITORY[0]),
    })  # fmt: skip


def why_stale(step: Step, before: dict[str, str] | None) -> str:
    """In plain words, what differs from the parts that the lock remembers."""
    if before is None:
        return "not built yet"
    changed = [name for name in {**before, **step.parts} if before.get(name) != step.parts.get(name)]
    return f"changed: {', '.join(sorted(changed))}" if changed else "its result is missing"


def file_digest(path: Path) -> str:
    """sha256 of a file, hexadecimal; one of gigabytes is read once as long as it stays as it is."""
    try:
        state = path.stat()
        return _file_digest(path, state.st_ino, state.st_size, state.st_mtime_ns) if state.st_size > _LARGE else _read(path)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}", "make it readable") from None


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.lru_cache(maxsize=64)
def _file_digest(path: Path, *_state: int) -> str:
    return _read(path)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _said(title: str, value: Any, files: Sequence[Path] = ()) -> dict[str, str]:
    """A part of the spec; files count by their content, so their paths, and those of folders with them, become names."""
    text = json.dumps(value, sort_keys=True)
    for path in files:
        text = text.replace(str(path), path.name)
        for folder in path.parents:
            text = text.replace(f'"{folder}"', f'"{folder.name}"')
    return {title: text}


def _data(files: Iterable[Path]) -> list[Path]:
    return [path for path in files if path.suffix != ".py"]


def _sources(own: Iterable[str], plugins: Iterable[plugin.Plugin], others: Iterable[Path] = ()) -> str:
    files = [*(_PACKAGE / name for name in own), *(path for p in plugins for path in plugin.source_of(p)), *others]
    return _digest("".join(file_digest(path) for path in files).encode())


def _tree(templates: Iterable[str | None]) -> str:
    root = paths.templates()
    folders = [root / "models" / name for name in templates if name] + [root / "readme"]
    files = sorted(p for folder in folders for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return _digest("".join(f"{p.relative_to(root)}{file_digest(p)}" for p in files).encode())


def _versions(names: Iterable[str]) -> dict[str, str]:
    return {f"version of {name}": _version(name) for name in names}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"  # a step that needs it will say so
