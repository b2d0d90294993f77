"""Surgery with onnx-graphsurgeon, node metadata kept: `Builder` appends standard operators, one line each."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from generator import weights
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
        _mapped(self.graph)
        self.prefix = prefix
        self._tensors: dict[str, gs.Tensor] = dict(self.graph.tensors())
        self._count = 0

    def __call__(self, op: str, *inputs: Input, outputs: int = 1, **attrs: Any) -> str:
        """Add one node; the name of its first output (`many` gives all)."""
        return self.many(op, *inputs, outputs=outputs, **attrs)[0]

    def many(self, op: str, *inputs: Input, outputs: int, domain: str = "", **attrs: Any) -> list[str]:
        """Add one node with several outputs; one of another domain is declared in the model."""
        name = self._fresh(op)
        results = [gs.Variable(f"{name}_{i}" if outputs > 1 else name) for i in range(outputs)]
        given = [self._input(value) for value in inputs]
        node = gs.Node(op=op, name=name, attrs=attrs, inputs=given, outputs=results, domain=domain or None)
        if domain and domain not in {opset.domain for opset in self.graph.import_domains}:
            self.graph.import_domains.append(onnx.helper.make_opsetid(domain, 1))
        self.graph.nodes.append(node)
        self._tensors.update({tensor.name: tensor for tensor in results})
        return [tensor.name for tensor in results]

    def joined(self, names: Sequence[str], axis: int) -> str:
        """One tensor of several; the one itself where there is no other."""
        return names[0] if len(names) == 1 else self("Concat", *names, axis=axis)

    def size(self, name: str, axis: int) -> str:
        """One number of a tensor's shape, a scalar INT64."""
        return self("Gather", self("Shape", name), np.array(axis), axis=0)

    def loop(self, count: str, step: Callable[[Builder, str, str], str], start: NDArray[Any]) -> str:
        """`count` times `step(builder inside the loop, number of the round, value so far)`; the last value, from `start` on.

        The value's first axis may grow. `step` may use every tensor that this builder knows.
        """
        name = self._fresh("Loop")
        value, shape = np.dtype(start.dtype), ["rows", *start.shape[1:]]
        at, going = gs.Variable(f"{name}/at", np.int64, []), gs.Variable(f"{name}/going", np.bool_, [])
        so_far = gs.Variable(f"{name}/value", value, shape)
        inner = copy.copy(self)
        inner.graph = gs.Graph(inputs=[at, going, so_far], opset=self.graph.opset, import_domains=self.graph.import_domains)
        inner.prefix, inner._tensors = name, {**self._tensors, at.name: at, so_far.name: so_far}
        made = inner._tensors[step(inner, at.name, so_far.name)]
        made.dtype, made.shape = value, shape
        still = gs.Variable(f"{name}/still", np.bool_, [])
        inner.graph.nodes.append(gs.Node("Identity", f"{name}/Identity", inputs=[going], outputs=[still]))
        inner.graph.outputs = [still, made]
        return self("Loop", count, np.array(True), start if start.size else self._nothing(start), body=inner.graph)

    def _nothing(self, like: NDArray[Any]) -> str:
        """A tensor without elements, computed: OpenVINO forgets the rank of a constant that has none."""
        zeros = self("ConstantOfShape", np.array(like.shape))
        return self("Cast", zeros, to=onnx.helper.np_dtype_to_tensor_dtype(like.dtype))

    def input(self, tensor: Tensor) -> str:
        """A new graph input; its name."""
        variable = gs.Variable(tensor.name, np.dtype(numpy_dtype(tensor.dtype)), ["batch", *tensor.shape])
        self.graph.inputs.append(variable)
        self._tensors[tensor.name] = variable
        return tensor.name

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

    def keep(self, names: Iterable[str]) -> None:
        """Make tensors of the graph its outputs, as they are."""
        self.graph.outputs.extend(self._tensors[name] for name in names)

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


class _Outer(gs.ir.tensor.LazyValues):  # type: ignore[misc]
    """Values that lie outside the graph, under an absolute name, which graphsurgeon does not follow."""

    def load(self) -> NDArray[Any]:
        """A copy, which may be changed."""
        return np.array(weights.array(self.tensor))


def _mapped(graph: gs.Graph) -> None:
    for constant in graph.tensors().values():
        values = getattr(constant, "_values", None)
        if isinstance(values, gs.ir.tensor.LazyValues) and weights.outside(values.tensor):
            constant.values, constant.data_location = _Outer(values.tensor), None


def _dims(tensor: Tensor) -> list[int | str]:
    """As graphsurgeon wants them: free dimensions have names."""
    dims: list[int | str] = [dim if dim >= 0 else f"{tensor.name}_{axis}" for axis, dim in enumerate(tensor.shape)]
    return ["batch", *dims] if tensor.batched else dims
