"""What is judged before a GPU is there, on which terms, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator import preflight_ranges
from generator.rules import Problem

if TYPE_CHECKING:
    from generator.preflight_run import Parser
    from generator.tensorrt_remedies import Remedy


@dataclass(frozen=True)
class Graph:
    """One ONNX file that is to be judged."""

    #: The model's name, and what the file is called in its findings.
    model: str
    label: str
    path: Path
    #: Largest batch, 0 where the first axis is none; shapes without the batch that config.pbtxt gives.
    most: int = preflight_ranges.BATCH
    fixed: Mapping[str, list[int]] = field(default_factory=dict)
    #: A profile of an engine (generator/engine_request.py), where one is known otherwise than from engine.json beside the file.
    said: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Terms:
    """How graphs are judged."""

    by: Parser
    #: Compute capabilities, `8.9`.
    capabilities: Sequence[str] = ("8.9",)
    #: For each graph.
    seconds: float = 600.0
    plugins: Sequence[str] = ()


@dataclass
class Refusal:
    """Nodes of one operator that were refused for one reason."""

    operator: str
    reason: str
    nodes: list[str]
    remedy: Remedy


@dataclass
class Verdict:
    """What came of one graph."""

    graph: Graph
    #: Rule and problem.
    problems: list[tuple[str, Problem]] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    #: Operators that this build cannot judge.
    unjudged: list[str] = field(default_factory=list)
    #: Was all that was not cut off parsed, and in how many layers?
    parsed: bool = False
    layers: int = 0
    #: Compute capability -> seconds of its build.
    compiled: dict[str, float] = field(default_factory=dict)
    #: Sizes for which it was.
    sizes: str = ""

    def __str__(self) -> str:
        parts = [f"parsed, {self.layers} layers" if self.parsed else "not parsed"]
        parts += [f"compiled for {', '.join(self.compiled)} in {sum(self.compiled.values()):.1f} s"] if self.compiled else []
        parts += [self.sizes] if self.sizes and self.compiled else []
        parts += [f"not judged here: {', '.join(self.unjudged)}"] if self.unjudged else []
        return f"{self.graph.model} {self.graph.label}: {'; '.join(parts)}"
