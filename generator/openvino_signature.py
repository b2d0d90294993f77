"""Inputs and outputs of OpenVINO IR: its XML, read layer by layer, without the weights beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from generator.errors import CheckpointError
from generator.rules import Signature
from generator.tensors import Tensor

#: OpenVINO's element types -> ours. In ports they stand in capitals, and as FP32.
_DTYPES = {
    "boolean": "BOOL", "u8": "UINT8", "u16": "UINT16", "u32": "UINT32", "u64": "UINT64", "i8": "INT8", "i16": "INT16",
    "i32": "INT32", "i64": "INT64", "f16": "FP16", "f32": "FP32", "f64": "FP64", "string": "BYTES", "bool": "BOOL",
    "fp16": "FP16", "fp32": "FP32", "fp64": "FP64",
}  # fmt: skip
_OPSET = re.compile(r"opset(\d+)\Z")


@dataclass(frozen=True)
class IrFile:
    """What model.xml says of itself."""

    #: IR version of the `net` element; OpenVINO since 2022 reads 10 and 11.
    version: int
    #: The newest opset of its layers.
    opset: int
    signature: Signature
    #: Bytes that model.bin has to have.
    weights: int


@dataclass
class _Seen:
    """What the layers said so far."""

    inputs: list[Tensor] = field(default_factory=list)
    #: Layer -> own names, type and dims of a Result.
    results: list[tuple[str, list[str], str, list[int]]] = field(default_factory=list)
    #: (layer, port) -> names.
    names: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    opset: int = 0
    weights: int = 0


def read(path: Path) -> IrFile:
    """Raises CheckpointError for a file that is no IR, or says what this does not understand."""
    try:
        return _read(path)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}", "make it readable") from None
    except (ElementTree.ParseError, KeyError, ValueError, AssertionError) as error:
        raise CheckpointError(f"{path}: not OpenVINO IR: {error}", "convert the model again") from None


def _read(path: Path) -> IrFile:
    seen, sources, version, depth = _Seen(), dict[str, tuple[str, str]](), 0, 0
    for event, element in ElementTree.iterparse(path, events=("start", "end")):  # noqa: S314 -- expat stops expansion by itself
        depth += 1 if event == "start" else -1
        if event == "start":
            if depth == 1:
                version = _version(element)
        elif element.tag == "layer" and depth == 2:  # deeper ones belong to the body of a Loop
            _layer(element, seen)
            element.clear()
        elif element.tag == "edge" and depth == 2:
            sources[element.attrib["to-layer"]] = element.attrib["from-layer"], element.attrib["from-port"]
    outputs = [_output(result, seen.names.get(sources.get(result[0], ("", "")), [])) for result in seen.results]
    return IrFile(version, seen.opset, Signature(tuple(seen.inputs), tuple(outputs)), seen.weights)


def _version(root: ElementTree.Element) -> int:
    if root.tag != "net" or "version" not in root.attrib:
        raise ValueError(f"its root is <{root.tag}>, where <net version=...> was expected")
    return int(root.attrib["version"])


def _layer(layer: ElementTree.Element, seen: _Seen) -> None:
    if opset := _OPSET.match(layer.get("version", "")):
        seen.opset = max(seen.opset, int(opset[1]))
    data, kind, number = layer.find("data"), layer.get("type"), layer.attrib["id"]
    for port in layer.iterfind("output/port"):
        seen.names[number, port.attrib["id"]] = _split(port.get("names", ""))
    if kind == "Const" and data is not None:
        seen.weights = max(seen.weights, int(data.get("offset", 0)) + int(data.get("size", 0)))
    elif kind == "Parameter" and data is not None:
        names = next((found for (owner, _), found in seen.names.items() if owner == number), [])
        shape = [_dim(dim) for dim in data.attrib["shape"].split(",") if dim]
        seen.inputs.append(_tensor([*names, layer.attrib["name"]][0], data.attrib["element_type"], shape))
    elif kind == "Result":
        taken = layer.find("input/port")
        assert taken is not None
        dims = [int(dim.text or "") for dim in taken.iterfind("dim")]
        seen.results.append((number, _split(layer.get("output_names", "")), taken.get("precision", ""), dims))


def _output(result: tuple[str, list[str], str, list[int]], source: list[str]) -> Tensor:
    number, own, dtype, dims = result
    return _tensor([*own, *source, f"result {number}"][0], dtype, dims)


def _tensor(name: str, dtype: str, shape: Iterable[int]) -> Tensor:
    """The first axis counts as a batch where it is free."""
    dims = list(shape)
    batched = bool(dims) and dims[0] == -1
    return Tensor(name, _DTYPES[dtype.lower()], tuple(dims[1:] if batched else dims), batched)


def _dim(text: str) -> int:
    return int(text) if text.strip().isdigit() else -1


def _split(names: str) -> list[str]:
    """Commas part the names; one that belongs to a name has a backslash in front."""
    return [name.replace("\\,", ",") for name in re.split(r"(?<!\\),", names) if name]
