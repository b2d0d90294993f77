"""An ONNX graph -> OpenVINO IR, for the server's OpenVINO backend.

`precise` is OpenVINO's own mark for what must not be computed in fewer bits than the model has: without it the CPU
plugin computes in bfloat16 wherever the CPU can, and the backend has no parameter against that.
"""

from __future__ import annotations

import os
import re
from typing import Any
from xml.etree import ElementTree

from child import Refused, serve, short

_SERVED = "the server carries bool, integers, float16 and float32; cast it in `surgery:`"
_REFUSED = re.compile(r"(?:No conversion rule found for operations|Conversion is failed for): *([^\n]+)")


def convert(said: dict[str, Any], graph: str, folder: str, inputs: list[str], outputs: list[str]) -> dict[str, str]:
    """model.xml and model.bin in `folder`, with tensors called as in the graph; then the CPU plugin compiles what was written."""
    import openvino as ov

    core = ov.Core()
    model = _read(core, graph)
    _without_identities(model)
    _name(model, inputs, outputs)
    path = os.path.join(folder, "model.xml")  # noqa: PTH118 -- one import less
    ov.save_model(model, path, compress_to_fp16=False)
    if said["precise"]:
        _mark(path)
    try:
        compiled = core.compile_model(core.read_model(path), "CPU")
    except Exception as error:
        raise Refused(f"OpenVINO converts the graph, and its CPU plugin refuses it: {_reason(error)}", _remedy("")) from None
    _types([*compiled.inputs, *compiled.outputs])
    return {"openvino": ov.get_version().split("-")[0], "layers": str(len(model.get_ops()))}


def _read(core: Any, graph: str) -> Any:
    try:
        return core.read_model(graph)
    except Exception as error:
        found = sorted({name.strip() for listed in _REFUSED.findall(str(error)) for name in listed.split(",")})
        names = ", ".join(re.sub(r"-\d+$", "", name) for name in found)
        text = f"OpenVINO does not convert {names}" if found else "OpenVINO does not read the graph"
        inner = re.search(r"ONNX node '<Node\([^)]*\): ([^>]+)>'", str(error))
        where = f" (node {inner[1]})" if inner else "" if found else f": {_reason(error)}"
        raise Refused(f"{text}{where}", _remedy(names)) from None


def _remedy(names: str) -> str:
    what = f"take {names} out of the graph" if names else "change the graph"
    return f"{what} (`surgery:`, docs/surgery.md), or say `target: {{kind: onnxruntime}}`"


def _reason(error: BaseException) -> str:
    """The last line that says something: the first ones name OpenVINO's own sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '", "FrontEnd API"))]
    return (telling[-1] if telling else short(error))[:300]


def _without_identities(model: Any) -> None:
    """Identity came with opset 16 (OpenVINO 2025); a Convert to the type that the tensor has is as little, and is older."""
    from openvino import opset1

    for node in model.get_ops():
        if node.get_type_name() == "Identity":
            source = node.input_value(0)
            same = opset1.convert(source, source.get_element_type().get_type_name())
            node.output(0).replace(same.output(0))


def _name(model: Any, inputs: list[str], outputs: list[str]) -> None:
    """One name a tensor: the backend looks for any of them and takes what it meets first."""
    for name in inputs:
        model.input(name).get_tensor().set_names({name})
    for name in outputs:
        result = model.output(name).get_node()
        _own_source(result)
        result.input_value(0).get_tensor().set_names({name})


def _own_source(result: Any) -> None:
    """A tensor has one set of names: one that is an input or another output, too, goes through a Convert of its own."""
    from openvino import opset1

    source = result.input_value(0)
    others = [port for port in source.get_target_inputs() if port.get_node().get_type_name() == "Result"]
    if source.get_node().get_type_name() == "Parameter" or len(others) > 1:
        same = opset1.convert(source, source.get_element_type().get_type_name())
        result.input(0).replace_source_output(same.output(0))


def _mark(path: str) -> None:
    """Every layer that gives floats, also inside the bodies of Loop, If and TensorIterator.

    Not the others: a marked Range of integers stays INT64 in OpenVINO 2024.4, where all around it becomes INT32.
    """
    tree = ElementTree.parse(path)  # noqa: S314 -- we have written it a moment ago
    for layer in tree.iter("layer"):
        if not any(port.get("precision") in ("FP32", "FP16", "BF16") for port in layer.iterfind("output/port")):
            continue
        found = layer.find("rt_info")
        if found is None:
            found = ElementTree.Element("rt_info")
            layer.insert(int(layer.find("data") is not None), found)
        ElementTree.SubElement(found, "attribute", {"name": "precise", "version": "0"})
    tree.write(path, encoding="utf-8", xml_declaration=True)


def _types(ports: list[Any]) -> None:
    known = {"f16", "f32", "boolean", "u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64"}
    for port in ports:
        if (found := port.get_element_type().get_type_name()) not in known:
            raise Refused(f"tensor {port.get_any_name()} is {found} in OpenVINO", _SERVED)


if __name__ == "__main__":
    serve(convert=convert)
