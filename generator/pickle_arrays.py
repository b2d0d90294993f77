"""How torch, NumPy and joblib write tensors into a pickle: the closed list of calls that `pickle_reader` describes as arrays.

Sources: torch/_utils.py (`_rebuild_*`), torch/serialization.py (persistent ids), numpy/_core/multiarray (`_reconstruct`), joblib
numpy_pickle.py (`NumpyArrayWrapper`: the array's bytes lie in the stream behind it).
"""

from __future__ import annotations

import math
from typing import Any

from generator.pickle_notes import Array, Global, Made, plain
from generator.pickle_reader import Builder, Source

#: Storage class or dtype of torch -> Triton's name; what Triton has no name for keeps torch's.
_TORCH = {
    "Float": "FP32", "Double": "FP64", "Half": "FP16", "BFloat16": "BF16", "Byte": "UINT8", "Char": "INT8", "Short": "INT16",
    "Int": "INT32", "Long": "INT64", "Bool": "BOOL", "float32": "FP32", "float64": "FP64", "float16": "FP16", "bfloat16": "BF16",
    "uint8": "UINT8", "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64", "bool": "BOOL", "uint16": "UINT16",
    "uint32": "UINT32", "uint64": "UINT64",
}  # fmt: skip
_NUMPY = {"f": "FP", "i": "INT", "u": "UINT"}


def _dtype(named: Any) -> str:
    """Of `torch.FloatStorage` or `torch.float32`."""
    if not isinstance(named, Global):
        return ""
    short = named.name.rpartition(".")[2].removesuffix("Storage")
    return _TORCH.get(short, short)


def _shape(size: Any) -> tuple[int, ...]:
    if isinstance(size, Made) and size.name == "torch.Size" and size.arguments:
        (size,) = size.arguments
    if not isinstance(size, (tuple, list)) or not all(isinstance(extent, int) and extent >= 0 for extent in size):
        raise ValueError("no shape")
    return tuple(size)


def _persistent(identity: Any) -> Any:
    """torch: ("storage", class, key, device, count, ...); before 1.6 also ("module", class, file, source) for a class."""
    kind, target, *rest = identity
    if kind == "module" and isinstance(target, Global):
        return target
    return Array(_dtype(target), (0,), str(rest[0])) if kind == "storage" else Made("persistent id", tuple(identity))


def _tensor(storage: Any, _offset: Any, size: Any, *_: Any) -> Array:
    return Array(storage.dtype, _shape(size), storage.storage)


def _tensor_v3(storage: Any, _offset: Any, size: Any, _stride: Any, _grad: Any, _hooks: Any, dtype: Any, *_: Any) -> Array:
    return Array(_dtype(dtype), _shape(size), storage.storage)


def _first(data: Any, *_: Any) -> Array:
    """Parameters, and tensors that were made from another one."""
    if not isinstance(data, Array):
        raise TypeError
    return data


def _from_type(_call: Any, _type: Any, arguments: Any, _state: Any) -> Any:
    """torch.Tensor subclasses and tensors with attributes: the arguments are those of `_rebuild_tensor_v2`."""
    return _tensor(*arguments)


def _meta(dtype: Any, size: Any, *_: Any) -> Array:
    return Array(_dtype(dtype), _shape(size))


def _ordered(*arguments: Any) -> dict[Any, Any]:
    """An OrderedDict: empty and filled afterwards, or (Python 2) made of pairs."""
    return {key: value for key, value in arguments[0] if plain(key)} if arguments else {}


def _numpy_set_state(made: Made, _source: Source) -> None:
    _version, shape, dtype, *_ = made.state
    made.items = {"array": Array(numpy_dtype(dtype), _shape(shape))}


def numpy_dtype(described: Any) -> str:
    """Triton's name of a described `numpy.dtype("f4")`, "" where it has none."""
    code = described.arguments[0] if isinstance(described, Made) and described.name == "numpy.dtype" else ""
    if not isinstance(code, str) or code[:1] not in (*_NUMPY, "b") or not code[1:].isdigit():
        return ""
    return "BOOL" if code[0] == "b" else f"{_NUMPY[code[0]]}{8 * int(code[1:])}"


def _joblib_set_state(made: Made, source: Source) -> None:
    """Step over the array's bytes, which lie behind it in the stream."""
    state = made.state
    shape, dtype = _shape(state["shape"]), state["dtype"]
    code = dtype.arguments[0]
    if code.startswith("O"):
        raise ValueError("objects")
    padding = source.read(1)[0] if state.get("numpy_array_alignment_bytes") is not None else 0
    source.at = min(source.at + padding + math.prod(shape) * int(code.lstrip("<>|=fiubcVSU")), len(source.data))
    made.items = {"array": Array(numpy_dtype(dtype), shape)}


_RECONSTRUCT = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
_WRAPPER = "joblib.numpy_pickle.NumpyArrayWrapper"

BUILDERS: dict[str, Builder] = {
    "persistent id": _persistent,
    "collections.OrderedDict": _ordered,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_qtensor": _tensor,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _first,
    "torch._utils._rebuild_meta_tensor_no_storage": _meta,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    **{f"{name}.__setstate__": _numpy_set_state for name in _RECONSTRUCT},
    f"{_WRAPPER}.__setstate__": _joblib_set_state,
}


def array(value: Any) -> Array | None:
    """The array that `value` is, or that a described NumPy array holds."""
    if isinstance(value, Made) and value.name in (*_RECONSTRUCT, _WRAPPER):
        value = value.items.get("array")
    return value if isinstance(value, Array) else None
