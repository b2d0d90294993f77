"""Surgery with onnx-graphsurgeon, node metadata kept: `Builder` appends standard operators, one line each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from generator.tensors import Tensor, numpy_dtype

if TYPE_CHECKING:
    from onnx import ModelProto


#: A tensor by name, or a constant.
Input = str | float | np.floating[Any] | NDArray[Any]


class Builder:
    """Appends standard operators to a graphsurgeon graph, one line each, with names that say where they come from.

    `build("Mul", x, 2.0)` takes tensors by name or value and returns the name of its (first) output.
    """

    def __init__(self, model: ModelProto, prefix: str) -> None:
        self._metadata = {node.name: list(node.metadata_props) for node in model.graph.node if node.name}
        self._ir_version = model.ir_version
        self.graph: gs.Graph = gs.import_onnx(model)
        self.prefix = prefix
        self._tensors: dict[str, gs.Tensor] = dict(self.graph.tensors())
        self._count = 0

    def __call__(self, op: str, *inputs: Input, outputs: int = 1, **attrs: Any) -> str:
        """Add one node; the name of its first output (`many` gives all)."""
        return self.many(op, *inputs, outputs=outputs, **attrs)[0]

    def many(self, op: str, *inputs: Input, outputs: int, **attrs: Any) -> list[str]:
        """Add one node with several outputs."""
        name = self._fresh(op)
        results = [gs.Variable(f"{name}_{i}" if outputs > 1 else name) for i in range(outputs)]
        node = gs.Node(op=op, name=name, attrs=attrs, inputs=[self._input(value) for value in inputs], outputs=results)
        self.graph.nodes.append(node)
        self._tensors.update({tensor.name: tensor for tensor in results})
        return [tensor.name for tensor in results]

    def output(self, source: str, tensor: Tensor) -> None:
        """Make `source` an output of the graph, under the name, type and shape of `tensor`."""
        variable = self._tensors[source]
        variable.name = tensor.name
        variable.dtype = np.dtype(numpy_dtype(tensor.dtype))
        variable.shape = _dims(tensor)
        self._tensors[tensor.name] = variable
        self.graph.outputs.append(variable)

    def rename(self, old: str, new: str) -> None:
        """Another name for a tensor."""
        self._tensors[new] = self._tensors.pop(old)
        self._tensors[new].name = new

    def replace_input(self, old: str, new: Tensor) -> str:
        """A new graph input in place of `old`; returns its name. Connect the old one's consumers with `feed`."""
        variable = gs.Variable(new.name, np.dtype(numpy_dtype(new.dtype)), _dims(new))
        self.graph.inputs = [variable if tensor.name == old else tensor for tensor in self.graph.inputs]
        self._tensors[new.name] = variable
        return new.name

    def feed(self, old: str, source: str) -> int:
        """Let everything that read `old` read `source`; how many inputs changed."""
        tensor, changed = self._tensors[old], 0
        for node in list(tensor.outputs):
            for index, value in enumerate(node.inputs):
                if value is tensor and node.outputs[0].name != source:
                    node.inputs[index] = self._tensors[source]
                    changed += 1
        return changed

    def take(self, graph: gs.Graph) -> ModelProto:
        """A graph that the user changed, as `model` gives it."""
        self.graph = graph
        return self.model()

    def model(self) -> ModelProto:
        """The changed graph, dead nodes removed, nodes in order, metadata kept."""
        self.graph.cleanup().toposort()
        model: ModelProto = gs.export_onnx(self.graph)
        model.ir_version = self._ir_version
        for node in model.graph.node:
            node.metadata_props.extend(self._metadata.get(node.name, []))
        return model

    def _fresh(self, op: str) -> str:
        while (name := f"{self.prefix}/{op}_{self._count}") in self._tensors:
            self._count += 1
        self._count += 1
        return name

    def _input(self, value: Input) -> gs.Tensor:
        if isinstance(value, str):
            return self._tensors[value] if value else gs.Variable.empty()
        array = np.asarray(value, dtype=np.float32) if isinstance(value, float) else np.asarray(value)
        constant = gs.Constant(self._fresh("const"), array)
        self._tensors[constant.name] = constant
        return constant


def _dims(tensor: Tensor) -> list[int | str]:
    """As graphsurgeon wants them: free dimensions have names."""
    dims: list[int | str] = [dim if dim >= 0 else f"{tensor.name}_{axis}" for axis, dim in enumerate(tensor.shape)]
    return ["batch", *dims] if tensor.batched else dims
