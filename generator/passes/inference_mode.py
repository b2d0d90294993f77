"""inference_mode: an export that was made in training mode answers as in evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from generator import editing
from generator.errors import SurgeryError
from generator.passes import Pass

if TYPE_CHECKING:
    import onnx_ir as ir


class InferenceMode(Pass):
    """BatchNormalization uses its stored statistics and Dropout drops nothing, though the export was made in training mode."""

    kind: Literal["inference_mode"] = "inference_mode"
    looks_for: ClassVar[str] = "BatchNormalization with training_mode=1 and Dropout with a true training_mode"

    def edit(self, model: ir.Model) -> None:
        """Running statistics that were outputs of the node go; those that the model gives are asked back first."""
        for node in editing.standard(model.graph, "BatchNormalization"):
            if editing.attribute(node, "training_mode", 0):
                del node.attributes["training_mode"]
                _only_first(node)
        for node in editing.standard(model.graph, "Dropout"):
            training = editing.array(node.inputs[2]) if len(node.inputs) > 2 else None
            if training is not None and training.all():
                _only_first(node)
                node.resize_inputs(1)


def _only_first(node: ir.Node) -> None:
    for value in node.outputs[1:]:
        if value.uses() or value.is_graph_output():
            raise SurgeryError(
                f"inference_mode: {node.op_type} {node.name!r} gives {value.name!r}, which is for training, and it is read",
                "remove that output first, with remove_output",
            )
    node.resize_outputs(1)
