"""`engine.json`: everything that decides a TensorRT engine, written where there is no GPU and read where there is one.

It lies in the version folder of a model whose engine is still to be built, beside the ONNX file (`onnx`, and its weights where
they lie outside it) and the plugin libraries that are copied, and it stays there. Who builds does this for each of `engines`:

1. holds the files against `files` (sha256 by name, all in this folder), the plugin libraries against `plugins`;
2. loads the plugin libraries, parses the ONNX file as a strongly typed network, adds `profiles` in their order, sets `options`;
3. builds for `compute_capability` (None: the GPU at hand) and writes the plan to `filename` in this folder. With
   `options.strip_plan` the builder's plan has no weights and goes to `stripped`; the plan in `filename` is made from it and the
   ONNX file by refitting.

`digest()` is one number over all of it: a plan whose provenance carries another was built from something else.
`generator/engine_child.py` does 2 and 3 with TensorRT's Python API, in a process of its own (`generator/engine_build.py`):
`build(folder, request, engine, into, told) -> facts`; `trtexec` can do the same (`docs/tensorrt.md`).
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from generator.errors import RepositoryError
from generator.plugin import Model

#: What the request is called in the version folder.
NAME = "engine.json"

_CAPABILITY = re.compile(r"[1-9][0-9]?\.[0-9]\Z")
_SIZE = re.compile(r"([0-9]+) ?(MiB|GiB)\Z")


def _capability(value: str) -> str:
    if not _CAPABILITY.match(value):
        raise ValueError(f'{value!r} is not a compute capability; write it as NVIDIA does, in quotes: "8.9"')
    return value


def _mebibytes(value: Any) -> Any:
    """`4 GiB` as YAML gives it, a string."""
    if isinstance(value, str):
        found = _SIZE.match(value)
        if not found:
            raise ValueError(f"{value!r} is not a size; write MiB as a number, or `512 MiB`, `4 GiB`")
        return int(found[1]) * (1024 if found[2] == "GiB" else 1)
    return value


def _plain(value: str) -> str:
    """Who builds reads and writes by these names: none may lead out of the folder."""
    if value in ("", ".", "..") or set(value) & set("/\\\0"):
        raise ValueError(f"{value!r} is not a file name in this folder; write it without `/`")
    return value


#: A file in the version folder.
FileName = Annotated[str, AfterValidator(_plain)]
#: Memory in MiB, or as `4 GiB`.
MiB = Annotated[Annotated[int, Field(ge=1)], BeforeValidator(_mebibytes, json_schema_input_type=int | str)]
#: `8.9`: a GPU type (https://developer.nvidia.com/cuda-gpus).
ComputeCapability = Annotated[str, AfterValidator(_capability)]


class EngineOptions(Model):
    """What the builder is told, by TensorRT's own names (Python API, class IBuilderConfig and enum BuilderFlag)."""

    workspace: Annotated[
        MiB | None,
        Field(description="Memory that a layer may use at most, in MiB or as `4 GiB`; left out, all of the GPU's."),
    ] = None
    builder_optimization_level: Annotated[
        int | None,
        Field(ge=0, le=5, description="0 builds fastest, 5 searches longest; left out, TensorRT's own (3)."),
    ] = None
    version_compatible: Annotated[
        bool, Field(description="The plan also loads in later TensorRT versions of the same major number.")
    ] = False
    hardware_compatibility: Annotated[
        Literal["none", "ampere_plus", "same_compute_capability"],
        Field(description="On which GPUs besides the one that built it the plan runs; all but none cost some speed."),
    ] = "none"
    weight_streaming: Annotated[
        bool, Field(description="Weights may stream from host memory; Triton's backend streams none (docs/tensorrt.md).")
    ] = False
    strip_plan: Annotated[
        bool,
        Field(description="Keep the plan without weights too; `triton-repo engines` refits it from the ONNX file beside it."),
    ] = False
    tf32: Annotated[bool, Field(description="fp32 layers may use TensorFloat-32, which keeps 10 bits of the fraction.")] = True
    timing_cache: Annotated[
        bool, Field(description="Remember measurements of layers, by TensorRT version and GPU type, for the next build.")
    ] = True
    profiling_verbosity: Annotated[
        Literal["layer_names_only", "detailed", "none"], Field(description="What the plan tells of its layers.")
    ] = "layer_names_only"
    tactic_sources: Annotated[
        tuple[Literal["cublas", "cublas_lt", "cudnn", "edge_mask_convolutions", "jit_convolutions"], ...] | None,
        Field(description="Where implementations of layers may come from; left out, TensorRT's own choice."),
    ] = None


class Range(Model):
    """Of one input in one profile: its smallest, usual and largest shape, batch axis first; with `values`, its values instead."""

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]
    #: Is it an input whose values TensorRT takes for a shape? Then these are values (IOptimizationProfile.set_shape_input).
    values: bool = False


#: Input -> range, for every input that is not fixed.
Profile = dict[str, Range]


class PluginLibrary(Model):
    """A shared library that must be loaded before the plan is built, and before the server loads it."""

    #: A name in the version folder, or where it lies on the machines that build and serve.
    path: str
    #: Of the copy in the version folder; None where it is on the other machines only.
    sha256: str | None = None

    @model_validator(mode="after")
    def _placed(self) -> PluginLibrary:
        if self.sha256 is not None:
            _plain(self.path)
        elif not self.path.startswith("/"):
            raise ValueError(f"{self.path!r} has no sha256, so it must be a path on the server, which begins with `/`")
        return self


class Engine(Model):
    """One plan that is wanted."""

    filename: FileName
    #: The GPU type; None: that of the machine that builds.
    compute_capability: ComputeCapability | None = None
    #: Where the plan without weights is kept, with `strip_plan`.
    stripped: FileName | None = None


class EngineRequest(Model):
    """The file."""

    format: Literal[1] = 1
    onnx: FileName
    #: The ONNX file, and the file of its weights where it has one: name -> sha256, hexadecimal.
    files: dict[FileName, str]
    #: Always: TensorRT 11 knows no other networks; types and casts are in the graph.
    strongly_typed: Literal[True] = True
    #: The kind of precision that the graph is in, for people.
    precision: str = "fp32"
    max_batch_size: int
    profiles: tuple[Profile, ...] = ()
    options: EngineOptions = EngineOptions()
    plugins: tuple[PluginLibrary, ...] = ()
    engines: tuple[Engine, ...]

    @model_validator(mode="after")
    def _held(self) -> EngineRequest:
        if self.onnx not in self.files:
            raise ValueError(f"`files` has no digest of {self.onnx}")
        written = [name for engine in self.engines for name in (engine.filename, engine.stripped) if name]
        names = [*written, *self.files, NAME]
        if twice := next((name for name in written if names.count(name) > 1), None):
            raise ValueError(f"two files would be called {twice}")
        return self

    def digest(self) -> str:
        """sha256 over all of it, hexadecimal."""
        said = self.model_dump(mode="json", exclude={"engines"})
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def write(self, folder: Path) -> None:
        """Into a version folder."""
        (folder / NAME).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> EngineRequest:
        """Of a version folder. Raises RepositoryError where it is missing, or not what this version writes."""
        path = folder / NAME
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise RepositoryError(f"{path}: {error.strerror}", "build the repository again: triton-repo build") from None
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise RepositoryError(f"{path}: {where}: {first['msg']}", "build the repository again: triton-repo build") from None
