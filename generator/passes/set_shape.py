"""set_shape: dimensions of inputs and outputs made free or fixed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from generator import editing
from generator.errors import SurgeryError
from generator.nearest import missing
from generator.passes import Arrays, Known, Pass, Run, Shape, replaced, shaped
from generator.tensors import Tensor

if TYPE_CHECKING:
    import onnx_ir as ir


class SetShape(Pass):
    """Dimensions of inputs and outputs become free or fixed; Reshape nodes with the old batch size built in follow."""

    kind: Literal["set_shape"] = "set_shape"
    keeps_results: ClassVar[bool] = True
    shapes: Annotated[
        dict[str, Shape],
        Field(
            min_length=1, description="`images: [batch, 3, 640, 640]`: the whole new shape of an input or output; a word is free."
        ),
    ]

    def interface(self, known: Known) -> Known:
        """The shapes as said; a size that was fixed may become free, not another size."""
        inputs, outputs = known.inputs, known.outputs
        for name, shape in self.shapes.items():
            is_input = name in [t.name for t in inputs]
            old = next((t for t in (*inputs, *outputs) if t.name == name), Tensor(name, "FP32", ()))
            there = (*inputs, *outputs)
            new = shaped(old, shape)
            replaced(there, name, new, "input or output")
            _allowed(old, new)
            inputs = replaced(inputs, name, new, "input") if is_input else inputs
            outputs = outputs if is_input else replaced(outputs, name, new, "output")
        return replace(known, inputs=inputs, outputs=outputs)

    def edit(self, model: ir.Model) -> None:
        """Inner shapes are found again by inference."""
        import onnx_ir as ir

        ends = {v.name or "": v for v in (*model.graph.inputs, *model.graph.outputs)}
        for name in self.shapes:
            if name not in ends:
                raise missing("input or output", name, ends)
        sizes = self._freed(ends)
        for size in sizes:
            _free_reshapes(model.graph, size)
        for name, shape in self.shapes.items():
            ends[name].shape = ir.Shape(shape)
        for value in model.graph.outputs:
            if value.name not in self.shapes and sizes and value.shape is not None:
                value.shape = ir.Shape([None] * len(value.shape))

    def _freed(self, ends: Mapping[str, ir.Value]) -> set[int]:
        """The batch sizes that inputs had and that become free."""
        shapes = {
            n: editing.shape_of(ends[n]) for n, new in self.shapes.items() if ends[n].is_graph_input() and isinstance(new[0], str)
        }
        return {shape[0] for shape in shapes.values() if shape and isinstance(shape[0], int)}

    def expected(self, before: Run, feeds: Arrays) -> Arrays:
        """As before; where the batch was fixed, batch by batch."""
        example = before.examples
        rows = {name: len(values) // len(example[name]) for name, values in feeds.items() if values.ndim and len(example[name])}
        if all(count == 1 for count in rows.values()):
            return before(feeds)
        count = max(rows.values())
        parts = [
            before({name: np.split(values, count)[i] if rows.get(name) == count else values for name, values in feeds.items()})
            for i in range(count)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _allowed(old: Tensor, new: Tensor) -> None:
    one, two = _dims(old), _dims(new)
    if len(one) != len(two):
        raise SurgeryError(
            f"{old} has {len(one)} dimensions, the new shape {len(two)}", "say the whole shape, the batch included"
        )
    if any(a >= 0 and b >= 0 and a != b for a, b in zip(one, two, strict=True)):
        raise SurgeryError(f"{old} cannot become {new}: a size that is fixed can only become free", "export with that size")


def _dims(tensor: Tensor) -> tuple[int, ...]:
    return (-1, *tensor.shape) if tensor.batched else tensor.shape


def _free_reshapes(graph: ir.Graph, size: int) -> None:
    """`Reshape(x, [1, 255, -1])` -> `[0, 255, -1]`, where x has that batch in front: 0 takes over the input's own size."""
    for node in editing.standard(graph, "Reshape"):
        target, shape = editing.array(node.inputs[1]), editing.shape_of(node.inputs[0])
        if target is None or not target.size or not shape or shape[0] != size or target[0] != size:
            continue
        if editing.attribute(node, "allowzero", 0):
            continue
        new = target.copy()
        new[0] = 0
        node.replace_input_with(1, editing.constant(graph, f"{node.outputs[0].name}_shape", new))
