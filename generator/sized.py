"""A model that leaves height and width free, at one size: the shapes of its outputs by ONNX shape inference."""

from __future__ import annotations

from pathlib import Path

from generator.tensors import Tensor


def outputs(file: Path, picture: Tensor, found: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """`found` with the dimensions that follow from `picture`; what does not follow stays free (-1)."""
    if all(dim >= 0 for tensor in found for dim in tensor.shape):
        return found
    from onnx import shape_inference

    from generator.graph import interface, load

    model = load(file, weights=False)
    for value in model.graph.input:
        if value.name == picture.name:
            dims = value.type.tensor_type.shape.dim
            for dim, length in zip(list(dims)[-3:], picture.shape, strict=True):
                dim.dim_value = length
    for value in model.graph.output:  # what the file says of them may be symbols, which inference would keep
        for dim in list(value.type.tensor_type.shape.dim)[1:]:
            dim.Clear()
    inferred = interface(shape_inference.infer_shapes(model, data_prop=True))[1]
    known = {tensor.name: tensor for tensor in inferred}
    return tuple(_merged(tensor, known.get(tensor.name, tensor)) for tensor in found)


def _merged(said: Tensor, inferred: Tensor) -> Tensor:
    if len(said.shape) != len(inferred.shape):
        return said
    shape = tuple(b if a < 0 else a for a, b in zip(said.shape, inferred.shape, strict=True))
    return Tensor(said.name, said.dtype, shape, said.batched)
