"""The only place that knows data types, the batch axis and dims, in ONNX, Triton and NumPy.

The batch axis is never part of `Tensor.shape`: it is the first axis of the ONNX tensor, absent from Triton's
`dims` when `max_batch_size > 0` (model_configuration.md, "Maximum Batch Size"), and counted here by `batched`.
"""

from __future__ import annotations

from dataclasses import dataclass

#: our name (Triton's, as in the KServe protocol) -> (config.pbtxt, NumPy, onnx.TensorProto number)
_DTYPES: dict[str, tuple[str, str, int]] = {
    "BOOL": ("TYPE_BOOL", "bool", 9),
    "UINT8": ("TYPE_UINT8", "uint8", 2),
    "UINT16": ("TYPE_UINT16", "uint16", 4),
    "UINT32": ("TYPE_UINT32", "uint32", 12),
    "UINT64": ("TYPE_UINT64", "uint64", 13),
    "INT8": ("TYPE_INT8", "int8", 3),
    "INT16": ("TYPE_INT16", "int16", 5),
    "INT32": ("TYPE_INT32", "int32", 6),
    "INT64": ("TYPE_INT64", "int64", 7),
    "FP16": ("TYPE_FP16", "float16", 10),
    "FP32": ("TYPE_FP32", "float32", 1),
    "FP64": ("TYPE_FP64", "float64", 11),
    "BYTES": ("TYPE_STRING", "object", 8),
}
_FROM_ONNX = {onnx: name for name, (_, _, onnx) in _DTYPES.items()}

_BYTES = {
    "TYPE_BOOL": 1, "TYPE_UINT8": 1, "TYPE_UINT16": 2, "TYPE_UINT32": 4, "TYPE_UINT64": 8, "TYPE_INT8": 1, "TYPE_INT16": 2,
    "TYPE_INT32": 4, "TYPE_INT64": 8, "TYPE_FP16": 2, "TYPE_FP32": 4, "TYPE_FP64": 8, "TYPE_BF16": 2,
}  # fmt: skip

DTYPES = tuple(_DTYPES)

#: The name of the axis that counts the requests in a batch. First in a tensor, it is Triton's batch dimension.
BATCH = "batch"


def config_dtype(dtype: str) -> str:
    """`FP32` -> `TYPE_FP32`, the enum name in model_config.proto."""
    return _DTYPES[dtype][0]


def numpy_dtype(dtype: str) -> str:
    """`FP32` -> `float32`; BYTES is `object`."""
    return _DTYPES[dtype][1]


def onnx_dtype(dtype: str) -> int:
    """`FP32` -> 1, the number in onnx.TensorProto.DataType."""
    return _DTYPES[dtype][2]


def byte_size(config_name: str) -> int:
    """`TYPE_FP32` -> 4, the bytes of an element; 0 where it has no fixed size (TYPE_STRING, TYPE_INVALID)."""
    return _BYTES.get(config_name, 0)


def from_onnx_dtype(number: int) -> str:
    """1 -> `FP32`. Raises KeyError for a type that Triton cannot carry."""
    return _FROM_ONNX[number]


@dataclass(frozen=True)
class Tensor:
    """One input or output of a model. `shape` leaves the batch axis out; -1 is a dimension free at run time."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    batched: bool = True

    def __str__(self) -> str:
        dims = [*(["batch"] if self.batched else []), *("?" if d < 0 else str(d) for d in self.shape)]
        return f"{self.name} {self.dtype}[{', '.join(dims)}]"

    def dims(self, max_batch_size: int) -> list[int]:
        """As config.pbtxt says them: the batch axis counts only where `max_batch_size` is 0; one number a row is `[1]`."""
        return self.whole().dims(0) if self.batched and not max_batch_size else list(self.shape) or [1]

    def single(self, max_batch_size: int) -> bool:
        """Is it one number a row, which clients see as [batch, 1] and the model as [batch]?"""
        return self.batched and not self.shape and max_batch_size > 0

    def whole(self) -> Tensor:
        """The same with its batch axis as a dimension like any other."""
        return Tensor(self.name, self.dtype, (-1, *self.shape), batched=False) if self.batched else self

    def accepts(self, other: Tensor) -> bool:
        """May a tensor like `other` flow into this one? A free dimension accepts any length."""
        return (
            self.dtype == other.dtype
            and self.batched == other.batched
            and len(self.shape) == len(other.shape)
            and all(a < 0 or b < 0 or a == b for a, b in zip(self.shape, other.shape, strict=True))
        )
