"""Keras: the layers and inputs of a .keras archive; the tensors of HDF5 where h5py is installed; a SavedModel's signature."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from generator import archives
from generator.errors import CheckpointError
from generator.inspection import Contents, Group
from generator.onnx_signature import Span, fields
from generator.pickle_notes import Array
from generator.tensors import Tensor

KINDS = ("tensorflow",)

# saved_model.proto, meta_graph.proto, types.proto
_META_GRAPH, _SIGNATURE, _INPUTS, _OUTPUTS = 2, 5, 1, 2
_DTYPES = {
    1: "FP32", 2: "FP64", 3: "INT32", 4: "UINT8", 5: "INT16", 6: "INT8", 7: "BYTES", 9: "INT64", 10: "BOOL", 17: "UINT16",
    19: "FP16", 22: "UINT32", 23: "UINT64",
}  # fmt: skip
_SHAPE_KEYS = ("batch_shape", "batch_input_shape")


def read(path: Path) -> Contents:
    """By what it is. Raises CheckpointError."""
    if path.is_dir() or path.name == "saved_model.pb":
        folder = path if path.is_dir() else path.parent
        return replace(_saved_model(folder / "saved_model.pb"), fields={"path": folder})
    if not zipfile.is_zipfile(path):
        return _hdf5(path)
    try:
        said = json.loads(archives.read(path, "config.json"))
        version = json.loads(archives.read(path, "metadata.json")).get("keras_version", "")
    except (ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a .keras archive that is known: {error}", "save it again") from None
    return Contents(inputs=tuple(_inputs(said)), facts={"keras": str(version), **_described(said)})


def _described(said: Any) -> dict[str, str]:
    config = said.get("config") if isinstance(said, dict) else None
    layers = config.get("layers") if isinstance(config, dict) else None
    if not isinstance(layers, list):
        return {}
    names = [str(layer.get("class_name")) for layer in layers if isinstance(layer, dict)]
    return {"class": str(said.get("class_name")), "layers": ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")}


def _inputs(said: Any) -> Iterator[Tensor]:
    """Every InputLayer with its shape; the first axis is the batch."""
    config = said.get("config") if isinstance(said, dict) else None
    for layer in config.get("layers") or [] if isinstance(config, dict) else []:
        inner = layer.get("config") if isinstance(layer, dict) and layer.get("class_name") == "InputLayer" else None
        shape = next((inner[key] for key in _SHAPE_KEYS if inner.get(key)), None) if isinstance(inner, dict) else None
        if isinstance(inner, dict) and isinstance(shape, list):
            dtype = inner.get("dtype") if isinstance(inner.get("dtype"), str) else "float32"
            dims = tuple(extent if isinstance(extent, int) else -1 for extent in shape)
            yield Tensor(str(inner.get("name", "input")), _keras_dtype(str(dtype)), dims[1:], dims[0] == -1)


def _keras_dtype(name: str) -> str:
    return {"float32": "FP32", "float16": "FP16", "float64": "FP64", "string": "BYTES", "bool": "BOOL"}.get(name, name.upper())


def _hdf5(path: Path) -> Contents:
    try:
        import h5py  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return Contents(facts={"tensors": "not read: pip install h5py to see them"})
    held: dict[str, Array] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and len(held) < 100_000:
            dtype = str(item.dtype)
            held[name] = Array(_keras_dtype(dtype), tuple(item.shape))

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
            said = json.loads(file.attrs["model_config"]) if "model_config" in file.attrs else {}
            facts = {"keras": str(file.attrs.get("keras_version", ""))} | _described(said)
    except (OSError, ValueError, KeyError, RuntimeError, RecursionError) as error:
        raise CheckpointError(f"{path}: not an HDF5 file of Keras that is known: {error}", "save it again") from None
    return Contents((Group("", held),), tuple(_inputs(said)), facts=facts)


def _saved_model(path: Path) -> Contents:
    """The tensors of `serving_default`, else of the first signature."""
    try:
        content = path.read_bytes()
        if len(content) > 1 << 31:
            raise ValueError("it is longer than a protobuf may be")
        with memoryview(content) as view:
            graphs = [v for n, v in fields(view, (0, len(content))) if n == _META_GRAPH and isinstance(v, tuple)]
            signatures = dict(_entries(view, graphs[0], _SIGNATURE))
            names = sorted(signatures, key=lambda name: (name != "serving_default", name.startswith("__"), name))
            if not names:
                return Contents(facts={"signatures": "none"})
            chosen = signatures[names[0]]
            taken = [_tensor(view, name, span) for name, span in _entries(view, chosen, _INPUTS)]
            given = [_tensor(view, name, span) for name, span in _entries(view, chosen, _OUTPUTS)]
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise CheckpointError(f"{path}: not a SavedModel: {error}", "export it again") from None
    return Contents(inputs=tuple(taken), outputs=tuple(given), facts={"signatures": ", ".join(names)})


def _entries(view: memoryview, span: Span, number: int) -> Iterator[tuple[str, Span]]:
    """A protobuf map's entries: key 1, value 2."""
    for found, value in fields(view, span):
        if found == number and isinstance(value, tuple):
            entry = dict(fields(view, value))
            key, held = entry.get(1), entry.get(2)
            if isinstance(key, tuple) and isinstance(held, tuple):
                yield bytes(view[key[0] : key[1]]).decode("utf-8", "replace"), held


def _tensor(view: memoryview, name: str, span: Span) -> Tensor:
    """TensorInfo: dtype 2, tensor_shape 3 with its dims 2 of size 1 (-1, ten bytes, where it is free)."""
    dtype, dims = 0, []
    for number, value in fields(view, span):
        if number == 2 and isinstance(value, int):
            dtype = value
        elif number == 3 and isinstance(value, tuple):
            sizes = [dict(fields(view, dim)).get(1, 0) for n, dim in fields(view, value) if n == 2 and isinstance(dim, tuple)]
            dims = [size if isinstance(size, int) and size < 1 << 62 else -1 for size in sizes]
    batched = dims[:1] == [-1]
    return Tensor(name, _DTYPES.get(dtype, f"TensorFlow type {dtype}"), tuple(dims[1:] if batched else dims), batched)
