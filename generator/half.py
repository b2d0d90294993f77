"""What fp16 and bf16 share: the graph brought into half precision by Casts, measured before and compared after.

Tensors are measured on the samples, nodes that must stay in FP32 chosen, Casts and weights written, and the result, its rounding
emulated (half_oracle.py), is run on the same samples and held against FP32.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from generator.errors import SurgeryError
from generator.precisions import Precision

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import onnx_ir as ir
    from numpy.typing import NDArray
    from onnx import ModelProto

    from generator.half_choice import Format
    from generator.tensors import Tensor

_MIB = 2**20


class Half(Precision):
    """Half precision written into the graph."""

    sources: ClassVar[tuple[str, ...]] = (
        "../half_choice.py", "../half_graph.py", "../half_measure.py", "../half_oracle.py", "../half_slots.py", "../editing.py",
    )  # fmt: skip
    #: onnx.TensorProto's name of the type, and the name of the opset's schemas.
    type: ClassVar[str]
    #: Largest number, and how much of a number rounding changes at most.
    largest: ClassVar[float]
    rounding: ClassVar[float]
    #: Operators that ONNX has in it, and TensorRT has not: they stay in FP32.
    refused: ClassVar[frozenset[str]] = frozenset()
    #: The opset that the graph is brought to, so that ONNX allows the type for what networks are made of; 0: as it is.
    opset: ClassVar[int] = 0

    keep: Annotated[
        tuple[str, ...], Field(description="Stay in fp32: operator types (Softmax), and names of nodes with wildcards (/neck/*).")
    ] = ()
    headroom: Annotated[
        float, Field(ge=1, description="Tensors that reach 1/headroom of the largest number on the samples stay in fp32.")
    ] = 8.0

    def apply(self, graph: Path, made: Path, samples: Sequence[dict[str, NDArray[np.generic]]]) -> dict[str, str]:
        """The graph in half precision; how many nodes, what stayed in FP32 and why, and how far it is from FP32.

        Raises SurgeryError where nothing could be converted, a pattern of `keep` fits nothing, or half gives NaN or infinity.
        """
        from generator import graph as door
        from generator import half_measure, weights
        from generator.half_choice import appended

        model = self._recent(door.load(graph))
        before = door.checked(model, f"{self.kind}, before the casts")
        ends = half_measure.ends(before, appended())
        measured, answers = half_measure.largest(before, samples, ends)
        after, kept, held = self._converted(before, measured)
        after = door.checked(after, self.kind)
        outside = weights.some(before)
        door.save(after, made, 0 if outside else weights.LIMIT)
        largest = self._compared(after, samples, measured, answers)
        return {
            "nodes": f"{held} in {self.kind}, {len(kept)} in fp32",
            "weights": f"{_size(before) / _MIB:.1f} -> {_size(after) / _MIB:.1f} MiB",
            **({"kept in fp32": _summary(kept)} if kept else {}),
            "largest difference": largest,
        }

    def oracle(self, graph: Path, scratch: Path) -> Path:
        """The graph with its rounding emulated in FP32: ONNX Runtime's CPU provider leaves it out (half_oracle.py)."""
        from generator import half_oracle

        return half_oracle.write(graph, self.type, scratch / "oracle.onnx")

    def _form(self) -> Format:
        from generator.half_choice import Format

        return Format(self.type.lower(), self.largest, self.rounding, self.refused)

    def _recent(self, model: ModelProto) -> ModelProto:
        from generator.passes.set_opset import SetOpset, opset

        if opset(model) >= self.opset:
            return model
        return SetOpset.model_construct(kind="set_opset", version=self.opset).run(model)

    def _converted(self, before: ModelProto, measured: Mapping[str, float]) -> tuple[ModelProto, dict[str, str], int]:
        """The graph, node -> why of what was kept, and how many nodes compute in half."""
        from generator.editing import edited

        kept: dict[str, str] = {}
        held: list[int] = []
        after = edited(before, lambda model: held.append(self._convert(model, measured, kept)))
        return after, kept, held[0]

    def _convert(self, model: ir.Model, measured: Mapping[str, float], kept: dict[str, str]) -> int:
        import onnx_ir as ir
        from onnx_ir.passes.common import LiftConstantsToInitializersPass

        from generator.half_choice import Choice
        from generator.half_graph import Converter, named
        from generator.half_oracle import MOVES

        LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        named(model.graph)
        opset = max(version for domain, version in model.opset_imports.items() if domain in ("", "ai.onnx"))
        choice = Choice(model.graph, self._form(), opset, measured, self.largest / self.headroom)
        stays = choice.choose(self.keep)
        held = [node for node in model.graph if node not in stays and choice.slots(node).inputs]
        if all(node.op_type in MOVES for node in held):
            reasons = _summary({node.name or "": why for node, why in stays.items()})
            what = f"{self.kind}: nothing in the graph can be {self.kind}: {reasons or 'no node of it computes in fp32'}"
            raise SurgeryError(what, "leave `precision` out, or keep less")
        Converter(model.graph, ir.DataType[self.type], stays, choice.slots).run(*self._ends(model.graph))
        kept.update({f"{node.name}": why for node, why in stays.items()})
        return len(held)

    def _ends(self, graph: ir.Graph) -> tuple[frozenset[str], frozenset[str]]:
        """Names of the inputs and outputs that become half."""
        return frozenset(), frozenset()

    def _compared(
        self, after: ModelProto, samples: Sequence[Mapping[str, Any]], measured: Mapping[str, float], answers: Sequence[Any]
    ) -> str:
        """How far the half graph is from FP32, in words. Raises SurgeryError naming the first node that overflows."""
        import numpy as np

        from generator import half_measure, half_oracle
        from generator.graph import checked

        emulated = checked(half_oracle.emulated(after, self.type), "the oracle")
        kinds = {value.name: _numpy(value.type.tensor_type.elem_type) for value in emulated.graph.input}
        taken = [
            {name: values.astype(kinds[name]) if values.dtype == np.float32 else values for name, values in sample.items()}
            for sample in samples
        ]
        found, halves = half_measure.largest(emulated, taken, list(answers[0]) if answers else [])
        self._finite(after, found, measured)
        return _farthest(answers, halves)

    def _finite(self, after: ModelProto, found: Mapping[str, float], measured: Mapping[str, float]) -> None:
        import numpy as np

        for node in after.graph.node:
            for name in node.output:
                half = found.get(name, found.get(f"{name}/inner", 0.0))
                single = measured.get(name.removesuffix("/inner"), 0.0)
                if not np.isfinite(half) and np.isfinite(single):
                    raise SurgeryError(
                        f"{self.kind}: node {node.name} ({node.op_type}) gives NaN or infinity, where fp32 gives at most "
                        f"{single:.3g}",
                        f"say `keep: [{node.name}]` under `precision:`",
                    )


def _numpy(number: int) -> Any:
    import onnx_ir as ir

    return ir.DataType(number).numpy()


def _farthest(answers: Sequence[Mapping[str, Any]], halves: Sequence[Mapping[str, Any]]) -> str:
    """The largest difference, measured in the largest number of its tensor."""
    import numpy as np

    worst = (-1.0, "no output in floating point to compare")
    for answer, half in zip(answers, halves, strict=True):
        for name, a in answer.items():
            if a.dtype.kind == "f" and np.isfinite(a).all():
                distance = float(np.abs(a.astype(np.float64) - half[name].astype(np.float64)).max(initial=0.0))
                size = float(np.abs(a).max(initial=0.0))
                worst = max(worst, (distance / max(size, 1e-12), f"{distance:.2g} of {name}, which reaches {size:.3g}"))
    return worst[1]


def _size(model: ModelProto) -> int:
    from generator import weights

    return sum(weights.size(tensor) for tensor in weights.tensors(model))


def _summary(kept: Mapping[str, str]) -> str:
    """`head and NMS 36, overflow 1 (/model/Pow)`: reasons by frequency, with the first nodes of those that are particular."""
    groups: dict[str, list[str]] = {}
    for node, why in kept.items():
        groups.setdefault(why.split(":")[0], []).append(node)
    counts = Counter({why: len(nodes) for why, nodes in groups.items()})
    return ", ".join(f"{why} {count} ({groups[why][0]}{', ...' if count > 1 else ''})" for why, count in counts.most_common())


#: How inputs or outputs are given: as they were, all in half, or those named.
Ends = Literal["keep", "convert"] | tuple[str, ...]


def converted(tensors: tuple[Tensor, ...], said: Ends, side: str, dtype: str) -> tuple[Tensor, ...]:
    """The same with the FP32 ones, or those named, of another type. Raises SurgeryError where there is none."""
    from dataclasses import replace

    from generator.nearest import missing

    if said == "keep":
        return tensors
    known = [tensor.name for tensor in tensors if tensor.dtype == "FP32"]
    for name in () if said == "convert" else said:
        if name not in known:
            raise missing(f"{side} in FP32 called", name, known)
    names = known if said == "convert" else said
    if not names:
        there = ", ".join(map(str, tensors))
        raise SurgeryError(f"no {side} is in FP32: {there}", f"leave `{side}s` out")
    return tuple(replace(tensor, dtype=dtype) if tensor.name in names else tensor for tensor in tensors)
