"""What `check --tensorrt` found in the ONNX files (`generator/preflight.py`); without that option, nothing."""

from __future__ import annotations

from collections.abc import Iterator

from generator.rules import Model, Problem, World, rule

_PARSER = "NVIDIA's ONNX parser (OnnxParser.parse_from_file)"
_BUILDER = "NVIDIA's builder (Builder.build_serialized_network)"


def _of(name: str, model: Model, world: World) -> Iterator[Problem]:
    yield from (problem for found, problem in world.preflight.get(model.name, ()) if found == name)


@rule("tensorrt/file", source="generator/graph.py")
def file(model: Model, world: World) -> Iterator[Problem]:
    """Each ONNX file can be read, its weights beside it."""
    yield from _of("tensorrt/file", model, world)


@rule("tensorrt/operator", source=f"{_PARSER}, {_BUILDER}")
def operator(model: Model, world: World) -> Iterator[Problem]:
    """TensorRT takes every operator, with its types and attributes."""
    yield from _of("tensorrt/operator", model, world)


@rule("tensorrt/compile", source=_BUILDER)
def compiled(model: Model, world: World) -> Iterator[Problem]:
    """The graph compiles to an engine for each compute capability that is asked for."""
    yield from _of("tensorrt/compile", model, world)


@rule("tensorrt/plugin", source="TensorRT, plugin/efficientNMSPlugin, README.md and efficientNMSPlugin.cpp")
def plugin(model: Model, world: World) -> Iterator[Problem]:
    """Plugin nodes take tensors and attributes as their plugin's documents say."""
    yield from _of("tensorrt/plugin", model, world)


@rule("tensorrt/type", source=_PARSER)
def types(model: Model, world: World) -> Iterator[Problem]:
    """An engine's inputs and outputs have the types that the graph says."""
    yield from _of("tensorrt/type", model, world)


@rule("tensorrt/crash", source="generator/preflight_run.py")
def crash(model: Model, world: World) -> Iterator[Problem]:
    """Parser and builder live to answer, and in time."""
    yield from _of("tensorrt/crash", model, world)


@rule("tensorrt/double", level="warning", source="onnx-tensorrt, docs/operators.md")
def double(model: Model, world: World) -> Iterator[Problem]:
    """Nothing inside is computed in DOUBLE, which TensorRT holds as FLOAT."""
    yield from _of("tensorrt/double", model, world)


@rule("tensorrt/not_judged", level="warning", source="onnx-tensorrt, docs/operators.md")
def not_judged(model: Model, world: World) -> Iterator[Problem]:
    """The parser at hand can judge every operator."""
    yield from _of("tensorrt/not_judged", model, world)
